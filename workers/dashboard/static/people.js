// Everybody who is enrolled; and one person: photos, sightings, and what can be done with them.

import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { ask, query, urlOf } from "./api.js";
import { Row } from "./events.js";
import { Dialog, Face, attempt, notify } from "./parts.js";
import { Quality } from "./quality.js";
import { cosine, date, plural, t } from "./text.js";

const PAGE = 60;
/** What the list asks first. */
export const FIRST_PEOPLE = `people?${query({ limit: PAGE })}`;

/** People in the order of their names; with `begins`, only those whose names begin so. */
async function listPeople(begins, after) {
  // The list goes on after a name. The last text before all that begin so ends with the highest character.
  const last = begins.charCodeAt(begins.length - 1) - 1;
  const from = after ?? (begins ? `${begins.slice(0, -1)}${String.fromCharCode(last)}\u{10ffff}` : undefined);
  const page = await ask(`people?${query({ limit: PAGE, after: from })}`);
  const fitting = page.people.filter((one) => one.person.startsWith(begins));
  return { people: fitting, next: fitting.length < page.people.length ? null : page.next };
}

export function usePeople(begins) {
  const [state, setState] = useState({ people: null, next: null });
  const load = (after) => attempt(async () => {
    const page = await listPeople(begins, after);
    setState((known) => ({ people: after ? [...known.people, ...page.people] : page.people, next: page.next }));
  });
  useEffect(() => void load(), [begins]);
  return [state, load];
}

const undo = (then) => () => attempt(async () => {
  const answer = await ask("people/undo", "POST");
  notify(t("people.undone", { before: answer.before, person: answer.person }));
  then();
});

export const Search = ({ value, onInput }) => html`
  <label class="search">${t("people.search")}<input type="search" value=${value} maxlength="300" onInput=${(event) => onInput(event.target.value)} /></label>`;

export function People() {
  const [begins, setBegins] = useState("");
  const [{ people, next }, load] = usePeople(begins);
  return html`
    <header class="top"><h1>${t("page.people")}</h1>
      <p class="actions"><button type="button" onClick=${undo(() => load())}>${t("people.undo")}</button>
        <a class="button main" href="#/enrol">${t("page.enrol")}</a></p></header>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}><${Search} value=${begins} onInput=${setBegins} /></form>
    ${people?.length === 0 && html`<p class="empty">${begins ? t("people.nobody") : t("people.empty")}</p>`}
    <ul class="cards">${(people ?? []).map((one) => html`<li key=${one.id ?? one.person}><a href=${`#/people/${one.id}`}>
      <${Face} path=${`people/${one.id}/photo`} alt="" />
      <b>${one.person}</b>
      <span class="faint">${plural("people.photos", one.references)}${one.set_aside ? ` · ${plural("people.aside", one.set_aside)}` : ""}</span>
    </a></li>`)}</ul>
    ${next !== null && html`<p class="more"><button type="button" onClick=${() => load(next)}>${t("people.more")}</button></p>`}`;
}

function Rename({ person, onClose, onDone }) {
  const [name, setName] = useState(person.person);
  const submit = (event) => {
    event.preventDefault();
    attempt(async () => {
      await ask(`people/${person.id}`, "PATCH", { name });
      notify(t("people.renamed", { name }), undo(onDone));
      onDone();
      onClose();
    });
  };
  return html`<${Dialog} title=${t("people.rename")} onClose=${onClose}><form class="ask" onSubmit=${submit}>
    <label>${t("people.name")}<input value=${name} maxlength="300" required onInput=${(event) => setName(event.target.value)} /></label>
    <p class="actions"><button class="main">${t("save")}</button><button type="button" onClick=${onClose}>${t("cancel")}</button></p>
  </form></${Dialog}>`;
}

function Merge({ person, onClose }) {
  const [begins, setBegins] = useState("");
  const [{ people }] = usePeople(begins);
  const merge = (into) => attempt(async () => {
    const answer = await ask(`people/${person.id}/merge`, "POST", { into: into.id });
    notify(answer.warning ?? t("people.merged", { person: person.person, into: into.person }), undo(() => { location.hash = `#/people/${person.id}`; }));
    onClose();
    location.hash = `#/people/${into.id}`;
  });
  return html`<${Dialog} title=${t("people.merge", { person: person.person })} onClose=${onClose}>
    <p>${t("people.mergeHow")}</p>
    <${Search} value=${begins} onInput=${setBegins} />
    <ul class="choose">${(people ?? []).filter((one) => one.id !== person.id).map((one) => html`<li key=${one.id}>
      <button type="button" onClick=${() => merge(one)}><${Face} path=${`people/${one.id}/photo`} alt="" /><b>${one.person}</b></button></li>`)}</ul>
  </${Dialog}>`;
}

