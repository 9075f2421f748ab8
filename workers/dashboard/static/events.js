// Sightings, newest first. The latest come by themselves.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask, query } from "./api.js";
import { Dialog, Face, Mark, attempt, notify, verdictOf } from "./parts.js";
import { clock, cosine, date, day, number, percent, t } from "./text.js";

const PAGE = 60;
const MOST_SHOWN = 600;
// What "left" adds to "named" and "unknown" is its end; only an uncertain one is news.
const CHOICES = {
  all: ["named", "withdrawn", "unknown", "left", "corrected", "camera_up", "camera_down"],
  named: ["named"],
  unknown: ["unknown"],
  uncertain: ["left", "withdrawn"],
  camera: ["camera_up", "camera_down"],
};

/** Midnight of a day like 2026-01-31, where the browser is; `later`: so many days later. */
const startOf = (text, later = 0) => {
  const [year, month, date_] = text.split("-").map(Number);
  return new Date(year, month - 1, date_ + later);
};
const isShown = (event) => event.event !== "left" || event.verdict === "uncertain";
const fits = (event, filter) =>
  isShown(event) &&
  CHOICES[filter.verdict].includes(event.event) &&
  (!filter.camera || event.camera === filter.camera) &&
  (!filter.person || event.person === filter.person) &&
  (!filter.unknown || event.unknown === filter.unknown) &&
  (!filter.day || (new Date(event.time) >= startOf(filter.day) && new Date(event.time) < startOf(filter.day, 1)));

export const cropOf = (event) => (event.crop ? `events/${event.id}/crop` : null);
// Never a round hundred: it is an estimate.
const certainty = (value) => percent(Math.min(0.9999, Math.floor(1e4 * value) / 1e4), 2);
const strangerOf = (event) => event.unknown && t("stranger", { number: event.unknown.replace(/\D/g, "") });
const EVERYBODY = { person: "", unknown: "" };
export const whoIs = (event) => event.person ?? strangerOf(event) ?? t(`verdict.${verdictOf(event)}`);

const altOf = (event) =>
  t("event.alt", { who: whoIs(event), camera: event.camera, time: clock(event.time), verdict: t(`verdict.${verdictOf(event)}`) });

function sentenceOf(event) {
  if (event.event === "corrected") return t(`corrected.${event.judged}`);
  if (event.event === "camera_down") return event.reason ?? "";
  return event.person || event.unknown ? t(`verdict.${verdictOf(event)}`) : "";
}

export function Row({ event, onOpen }) {
  const isOfCamera = event.event.startsWith("camera_");
  return html`<li class="row ${verdictOf(event)}" data-id=${event.id}>
    <button type="button" onClick=${onOpen} disabled=${!onOpen}>
      ${isOfCamera ? html`<span class="face"><${Mark} verdict=${event.event} /></span>` : html`<${Face} path=${cropOf(event)} alt="" />`}
      <span class="what"><b>${isOfCamera ? t(`verdict.${event.event}`) : whoIs(event)}</b>
        <span class="faint"><${Mark} verdict=${verdictOf(event)} />${[sentenceOf(event), event.camera].filter(Boolean).join(" · ")}</span></span>
      <time datetime=${event.time}>${clock(event.time)}</time>
    </button>
  </li>`;
}

/** `onOnly`: shows the sightings of this person or stranger alone. */
function Detail({ event, may, onOnly, onClose }) {
  const [said, setSaid] = useState("");
  const facts = [
    [t("events.camera"), event.camera],
    [t("event.time"), `${date(event.time)}, ${clock(event.time)}`],
    event.score != null && [t("track.score"), cosine(event.score)],
    event.margin != null && [t("track.margin"), cosine(event.margin)],
    event.confidence != null && [t("event.confidence"), certainty(event.confidence)],
    event.frames != null && [t("event.frames"), number(event.frames)],
    event.duration_s != null && [t("event.duration"), t("event.seconds", { seconds: number(event.duration_s) })],
  ].filter(Boolean);
  const judge = (verdict) => attempt(async () => {
    const answer = await ask(`events/${event.id}/verdict`, "POST", { verdict });
    setSaid(t(`judged.${verdict}`));
    notify(t(`judged.${verdict}`), () => attempt(() => ask(`events/${event.id}/verdict`, "DELETE")));
    if (answer.warning) setSaid(answer.warning);
  });
  const canJudge = may("operator") && (event.event === "named" || event.event === "left");
  return html`<${Dialog} title=${whoIs(event)} onClose=${onClose}>
    <div class="detail">
      <${Face} path=${cropOf(event)} alt=${altOf(event)} className="big" />
      <p class="verdict"><${Mark} verdict=${verdictOf(event)} />${t(`verdict.${verdictOf(event)}`)}</p>
      <dl>${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      ${canJudge && html`<p class="question">${t("event.question", { who: whoIs(event) })}</p>
        <p class="actions"><button type="button" class="main" onClick=${() => judge("right")}>${t("right")}</button>
          <button type="button" onClick=${() => judge("wrong")}>${t("wrong")}</button></p>`}
      ${(event.person || event.unknown) && html`<p class="actions"><button type="button" onClick=${() => onOnly({ person: event.person ?? "", unknown: event.person ? "" : event.unknown })}>${t("events.only", { who: whoIs(event) })}</button></p>`}
      <p role="status">${said}</p>
    </div>
  </${Dialog}>`;
}

