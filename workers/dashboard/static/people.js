// Everybody who is enrolled, and what is worth a look among them; and one person.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask, query, urlOf } from "./api.js";
import { Row } from "./events.js";
import { Dialog, Face, Quality, attempt, notify } from "./parts.js";
import { cosine, date, number, plural, t } from "./text.js";

const PAGE = 60;
const AGAIN_MS = 3000;
const OTHERS = 4;
const WANTED = 8; // shown, of people who need a photo
const isNarrow = matchMedia("(max-width: 700px)");
const photoOf = (person, reference) => `people/${person.id}/references/${reference}/photo`;
const changeReference = (person, reference, fields) => ask(`people/${person.id}/references/${reference}`, "PATCH", fields);

/** People in the order of their names; with `begins`, only those whose names begin so. */
async function listPeople(begins, after) {
  // The list goes on after a name: the last one before all that begin so.
  const last = begins.charCodeAt(begins.length - 1) - 1;
  const from = after ?? (begins ? `${begins.slice(0, -1)}${String.fromCharCode(last)}\u{10ffff}` : undefined);
  const page = await ask(`people?${query({ limit: PAGE, after: from })}`);
  const fitting = page.people.filter((one) => one.person.startsWith(begins));
  return { people: fitting, next: fitting.length < page.people.length ? null : page.next, change: page.last_change };
}

function usePeople(begins) {
  const [state, setState] = useState({ people: null, next: null, change: null });
  const load = (after) => attempt(async () => {
    const page = await listPeople(begins, after);
    setState((known) => ({ ...page, people: after ? [...known.people, ...page.people] : page.people }));
  });
  useEffect(() => void load(), [begins]);
  return [state, load];
}

const Search = ({ value, onInput }) => html`
  <label class="search">${t("people.search")}<input type="search" value=${value} maxlength="300" onInput=${(event) => onInput(event.target.value)} /></label>`;

/** Takes back the rename or merge by which `before` is called `person`. */
const undo = ({ before, person }, then) => () => attempt(async () => {
  const answer = await ask("people/undo", "POST", { before, person });
  notify(t("people.undone", { before: answer.before, person: answer.person }));
  then();
});

/** Change something, and tell so. `back`: takes it back. */
const change = (onDone, said, doing, back) => () => attempt(async () => {
  const answer = await doing();
  notify(answer.warning ?? said, back && change(onDone, t("review.undone"), back));
  onDone();
});

const Somebody = ({ one, onChoose }) => html`<li><button type="button" onClick=${() => onChoose(one)}>
  <${Face} path=${`people/${one.id}/photo`} alt="" /><b>${one.person}</b></button></li>`;

/** Choose one of all people. `what`: what then happens; `without`: the id of one who can't be chosen. */
export function Choose({ title, what, without, onChoose, onClose }) {
  const [begins, setBegins] = useState("");
  const [{ people }] = usePeople(begins);
  return html`<${Dialog} title=${title} onClose=${onClose}>
    ${what && html`<p>${what}</p>`}
    <${Search} value=${begins} onInput=${setBegins} />
    <ul class="choose">${(people ?? []).filter((one) => one.id !== without).map((one) => html`<${Somebody} key=${one.id} one=${one} onChoose=${onChoose} />`)}</ul>
  </${Dialog}>`;
}

/** What is worth a look, asked for again while something newer is to come; and what asks at once. */
function useWorklist() {
  const [found, setFound] = useState(null);
  const load = async () => setFound(await ask("worklist"));
  useEffect(() => void attempt(load), []);
  useEffect(() => {
    if (!found?.looking) return undefined;
    const timer = setInterval(() => document.hidden || load().catch(() => {}), AGAIN_MS); // the network is away: asked again, later
    return () => clearInterval(timer);
  }, [found?.looking]);
  return [found, load];
}

const Name = ({ person }) => html`<b><a href=${`#/people/${person.id}`}>${person.person}</a></b>`;

function Which({ pair, onChoose, onClose }) {
  return html`<${Dialog} title=${t("worklist.which")} onClose=${onClose}>
    <p>${t("people.mergeHow")}</p>
    <ul class="choose">${pair.people.map((one, at) => html`<${Somebody} key=${one.id} one=${one} onChoose=${() => onChoose(one, pair.people[1 - at])} />`)}</ul>
  </${Dialog}>`;
}

