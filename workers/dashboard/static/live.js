// The wall: what all cameras see now, over one stream; and one camera large.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask, watch } from "./api.js";
import { Dialog, Mark, attempt } from "./parts.js";
import { clock, cosine, number, plural, t } from "./text.js";

const RETRY_MS = 1500;
const SMALL = 4;
const LARGE = 2;

/** The newest frame of each camera, by name: {head, url}. While the page is hidden nothing is asked for. */
export function useFrames(wanted) {
  const [frames, setFrames] = useState({});
  const [isFull, setFull] = useState(false);
  const urls = useRef({});
  useEffect(() => {
    if (!wanted) return undefined;
    let control = null;
    let timer = 0;
    const run = async () => {
      clearTimeout(timer);
      if (control || document.hidden) return;
      control = new AbortController();
      const mine = control;
      try {
        for await (const { head, jpeg } of watch(wanted, mine.signal)) show(head, jpeg);
      } catch (error) {
        // The network is away, all places are taken, or we ended it: tried again below.
        setFull(error.status === 503);
      }
      if (control === mine) {
        control = null;
        timer = setTimeout(run, RETRY_MS);
      }
    };
    const show = (head, jpeg) => {
      setFull(false);
      const before = urls.current[head.camera];
      const url = jpeg.length ? URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" })) : null;
      urls.current[head.camera] = url;
      setFrames((known) => ({ ...known, [head.camera]: { head, url } }));
      // The picture before is still being shown until this one is decoded.
      if (before) setTimeout(() => URL.revokeObjectURL(before), 2000);
    };
    const end = () => {
      clearTimeout(timer);
      const one = control;
      control = null;
      one?.abort();
    };
    const turn = () => (document.hidden ? end() : run());
    document.addEventListener("visibilitychange", turn);
    run();
    return () => {
      document.removeEventListener("visibilitychange", turn);
      end();
    };
  }, [wanted]);
  // Not above: a camera that is shown large begins with its last small picture.
  useEffect(() => () => Object.values(urls.current).forEach((url) => url && URL.revokeObjectURL(url)), []);
  return { frames, isFull };
}

const nameOf = (track) => track.person ?? t(`verdict.${track.verdict}`);

const [LONG, LINE] = [0.35, 0.12]; // a name, in shares of a small picture

/** The tracks whose names are over their boxes: below, they would leave the picture or cover another name. */
export function namesAbove({ tracks, width, height }) {
  const taken = [];
  return [...tracks].sort((one, other) => one.box[0] - other.box[0]).filter(({ box }) => {
    const [left, top, right, bottom] = box.map((value, axis) => value / (axis % 2 ? height : width));
    const from = left > 0.6 ? right - LONG : left;
    const covers = (at) => taken.some(([x, y]) => Math.abs(x - from) < LONG && Math.abs(y - at) < LINE);
    const above = bottom > 0.86 || (covers(bottom) && top > LINE && !covers(top - LINE));
    taken.push([from, above ? top - LINE : bottom]);
    return above;
  });
}

function Boxes({ head }) {
  const part = (value, whole) => `${(100 * value) / whole}%`;
  const above = namesAbove(head);
  return head.tracks.map((track) => {
    const [left, top, right, bottom] = track.box;
    return html`<span key=${track.track} class="box ${track.verdict} ${above.includes(track) ? "above" : ""} ${left > 0.6 * head.width ? "end" : ""}" style=${{
      insetInlineStart: part(left, head.width), insetBlockStart: part(top, head.height),
      inlineSize: part(right - left, head.width), blockSize: part(bottom - top, head.height),
    }}><span><${Mark} verdict=${track.verdict} />${nameOf(track)}</span></span>`;
  });
}

export function Picture({ frame, name, state }) {
  const seen = frame?.url ? frame.head.tracks.map(nameOf).join(", ") : "";
  const ratio = frame?.head.width ? `${frame.head.width} / ${frame.head.height}` : "16 / 9";
  return html`<span class="picture" dir="ltr" style=${{ aspectRatio: ratio }}>
    ${frame?.url
      ? html`<img src=${frame.url} alt=${t("live.alt", { camera: name, people: seen || t("live.nobody") })} /><${Boxes} head=${frame.head} />`
      : html`<span class="dark">${state === "up" || state === undefined ? t("live.waiting") : t("live.none")}</span>`}
  </span>`;
}

