// What the pages share.

import { Component, html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { urlOf } from "./api.js";
import { isText, number, t } from "./text.js";

// A shape beside each colour: a disc, a lozenge, a ring, a bar, a square, a tick.
const SHAPES = {
  named: html`<circle cx="8" cy="8" r="6" fill="currentColor" />`,
  unknown: html`<path d="M8 1l7 7-7 7-7-7z" fill="currentColor" />`,
  uncertain: html`<circle cx="8" cy="8" r="5" fill="none" stroke="currentColor" stroke-width="2.5" />`,
  withdrawn: html`<path d="M3 3l10 10M13 3L3 13" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" />`,
  camera_down: html`<rect x="2" y="2" width="12" height="12" rx="2" fill="currentColor" />`,
  camera_up: html`<path d="M2 8.5l4 4 8-9" fill="none" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" />`,
  corrected: html`<path d="M3 13l1-4 7-7 3 3-7 7z" fill="currentColor" />`,
  other: html`<path d="M3 8h10" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" />`,
};

/** The verdict of a sighting, by which it has its colour and its shape. */
export const verdictOf = (event) => (event.event === "left" ? (event.verdict ?? "other") : event.event);

export const Mark = ({ verdict }) => html`
  <svg class="mark ${verdict}" viewBox="0 0 16 16" aria-hidden="true">${SHAPES[verdict] ?? SHAPES.other}</svg>`;

const NO_FACE = html`<svg viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="12.5" r="5.5" /><path d="M5.5 28a10.5 9.5 0 0 1 21 0z" /></svg>`;

/** The picture at `path` of the API, or the outline of nobody: if there is none, or it is gone. */
export function Face({ path, alt, className = "" }) {
  const [gone, setGone] = useState(false);
  useEffect(() => setGone(false), [path]);
  return html`<span class="face ${className}">
    ${path && !gone ? html`<img src=${urlOf(path)} alt=${alt} loading="lazy" decoding="async" onError=${() => setGone(true)} />` : NO_FACE}
  </span>`;
}

/** A JPEG that came as base64. */
export const blobOf = (text) => new Blob([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], { type: "image/jpeg" });

/** A picture that came as base64, or the outline of nobody. */
export function Jpeg({ text, alt, className = "" }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!text) return undefined;
    const made = URL.createObjectURL(blobOf(text));
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [text]);
  return html`<span class="face ${className}">${text && url ? html`<img src=${url} alt=${alt} />` : NO_FACE}</span>`;
}

/** A dialog over the page. The focus goes back to where it was. */
export function Dialog({ title, onClose, wide = false, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    const shown = dialog.current;
    shown.showModal();
    return () => shown.close(); // gives the focus back; taking the dialog away alone does not
  }, []);
  const onClick = (event) => event.target === dialog.current && onClose();
  return html`<dialog ref=${dialog} class=${wide ? "wide" : ""} aria-labelledby="dialog-title" onClose=${onClose} onClick=${onClick}>
    <div class="sheet">
      <header><h2 id="dialog-title">${title}</h2>
        <button type="button" class="plain" aria-label=${t("close")} onClick=${onClose}>✕</button></header>
      ${children}
    </div>
  </dialog>`;
}

let tell = () => {};

/** Show a notice for some seconds. `undo`: what takes it back. */
export const notify = (text, undo) => tell({ text, undo, key: Math.random() });

export class Notices extends Component {
  componentDidMount() {
    tell = (notice) => {
      clearTimeout(this.timer);
      this.setState({ notice });
      this.timer = setTimeout(() => this.setState({ notice: null }), 12000);
    };
  }
  render(_, { notice }) {
    return html`<div class="notices" role="status">
      ${notice &&
      html`<p>${notice.text}
        ${notice.undo &&
        html`<button type="button" onClick=${() => { this.setState({ notice: null }); notice.undo(); }}>${t("undo")}</button>`}</p>`}
    </div>`;
  }
}

/** Why the site did not do something: in our words for the problems that we know, else in its own. */
export function whyNot(error) {
  if (error.status === 0) return t("offline");
  const key = `problem.${error.type}`;
  const told = [error.message, error.remedy].filter(Boolean).join(". ");
  return isText(key) ? t(`problem.${error.type}`, { ...error.values, detail: told }) : told;
}

/** Do something, and tell what went wrong. Returns the answer; undefined after a fault. */
export async function attempt(doing) {
  try {
    return await doing();
  } catch (error) {
    notify(whyNot(error));
    return undefined;
  }
}

const WEAK = 0.5;

/** The part's value as a word: by it a bar has its colour and its shape. */
const wordOf = (value) => (value === 0 ? "bad" : value < WEAK ? "weak" : "good");
const MARKS = { good: "camera_up", weak: "uncertain", bad: "withdrawn" };
const measuredOf = ({ part, measured }) => t(`measured.${part}`, { value: number(measured, part === "size" || part === "brightness" ? 0 : 2) });

/** The quality of a face: a bar for each part, what was measured, and what to do. */
export function Quality({ parts }) {
  return html`<ul class="quality">${parts.map((one) => {
    const word = wordOf(one.value);
    return html`<li class=${word}>
      <span class="part"><${Mark} verdict=${MARKS[word]} />${t(`quality.${one.part}`)}</span>
      <span class="faint">${measuredOf(one)}</span>
      <span class="bar" role="img" aria-label=${t(`quality.${word}`)}><span style=${{ inlineSize: `${Math.max(3, 100 * one.value)}%` }}></span></span>
      ${word !== "good" && html`<span class="todo">${t(`todo.${one.part}`)}</span>`}
    </li>`;
  })}</ul>`;
}