function Pair({ pair, onDone }) {
  const [asked, setAsked] = useState(false);
  const [one, other] = pair.people;
  const merge = (into, gone) => attempt(async () => {
    const answer = await ask(`people/${gone.id}/merge`, "POST", { into: into.id });
    notify(answer.warning ?? t("people.merged", { person: gone.person, into: into.person }), undo(answer, onDone));
    onDone();
  });
  const different = change(onDone, t("review.different", { person: other.person }),
    () => ask(`people/${one.id}/different`, "POST", { person: other.id }), () => ask(`people/${one.id}/different/${other.id}`, "DELETE"));
  return html`<li class="look">
    <div class="pair">${pair.people.map((person, at) => html`<figure key=${person.id}>
      <${Face} path=${photoOf(person, pair.references[at])} alt=${t("review.reference", { person: person.person })} className="huge" />
      <figcaption><${Name} person=${person} /><span class="faint">${plural("people.photos", person.references)}</span></figcaption></figure>`)}</div>
    <p class="faint">${t("worklist.alike", { score: cosine(pair.score) })}</p>
    <p class="actions"><button type="button" onClick=${() => setAsked(true)}>${t("worklist.isSame")}</button>
      <button type="button" onClick=${different}>${t("worklist.isDifferent")}</button></p>
    ${asked && html`<${Which} pair=${pair} onChoose=${merge} onClose=${() => setAsked(false)} />`}
  </li>`;
}