function Forget({ person, onClose }) {
  const [typed, setTyped] = useState("");
  const submit = (event) => {
    event.preventDefault();
    attempt(async () => {
      const answer = await ask(`people/${person.id}`, "DELETE");
      notify(plural("people.forgotten", answer.sightings, { person: person.person }));
      onClose();
      location.hash = "#/people";
    });
  };
  return html`<${Dialog} title=${t("people.forget", { person: person.person })} onClose=${onClose}><form class="ask" onSubmit=${submit}>
    <p>${t("people.forgetWhat")}</p>
    <label>${t("people.forgetType", { person: person.person })}<input value=${typed} autocomplete="off" onInput=${(event) => setTyped(event.target.value)} /></label>
    <p class="actions"><button class="danger" disabled=${typed !== person.person}>${t("people.forgetDo")}</button>
      <button type="button" onClick=${onClose}>${t("cancel")}</button></p>
  </form></${Dialog}>`;
}

/** What a reference is good for, judged now from its photo. */
function Judged({ person, one, onClose }) {
  const [photo, setPhoto] = useState(null);
  useEffect(() => void attempt(async () => setPhoto(await ask(`people/${person.id}/references/${one.id}/quality`))), []);
  const face = photo?.faces.find((found) => found.proposed);
  return html`<${Dialog} title=${t("quality.title")} onClose=${onClose}>
    <div class="detail"><${Face} path=${`people/${person.id}/references/${one.id}/photo`} alt=${t("people.photoAlt", { person: person.person, date: date(one.enrolled_at) })} className="big" />
    <div class="judged">
      ${!photo && html`<p role="status">${t("enrol.looking")}</p>`}
      ${photo && !face && html`<p class="why">${photo.fault?.what ?? t("enrol.noface")}</p>`}
      ${face && html`<${Quality} parts=${face.parts} />`}
      ${face?.look_alikes.map((other) => html`<p class="alike">${t("enrol.alike", { person: other.person, score: cosine(other.score) })}</p>`)}
    </div></div>
  </${Dialog}>`;
}

function Reference({ person, one, onDone }) {
  const [judged, setJudged] = useState(false);
  const isAside = one.set_aside_since !== null;
  const change = () => attempt(async () => {
    const answer = await ask(`people/${person.id}/references/${one.id}`, "PATCH", { set_aside: isAside ? null : t("people.byHand") });
    if (answer.warning) notify(answer.warning);
    onDone();
  });
  return html`<li class=${isAside ? "aside" : ""}>
    <${Face} path=${one.image_path ? `people/${person.id}/references/${one.id}/photo` : null} alt=${t("people.photoAlt", { person: person.person, date: date(one.enrolled_at) })} />
    <span class="faint">${isAside ? t("people.asideSince", { date: date(one.set_aside_since), reason: one.set_aside_reason }) : t("people.since", { date: date(one.enrolled_at) })}</span>
    <button type="button" onClick=${change}>${t(isAside ? "people.bringBack" : "people.setAside")}</button>
    ${one.image_path && html`<button type="button" onClick=${() => setJudged(true)}>${t("quality.title")}</button>`}
    ${judged && html`<${Judged} person=${person} one=${one} onClose=${() => setJudged(false)} />`}
  </li>`;
}

export function PersonPage({ id, may }) {
  const [person, setPerson] = useState(null);
  const [references, setReferences] = useState([]);
  const [events, setEvents] = useState([]);
  const [asked, setAsked] = useState(null);
  const load = () => attempt(async () => {
    const known = await ask(`people/${id}`);
    setPerson(known);
    setReferences((await ask(`people/${id}/references?limit=200`)).references);
    setEvents((await ask(`events?${query({ person: known.person, event: ["named", "withdrawn", "corrected"], limit: 30 })}`)).events);
  });
  useEffect(() => void load(), [id]);
  const close = () => setAsked(null);
  if (!person) return html`<p class="back"><a href="#/people">${t("page.people")}</a></p>`;
  return html`
    <p class="back"><a href="#/people">← ${t("page.people")}</a></p>
    <header class="person"><${Face} path=${`people/${id}/photo`} alt="" className="big" />
      <div><h1>${person.person}</h1>
        <p class="faint">${[plural("people.photos", person.references), person.user_id, t("people.since", { date: date(person.enrolled_at) })].filter(Boolean).join(" · ")}</p>
        <p class="actions">
          <a class="button" href=${`#/enrol/${id}`}>${t("people.addPhotos")}</a>
          <button type="button" onClick=${() => setAsked("rename")}>${t("people.rename")}</button>
          <button type="button" onClick=${() => setAsked("merge")}>${t("people.mergeWith")}</button>
          ${may("admin") && html`<a class="button" href=${urlOf(`people/${id}/export`)} download>${t("people.export")}</a>
            <button type="button" class="danger" onClick=${() => setAsked("forget")}>${t("people.forgetDo")}</button>`}
        </p></div></header>
    <h2>${t("people.references")}</h2>
    <ul class="photos">${references.map((one) => html`<${Reference} key=${one.id} person=${person} one=${one} onDone=${load} />`)}</ul>
    <h2>${t("people.sightings")}</h2>
    ${events.length === 0 && html`<p class="empty">${t("people.unseen")}</p>`}
    <ol class="rows">${events.map((event) => html`<${Row} key=${event.id} event=${event} />`)}</ol>
    ${asked === "rename" && html`<${Rename} person=${person} onClose=${close} onDone=${load} />`}
    ${asked === "merge" && html`<${Merge} person=${person} onClose=${close} />`}
    ${asked === "forget" && html`<${Forget} person=${person} onClose=${close} />`}`;
}
