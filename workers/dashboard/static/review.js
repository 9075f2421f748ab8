// What is left to decide, one large at a time, beside the person whom it resembles most.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask } from "./api.js";
import { cropOf } from "./events.js";
import { Dialog, Face, Mark, attempt, notify } from "./parts.js";
import { Choose, Naming } from "./people.js";
import { clock, cosine, date, number, t } from "./text.js";

const SWIPE_PX = 90;
const keyOf = (item) => (item.stranger ? item.stranger.id : `event-${item.event.id}`);

/** Who is in the picture, as a sentence. */
const factsOf = ({ stranger, event }) =>
  stranger
    ? [t("review.visits", { count: number(stranger.visits) }), stranger.cameras.join(", "), t("review.last", { date: date(stranger.last_seen), time: clock(stranger.last_seen) })]
    : [event.camera, date(event.time), clock(event.time)];

/** A horizontal swipe over a card: how far it is drawn, and what its end means. */
function useSwipe(onRight, onLeft) {
  const start = useRef(null);
  const [drawn, setDrawn] = useState(0);
  const onPointerDown = (event) => {
    if (event.pointerType === "mouse" || event.target.closest("button, a, input")) return;
    start.current = event.clientX;
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const onPointerMove = (event) => start.current !== null && setDrawn(event.clientX - start.current);
  const end = (event) => {
    if (start.current === null) return;
    const far = event.clientX - start.current;
    start.current = null;
    setDrawn(0);
    if (event.type !== "pointerup") return;
    if (far > SWIPE_PX) onRight();
    if (far < -SWIPE_PX) onLeft();
  };
  return { drawn, handlers: { onPointerDown, onPointerMove, onPointerUp: end, onPointerCancel: end } };
}

function Confirm({ item, person, onSave, onClose }) {
  return html`<${Dialog} title=${t("review.is", { person: person.person })} onClose=${onClose}><div class="ask">
    <p>${t("review.joins")}</p>
    <p class="actions"><button type="button" class="main" autofocus onClick=${onSave}>${t("review.yes")}</button>
      <button type="button" onClick=${onClose}>${t("cancel")}</button></p></div></${Dialog}>`;
}

export function Review() {
  const [items, setItems] = useState(null);
  const [passed] = useState(() => new Set()); // skipped, for as long as the page is open
  const [last, setLast] = useState(null); // the last answer: what takes it back
  const [dialog, setDialog] = useState(null);
  const [busy, setBusy] = useState(false);
  const load = () => attempt(async () => {
    const found = (await ask("review?limit=50")).items;
    setItems(found.filter((one) => !passed.has(keyOf(one))));
  });
  useEffect(() => void load(), []);
  const item = items?.[0];
  const person = item?.person;
  const next = () => {
    setDialog(null);
    if (items.length > 1) setItems(items.slice(1));
    else load();
  };
  /** Send an answer, and go on. `undo`: path and method that take it back, and its body. */
  const answer = async (said, path, body, undo) => {
    if (busy) return;
    setBusy(true);
    const done = await attempt(() => ask(path, "POST", body));
    setBusy(false);
    if (!done) return;
    const back = undo && (() => attempt(async () => {
      await ask(undo, "DELETE");
      setLast(null);
      setItems((all) => [item, ...(all ?? []).filter((one) => keyOf(one) !== keyOf(item))]);
      notify(t("review.undone"));
    }));
    setLast(() => back ?? null);
    notify(done.warning ?? said, back);
    next();
  };
  const sid = item?.stranger?.id;
  const verdict = (fields, said) => answer(said, `events/${item.event.id}/verdict`, fields, `events/${item.event.id}/verdict`);
  const does = {
    yes: person && (() => (sid ? setDialog({ confirm: person }) : verdict({ verdict: "right" }, t("judged.right")))),
    learn: person && !sid && (() => verdict({ verdict: "right", learn: true }, t("review.learned", { person: person.person }))),
    no: person && (() => (sid
      ? answer(t("review.different", { person: person.person }), `strangers/${sid}/different`, { person: person.id }, `strangers/${sid}/different/${person.id}`)
      : verdict({ verdict: "wrong" }, t("judged.wrong")))),
    new: sid && (() => setDialog("new")),
    other: sid && (() => setDialog("other")),
    ignore: sid && (() => answer(t("review.ignored"), `strangers/${sid}/ignore`, undefined, `strangers/${sid}/ignore`)),
    skip: item && (() => {
      passed.add(keyOf(item));
      next();
    }),
    undo: last,
  };
  const KEYS = { y: "yes", l: "learn", n: "no", p: "new", o: "other", i: "ignore", s: "skip", u: "undo" };
  useEffect(() => {
    const press = (event) => {
      if (dialog || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, dialog")) return;
      const doing = does[KEYS[event.key.toLowerCase()]];
      if (!doing) return;
      event.preventDefault();
      doing();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });
  const swipe = useSwipe(() => does.yes?.(), () => does.no?.());
  const becomes = (into) => answer(t("review.named", { person: into.person }), `strangers/${sid}/merge`, { into: into.id });
  const close = () => setDialog(null);
  const button = (name, text, key, className = "") =>
    does[name] && html`<button type="button" class=${className} disabled=${busy} onClick=${does[name]}>${text}<kbd aria-hidden="true" translate=${false}>${key}</kbd></button>`;
  if (items === null) return html`<h1>${t("page.review")}</h1>`;
  return html`
    <header class="top"><h1>${t("page.review")}</h1>
      <p class="faint">${items.length ? t("review.left", { count: number(items.length) }) : ""}</p></header>
    ${!item ? html`<div class="empty"><p>${t("review.empty")}</p>
        <p class="actions center">${passed.size > 0 && html`<button type="button" onClick=${() => { passed.clear(); load(); }}>${t("review.again")}</button>`}
        ${button("undo", t("undo"), "U")}</p></div>`
      : html`<article class="decide" key=${keyOf(item)} aria-busy=${busy} ...${swipe.handlers} style=${{ transform: swipe.drawn ? `translateX(${swipe.drawn}px)` : "" }}>
        <div class="pair">
          <figure><${Face} path=${sid ? `strangers/${sid}/photo` : cropOf(item.event)} alt=${t(sid ? "review.stranger" : "review.seen")} className="huge" />
            <figcaption><b><${Mark} verdict=${sid ? "unknown" : "uncertain"} />${sid ? t("stranger", { number: sid.replace(/\D/g, "") }) : t("verdict.uncertain")}</b>
              <span class="faint">${factsOf(item).join(" · ")}</span></figcaption></figure>
          ${person && html`<figure><${Face} path=${`people/${person.id}/${item.reference === null ? "" : `references/${item.reference}/`}photo`} alt=${t("review.reference", { person: person.person })} className="huge" />
            <figcaption><b><${Mark} verdict="named" />${person.person}</b><span class="faint">${t("review.score", { score: cosine(item.score) })}</span></figcaption></figure>`}
        </div>
        ${sid && item.stranger.photos.length > 1 && html`<ul class="others">${item.stranger.photos.slice(1).map((_, at) => html`<li key=${at}>
          <${Face} path=${`strangers/${sid}/photo?number=${at + 1}`} alt="" /></li>`)}</ul>`}
        <p class="question" aria-live="polite">${person ? t("review.same", { person: person.person }) : t("review.who")}</p>
        <p class="actions">
          ${button("yes", t("review.yes"), "Y", "main")}${button("no", t("review.no"), "N")}
          ${button("learn", t("review.learn"), "L")}${button("new", t("review.new"), "P", person ? "" : "main")}
          ${button("other", t("review.other"), "O")}${button("ignore", t("review.ignore"), "I")}
          ${button("skip", t("review.skip"), "S")}${button("undo", t("undo"), "U")}
        </p>
        <p class="faint hint">${t("review.hint")}</p>
      </article>`}
    ${dialog === "new" && html`<${Naming} title=${t("review.new")} what=${t("review.joins")} onClose=${close}
      onSave=${(name) => answer(t("review.named", { person: name }), `strangers/${sid}/name`, { name })} />`}
    ${dialog === "other" && html`<${Choose} title=${t("review.other")} onClose=${close} onChoose=${(one) => setDialog({ confirm: one })} />`}
    ${dialog?.confirm && html`<${Confirm} item=${item} person=${dialog.confirm} onClose=${close} onSave=${() => becomes(dialog.confirm)} />`}`;
}