function Odd({ odd, onDone }) {
  const [others, setOthers] = useState([odd.nearest]);
  const { person, other } = odd;
  useEffect(() => void attempt(async () => {
    const found = (await ask(`people/${person.id}/references?limit=${2 * OTHERS}`)).references;
    const further = found.filter((one) => one.set_aside_since === null && ![odd.reference, odd.nearest].includes(one.id));
    setOthers([odd.nearest, ...further.map((one) => one.id)].slice(0, OTHERS));
  }), [odd.reference]);
  const judge = (said, fields, back) => change(onDone, said, () => changeReference(person, odd.reference, fields), () => changeReference(person, odd.reference, back));
  return html`<li class="look">
    <div class="pair"><figure><${Face} path=${photoOf(person, odd.reference)} alt=${t("review.reference", { person: person.person })} className="huge" />
        <figcaption><b>${t("review.same", { person: person.person })}</b><span class="faint">${t("worklist.alike", { score: cosine(odd.score) })}</span></figcaption></figure>
      <figure><div class="four">${others.map((one) => html`<${Face} key=${one} path=${photoOf(person, one)} alt=${t("review.reference", { person: person.person })} />`)}</div>
        <figcaption><${Name} person=${person} /><span class="faint">${plural("people.photos", person.references)}</span></figcaption></figure></div>
    <p>${other && odd.other_score > odd.score && html`<a class="faint" href=${`#/people/${other.id}`}>${t("worklist.like", { person: other.person })}, ${cosine(odd.other_score)}</a>`}</p>
    <p class="actions"><button type="button" onClick=${judge(plural("people.aside", 1), { set_aside: t("people.byHand") }, { set_aside: null })}>${t("people.setAside")}</button>
      <button type="button" onClick=${judge(t("judged.right"), { right: true }, { right: false })}>${t("worklist.isRight")}</button>
      <a class="button" href=${`#/people/${person.id}`}>${t("worklist.open")}</a></p>
  </li>`;
}

/** Links to Enrol, with the sides that are missing. */
const Wanted = ({ title, found }) => found.length > 0 && html`<h3>${title}</h3>
  <p class="actions">${found.slice(0, WANTED).map(({ person, missing = [] }) => html`<a class="button" key=${person.id} href=${`#/enrol/${person.id}`}>
    ${[person.person, ...missing.map((side) => t(`side.${side}`))].join(" · ")}</a>`)}</p>`;

/** What is worth a look. `onChange`: called when an answer has changed the people. */
function Worklist({ onChange }) {
  const [found, load] = useWorklist();
  const [all, setAll] = useState(false);
  const [answered, setAnswered] = useState(false);
  const heading = useRef(null);
  const done = () => attempt(async () => {
    onChange();
    setAnswered(true);
    await load();
    heading.current?.focus(); // what was pressed is gone
  });
  if (!found) return null;
  const cards = [
    ...found.pairs.map((pair) => html`<${Pair} key=${pair.references.join()} pair=${pair} onDone=${done} />`),
    ...found.odd.map((odd) => html`<${Odd} key=${odd.reference} odd=${odd} onDone=${done} />`),
  ];
  const shown = all ? cards.length : isNarrow.matches ? 1 : 3;
  if (!cards.length && !found.single_found && !found.one_sided_found && !answered && !found.fault) return null;
  return html`<section class="worklist" aria-labelledby="worklist">
    <h2 id="worklist" tabindex="-1" ref=${heading}>${t("worklist.title")}</h2>
    ${found.fault && html`<p class="faint">${found.fault}</p>`}
    ${answered && !cards.length && html`<p class="faint">${t("review.empty")}</p>`}
    ${cards.length > 0 && html`<ul class="looks">${cards.slice(0, shown)}</ul>`}
    ${cards.length > shown && html`<p class="more"><button type="button" onClick=${() => setAll(true)}>${t("worklist.all", { count: number(cards.length) })}</button></p>`}
    <${Wanted} title=${t("worklist.single", { count: number(found.single_found) })} found=${found.single.map((person) => ({ person }))} />
    <${Wanted} title=${t("worklist.oneSided", { count: number(found.one_sided_found) })} found=${found.one_sided} />
  </section>`;
}

export function People() {
  const [begins, setBegins] = useState("");
  const [{ people, next, change }, load] = usePeople(begins);
  return html`
    <header class="top"><h1>${t("page.people")}</h1>
      <p class="actions">${change && html`<button type="button" onClick=${undo(change, () => load())}>${t("people.undo", change)}</button>`}
        <a class="button main" href="#/enrol">${t("page.enrol")}</a></p></header>
    ${!begins && html`<${Worklist} onChange=${() => load()} />`}
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}><${Search} value=${begins} onInput=${setBegins} /></form>
    ${people?.length === 0 && html`<p class="empty">${begins ? t("people.nobody") : t("people.empty")}</p>`}
    <ul class="cards">${(people ?? []).map((one) => html`<li key=${one.id ?? one.person}><a href=${`#/people/${one.id}`}>
      <${Face} path=${`people/${one.id}/photo`} alt="" />
      <b>${one.person}</b>
      <span class="faint">${plural("people.photos", one.references)}${one.set_aside ? ` · ${plural("people.aside", one.set_aside)}` : ""}</span>
    </a></li>`)}</ul>
    ${next !== null && html`<p class="more"><button type="button" onClick=${() => load(next)}>${t("people.more")}</button></p>`}`;
}

/** A dialog that asks for a name. `what`: what then happens. */
export function Naming({ title, what, name = "", onSave, onClose }) {
  const [typed, setTyped] = useState(name);
  const submit = (event) => {
    event.preventDefault();
    onSave(typed);
  };
  return html`<${Dialog} title=${title} onClose=${onClose}><form class="ask" onSubmit=${submit}>
    ${what && html`<p>${what}</p>`}
    <label>${t("entry.name")}<input value=${typed} maxlength="300" required autocomplete="off" autofocus=${!name} onInput=${(event) => setTyped(event.target.value)} /></label>
    <p class="actions"><button class="main" disabled=${!typed.trim()}>${t("save")}</button><button type="button" onClick=${onClose}>${t("cancel")}</button></p>
  </form></${Dialog}>`;
}

function Rename({ person, onClose, onDone }) {
  const save = (name) => attempt(async () => {
    const answer = await ask(`people/${person.id}`, "PATCH", { name });
    notify(t("people.renamed", { name }), undo(answer, onDone));
    onDone();
    onClose();
  });
  return html`<${Naming} title=${t("people.rename")} name=${person.person} onSave=${save} onClose=${onClose} />`;
}

function Merge({ person, onClose }) {
  const merge = (into) => attempt(async () => {
    const answer = await ask(`people/${person.id}/merge`, "POST", { into: into.id });
    notify(answer.warning ?? t("people.merged", { person: person.person, into: into.person }), undo(answer, () => { location.hash = `#/people/${person.id}`; }));
    onClose();
    location.hash = `#/people/${into.id}`;
  });
  return html`<${Choose} title=${t("people.merge", { person: person.person })} what=${t("people.mergeHow")} without=${person.id} onChoose=${merge} onClose=${onClose} />`;
}

function Forget({ person, onClose }) {
  const [typed, setTyped] = useState("");
  const submit = (event) => {
    event.preventDefault();
    attempt(async () => {
      const answer = await ask(`people/${person.id}`, "DELETE");
      notify(t("people.forgotten", { person: person.person, count: number(answer.sightings) }));
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
    <div class="detail"><${Face} path=${photoOf(person, one.id)} alt=${t("people.photoAlt", { person: person.person, date: date(one.enrolled_at) })} className="big" />
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
  const judge = (said, fields) => change(onDone, said, () => changeReference(person, one.id, fields));
  return html`<li class=${isAside ? "aside" : ""}>
    <${Face} path=${one.image_path ? photoOf(person, one.id) : null} alt=${t("people.photoAlt", { person: person.person, date: date(one.enrolled_at) })} />
    <span class="faint">${[isAside ? t("people.asideSince", { date: date(one.set_aside_since), reason: one.set_aside_reason }) : t("people.since", { date: date(one.enrolled_at) }), one.side && t(`side.${one.side}`)].filter(Boolean).join(" · ")}</span>
    <button type="button" onClick=${isAside ? judge(t("review.undone"), { set_aside: null }) : judge(plural("people.aside", 1), { set_aside: t("people.byHand") })}>${t(isAside ? "people.bringBack" : "people.setAside")}</button>
    ${one.right_since && html`<button type="button" aria-pressed="true" onClick=${judge(t("review.undone"), { right: false })}>✓ ${t("worklist.isRight")}</button>`}
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