function Tile({ name, frame, state, onOpen }) {
  const people = (frame?.head.tracks ?? []).filter((track) => track.person).map((track) => track.person);
  const isDown = state !== undefined && state !== "up";
  return html`<li class=${isDown ? "tile down" : "tile"}>
    <button type="button" onClick=${onOpen} aria-label=${t("live.open", { camera: name })}>
      <${Picture} frame=${isDown ? null : frame} name=${name} state=${state} />
      <span class="caption"><b>${name}</b>
        ${isDown && html`<span class="state"><${Mark} verdict="camera_down" />${t(`state.${state}`)}</span>`}
        ${!isDown && people.length > 0 && html`<span class="there"><${Mark} verdict="named" />${people.join(", ")}</span>`}
      </span>
    </button>
  </li>`;
}

function Track({ track }) {
  const facts = [
    [t("track.score"), cosine(track.score)],
    [t("track.margin"), cosine(track.margin)],
    [t("track.votes"), t("track.of", { votes: Math.min(track.votes, track.votes_needed), needed: track.votes_needed })],
  ];
  return html`<li class="track">
    <h3><${Mark} verdict=${track.verdict} />${nameOf(track)}</h3>
    <dl>${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${track.refused.length > 0 &&
    html`<p class="why">${t("track.refused")} ${track.refused.map((reason) => t(`refused.${reason}`)).join("; ")}</p>`}
  </li>`;
}

function Large({ name, frame, camera, state, onClose }) {
  const head = frame?.head;
  const tracks = head?.tracks ?? [];
  return html`<${Dialog} title=${name} wide onClose=${onClose}>
    <div class="large">
      <${Picture} frame=${frame} name=${name} state=${state} />
      <div class="beside">
        ${camera?.down_reason && html`<p class="why"><${Mark} verdict="camera_down" /> ${camera.down_reason}</p>`}
        ${camera?.picture_fault && html`<p class="why">${camera.picture_fault}</p>`}
        ${frame?.url && html`<p class="faint">${clock(head.time)} · ${t("live.size", { width: head.width, height: head.height })}</p>`}
        ${tracks.length ? html`<ul>${tracks.map((track) => html`<${Track} key=${track.track} track=${track} />`)}</ul>`
          : html`<p class="faint">${t("live.nobody")}</p>`}
      </div>
    </div>
  </${Dialog}>`;
}

export function Live({ site }) {
  const [cameras, setCameras] = useState(null);
  const [open, setOpen] = useState(null);
  const states = site.cameras;
  const known = JSON.stringify(Object.keys(states));
  useEffect(() => void attempt(async () => setCameras((await ask("cameras")).cameras)), [known, open]);
  const names = (cameras ?? []).map((one) => one.name);
  const stateOf = (name) => states[name] ?? cameras.find((one) => one.name === name)?.word;
  const ended = new Set(["failed", "stopped"]);
  const shown = names.filter((name) => !ended.has(stateOf(name)));
  const wanted = open ? `${open}:${LARGE}` : shown.map((name) => `${name}:${SMALL}`).join(",");
  const { frames, isFull } = useFrames(wanted);
  if (cameras === null) return html`<h1>${t("page.live")}</h1>`;
  const isDown = (name) => Number(stateOf(name) !== "up");
  const order = [...names].sort((one, other) => isDown(other) - isDown(one));
  const down = names.filter(isDown).length;
  return html`
    <header class="top"><h1>${t("page.live")}</h1>
      <p class="faint">${down ? plural("live.down", names.length, { down: number(down) }) : plural("live.up", names.length)}</p></header>
    ${names.length === 0 && html`<p class="empty">${t("live.empty")}</p>`}
    ${isFull && html`<p class="why" role="status">${t("live.full")}</p>`}
    <ul class="wall">${order.map((name) => html`
      <${Tile} key=${name} name=${name} frame=${frames[name]} state=${stateOf(name)} onOpen=${() => setOpen(name)} />`)}</ul>
    ${open && html`<${Large} name=${open} frame=${frames[open]} state=${stateOf(open)}
      camera=${cameras.find((one) => one.name === open)} onClose=${() => setOpen(null)} />`}`;
}