/** Newest first, each id once. */
const joined = (one, other) => {
  const byId = new Map([...other, ...one].map((event) => [event.id, event]));
  return [...byId.values()].sort((a, b) => b.id - a.id);
};

export function Events({ site, listeners, may }) {
  const [filter, setFilter] = useState({ verdict: "all", camera: "", ...EVERYBODY, day: "" });
  const [events, setEvents] = useState([]);
  const [before, setBefore] = useState(null);
  const [loading, setLoading] = useState(true);
  const [open, setOpen] = useState(null);
  const [gap, setGap] = useState(null);
  const [told, setTold] = useState("");
  const toldAt = useRef(0);
  const turn = useRef(0);
  const pageOf = (from) => query({
    limit: PAGE, before: from, person: filter.person, unknown: filter.unknown, camera: filter.camera, event: CHOICES[filter.verdict],
    ...(filter.day && { since: startOf(filter.day).toISOString(), until: startOf(filter.day, 1).toISOString() }),
  });
  const load = (from) => attempt(async () => {
    const mine = turn.current;
    setLoading(true);
    let found = [];
    let next = from;
    do {
      const page = await ask(`events?${pageOf(next)}`);
      found = found.concat(page.events.filter(isShown));
      next = page.before;
    } while (found.length < PAGE / 2 && next !== null);
    if (mine !== turn.current) return;
    setEvents((known) => joined(known, found));
    setBefore(next);
  }).finally(() => setLoading(false));
  useEffect(() => {
    // First listen, then read what was: nothing falls between.
    turn.current += 1;
    setEvents([]);
    const listener = {
      onEvent: (event) => {
        if (!fits(event, filter)) return;
        setEvents((known) => joined([event], known).slice(0, MOST_SHOWN));
        if (Date.now() - toldAt.current < 5000) return;
        toldAt.current = Date.now();
        setTold(t("events.new", { who: whoIs(event), camera: event.camera }));
      },
      onGap: setGap,
    };
    listeners.add(listener);
    load(undefined);
    return () => listeners.delete(listener);
  }, [filter]);
  const change = (name) => (event) => setFilter({ ...filter, [name]: event.target.value });
  let lastDay = "";
  const shown = events.filter((event) => fits(event, filter)); // until the others are here, nothing of the filter before
  return html`
    <header class="top"><h1>${t("page.events")}</h1></header>
    <form class="filters" role="search" aria-label=${t("events.filter")} onSubmit=${(event) => event.preventDefault()}>
      <label>${t("events.verdict")}<select value=${filter.verdict} onChange=${change("verdict")}>
        ${Object.keys(CHOICES).map((one) => html`<option value=${one}>${t(`choice.${one}`)}</option>`)}</select></label>
      <label>${t("events.camera")}<select value=${filter.camera} onChange=${change("camera")}>
        <option value="">${t("events.every")}</option>
        ${Object.keys(site.cameras).map((one) => html`<option value=${one}>${one}</option>`)}</select></label>
      <label>${t("events.person")}<input type="search" value=${filter.person} placeholder=${t("events.everybody")} maxlength="300" onChange=${change("person")} /></label>
      <label>${t("events.day")}<input type="date" value=${filter.day} onChange=${change("day")} /></label>
    </form>
    ${filter.unknown && html`<p class="actions"><button type="button" onClick=${() => setFilter({ ...filter, unknown: "" })}>${strangerOf(filter)} ✕ <span class="hidden">${t("events.everybody")}</span></button></p>`}
    <p class="hidden" aria-live="polite">${told}</p>
    ${gap && html`<p class="why">${t("events.gap")}</p>`}
    ${!loading && shown.length === 0 && html`<p class="empty">${t("events.empty")}</p>`}
    <ol class="rows" aria-busy=${loading}>${shown.flatMap((event) => {
      // One flat list with keys: a sighting that comes moves the others, and draws none of them anew.
      const today = day(event.time);
      const head = today === lastDay ? [] : [html`<li class="day" key=${today}><h2>${today}</h2></li>`];
      lastDay = today;
      return [...head, html`<${Row} key=${event.id} event=${event} onOpen=${() => setOpen(event)} />`];
    })}</ol>
    ${before !== null && html`<p class="more"><button type="button" disabled=${loading} onClick=${() => load(before)}>${t("older")}</button></p>`}
    ${open && html`<${Detail} event=${open} may=${may} onClose=${() => setOpen(null)}
      onOnly=${(who) => { setOpen(null); setFilter({ ...filter, verdict: "all", ...who }); }} />`}`;
}
