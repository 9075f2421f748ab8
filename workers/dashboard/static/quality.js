// The quality of a face: a bar for each part, what was measured, and what to do.

import { html } from "./vendor/preact-htm.js";
import { Mark } from "./parts.js";
import { number, t } from "./text.js";

const WEAK = 0.5;

/** The part's value as a word: by it a bar has its colour and its shape. */
const wordOf = (value) => (value === 0 ? "bad" : value < WEAK ? "weak" : "good");
const MARKS = { good: "camera_up", weak: "uncertain", bad: "withdrawn" };
const measuredOf = ({ part, measured }) => t(`measured.${part}`, { value: number(measured, part === "size" || part === "brightness" ? 0 : 2) });

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
