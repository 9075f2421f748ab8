// The settings: a form made from the schema, beside the text of the file. The site checks each change; only applying writes it.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask } from "./api.js";
import { Dialog, Mark, attempt, whyNot } from "./parts.js";
import { clock, date, t } from "./text.js";

const ORDER = ["cameras", "recognition", "site", "sync", "web", "backend"];
const pointerOf = (group, key) => `/${group.section}${group.camera === undefined ? "" : `/${group.camera}`}/${key}`;
const titleOf = (group) => group.camera ?? t(`settings.section.${group.section}`);
const isEqual = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** The tables of a document: each section, and each camera. */
function groupsOf(values, settings) {
  const known = new Set(settings.map((one) => one.section));
  return ORDER.filter((section) => known.has(section)).flatMap((section) => {
    const found = values?.[section];
    if (section !== "cameras") return [{ section, values: found ?? {} }];
    return Object.entries(found ?? {}).map(([camera, one]) => ({ section, camera, values: one ?? {} }));
  });
}

const shownValue = (value) => (value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** What was typed, as the setting's kind has it. What does not fit is sent as it is: the site says why. */
function valueOf(setting, typed) {
  if (typed === "") return null;
  if (setting.kind === "boolean") return typed === "true";
  if (setting.kind === "choice") return setting.choices.find((one) => String(one) === typed) ?? typed;
  if (setting.kind === "list") {
    try {
      return JSON.parse(typed);
    } catch {
      return typed;
    }
  }
  const isNumber = setting.kind === "integer" || setting.kind === "number";
  return isNumber && Number.isFinite(Number(typed)) ? Number(typed) : typed;
}

export const Wrong = ({ fault, id }) => html`<span class="why" id=${id}><${Mark} verdict="camera_down" /> ${[
  fault.what, fault.got && t("settings.got", { got: fault.got }), fault.expected && t("settings.expected", { expected: fault.expected }), fault.remedy,
].filter(Boolean).join(" · ")}</span>`;

function Field({ group, setting, fault, disabled, onChange }) {
  const id = `f${pointerOf(group, setting.key).replace(/[^\w-]/g, "_")}`;
  const value = group.values[setting.key];
  const isLocked = Boolean(setting.why_not_settable);
  const fallback = setting.inherited ? t("settings.inherited")
    : setting.default === null ? t("settings.none") : t("settings.default", { value: shownValue(setting.default) });
  const common = {
    id, disabled: disabled || isLocked, "aria-invalid": fault ? "true" : undefined, "aria-describedby": `${id}-help`,
    onChange: (event) => onChange(setting, valueOf(setting, event.target.value.trim())),
  };
  const choices = setting.kind === "boolean" ? [true, false] : setting.choices;
  return html`<div class="field ${fault ? "wrong" : ""}" translate=${false}>
    <label for=${id}>${setting.key}${setting.unit && html` <small>${setting.unit}</small>`}</label>
    ${choices
      ? html`<select ...${common} value=${shownValue(value)}><option value="">${fallback}</option>
          ${choices.map((one) => html`<option value=${String(one)}>${String(one)}</option>`)}</select>`
      : html`<input ...${common} value=${shownValue(value)} placeholder=${fallback} maxlength="4096" spellcheck=${false} autocomplete="off"
          inputmode=${setting.kind === "integer" ? "numeric" : setting.kind === "number" ? "decimal" : undefined} />`}
    <p class="faint" id=${`${id}-help`}>${setting.help}${setting.needs_restart && html` <em>${t("settings.restart")}</em>`}
      ${isLocked && html` <em>${t("settings.locked", { how: setting.why_not_settable })}</em>`}
      ${fault && html` <${Wrong} fault=${fault} />`}</p>
  </div>`;
}

function Group({ group, settings, faults, search, disabled, onChange, onRemove }) {
  const fields = settings.filter((one) => one.section === group.section);
  const wanted = search.toLowerCase();
  const fits = (one) => `${titleOf(group)} ${one.key} ${one.help}`.toLowerCase().includes(wanted);
  const shown = wanted ? fields.filter(fits) : fields;
  const wrong = fields.filter((one) => faults.has(pointerOf(group, one.key)));
  const [open, setOpen] = useState(false);
  const isOpen = open || Boolean(wanted) || wrong.length > 0;
  if (shown.length === 0) return null;
  const set = Object.keys(group.values).length;
  return html`<details class="group" open=${isOpen} onToggle=${(event) => setOpen(event.target.open)}>
    <summary><b>${titleOf(group)}</b><span class="faint">${t("settings.set", { set })}</span></summary>
    ${isOpen && html`<div class="fields">${shown.map((one) => html`
      <${Field} key=${one.key} group=${group} setting=${one} fault=${faults.get(pointerOf(group, one.key))} disabled=${disabled}
        onChange=${(setting, value) => onChange(group, setting, value)} />`)}
      ${group.camera !== undefined && !wanted && html`<p><button type="button" class="danger" disabled=${disabled} onClick=${() => onRemove(group)}>${t("settings.remove", { camera: group.camera })}</button></p>`}
    </div>`}
  </details>`;
}

/** The lines of a difference, with a sign and a colour for what comes and what goes. */
export const Diff = ({ diff }) => html`<pre class="diff" tabindex="0" aria-label=${t("settings.diff")}>${diff.split("\n").slice(2).map((line) => html`
  <span class=${line[0] === "+" ? "plus" : line[0] === "-" ? "minus" : line[0] === "@" ? "place" : ""}>${line}</span>`)}</pre>`;

/** What a change will do: its difference, the processes, what waits for a restart, which passwords are new. */
export const Effects = ({ checked }) => html`
  ${checked.diff ? html`<${Diff} diff=${checked.diff} />` : html`<p class="faint">${t("settings.same")}</p>`}
  <ul class="effects">
    ${checked.new_secrets.map((one) => html`<li>${t("settings.secret", { where: one })}</li>`)}
    ${checked.effects.map((one) => html`<li>${t(`settings.will.${one.change}`, { name: one.name })}</li>`)}
    ${checked.after_restart.map((one) => html`<li>${t("settings.waits", { key: one })}</li>`)}
  </ul>`;

/** What came of a change, for each process. */
export const Outcome = ({ applied }) => html`<div role="status" class="outcome">
  <p><b>${t(`settings.reload.${applied.reload}`)}</b></p>
  <ul class="effects">
    ${applied.faults.map((one) => html`<li class="why" translate=${false}>${one}</li>`)}
    ${applied.processes.map((one) => html`<li><${Mark} verdict=${one.state === "down" || one.state === "failed" ? "camera_down" : "camera_up"} />
      <b>${one.name}</b> ${one.state ? t(`state.${one.state}`) : t("settings.gone")}${one.reason && html` <span class="why" translate=${false}>${one.reason}</span>`}</li>`)}
    ${applied.after_restart.map((one) => html`<li>${t("settings.waits", { key: one })}</li>`)}
  </ul></div>`;

/** A dialog that shows what will be done, does it, and shows what came of it. `doing`: sends it. */
export function Apply({ title, checked, doing, onDone, onClose }) {
  const [state, setState] = useState({ applied: null, error: null, busy: false });
  const go = async () => {
    setState({ applied: null, error: null, busy: true });
    try {
      const applied = await doing();
      setState({ applied, error: null, busy: false });
      onDone(applied);
    } catch (error) {
      setState({ applied: null, error, busy: false });
    }
  };
  const close = () => onClose(state.applied, state.error);
  return html`<${Dialog} title=${title} wide onClose=${close}>
    ${state.applied ? html`<${Outcome} applied=${state.applied} />` : html`<${Effects} checked=${checked} />`}
    ${state.error && html`<p class="why" role="alert">${whyNot(state.error)}</p>`}
    <p class="actions">
      ${!state.applied && state.error?.status !== 412 && html`<button type="button" class="main" disabled=${state.busy || !checked.diff && !checked.new_secrets.length} onClick=${go}>${t(state.busy ? "settings.applying" : "settings.do")}</button>`}
      <button type="button" onClick=${close}>${t(state.applied ? "close" : state.error?.status === 412 ? "settings.reload" : "cancel")}</button></p>
  </${Dialog}>`;
}

const Refused = ({ title, checked, onClose }) => html`<${Dialog} title=${title} wide onClose=${onClose}>
  <${Effects} checked=${checked} /><ul>${checked.faults.map((one) => html`<li>${one.where} <${Wrong} fault=${one} /></li>`)}</ul></${Dialog}>`;

/** Applies changes to the file as it is now, after it has shown what they do. */
export function Change({ title, changes, onClose }) {
  const [ready, setReady] = useState(null);
  useEffect(() => void attempt(async () => {
    const { etag } = await ask("settings");
    setReady({ etag, checked: await ask("settings/validate", "POST", { changes }) });
  }), []);
  if (ready === null) return null;
  if (ready.checked.faults.length) return html`<${Refused} title=${title} checked=${ready.checked} onClose=${onClose} />`;
  return html`<${Apply} title=${title} checked=${ready.checked} onDone=${() => {}} onClose=${onClose}
    doing=${() => ask("settings", "PUT", { changes }, { "If-Match": `"${ready.etag}"` })} />`;
}

function Versions({ shown, turn, onReverted }) {
  const [versions, setVersions] = useState([]);
  const [open, setOpen] = useState(null);
  useEffect(() => void attempt(async () => setVersions((await ask("settings/versions")).versions)), [turn]);
  if (versions.length === 0) return null;
  return html`<section><h2>${t("settings.versions")}</h2>
    <ol class="versions">${versions.map((one) => html`<li key=${one.id}>
      <time datetime=${one.time}>${date(one.time)}, ${clock(one.time)}</time><span translate=${one.by ? false : undefined}>${one.by ?? t("settings.byHand")}</span>
      ${one.current ? html`<b>${t("settings.current")}</b>` : html`<button type="button" disabled=${Boolean(shown.read_only)} aria-label=${t("settings.look", { date: `${date(one.time)}, ${clock(one.time)}` })}
        onClick=${() => attempt(async () => setOpen(await ask(`settings/versions/${one.id}`)))}>${t("settings.back")}</button>`}</li>`)}</ol>
    ${open && (open.faults.length
      ? html`<${Refused} title=${t("settings.back")} checked=${open} onClose=${() => setOpen(null)} />`
      : html`<${Apply} title=${t("settings.back")} checked=${open} onDone=${onReverted} onClose=${(_, error) => { setOpen(null); if (error) onReverted(); }}
          doing=${() => ask(`settings/versions/${open.id}/revert`, "POST", undefined, { "If-Match": `"${shown.etag}"` })} />`)}
  </section>`;
}

export function Settings() {
  const [shown, setShown] = useState(null);
  const [draft, setDraft] = useState(null); // {text, values, faults, diff, …}: as the site has checked it
  const [typed, setTyped] = useState(null); // the text while it is edited, until the site has checked it
  const [search, setSearch] = useState("");
  const [applying, setApplying] = useState(false);
  const [turn, setTurn] = useState(0);
  const asked = useRef(Promise.resolve());
  const load = () => attempt(async () => {
    const found = await ask(`settings?language=${document.documentElement.lang}`);
    setShown(found);
    setDraft({ text: found.text, values: found.values, faults: found.faults, diff: "", new_secrets: [], effects: [], after_restart: [] });
    setTyped(null);
    setTurn((number) => number + 1);
  });
  useEffect(() => void load(), []);
  const latest = useRef(null);
  latest.current = draft;
  // One after another, each on the text that the one before has made.
  const check = (text, changes = []) => {
    asked.current = asked.current.then(() => attempt(async () => {
      const found = await ask("settings/validate", "POST", { text: text ?? latest.current.text, changes });
      latest.current = found;
      setDraft(found);
      setTyped(null);
    }));
  };
  if (shown === null || draft === null) return html`<h1>${t("page.settings")}</h1>`;
  const faults = new Map(draft.faults.filter((one) => one.pointer).map((one) => [one.pointer, one]));
  const groups = groupsOf(draft.values ?? shown.values, shown.settings);
  const placed = new Set(groups.flatMap((group) => shown.settings.filter((one) => one.section === group.section).map((one) => pointerOf(group, one.key))));
  const others = draft.faults.filter((one) => !placed.has(one.pointer));
  const isReadOnly = Boolean(shown.read_only);
  const isChanged = typed !== null || draft.text !== shown.text;
  const change = (group, setting, value) => {
    if (isEqual(group.values[setting.key] ?? null, value)) return;
    const { section, camera } = group;
    check(typed, [{ section, ...(camera !== undefined && { camera }), key: setting.key, value }]);
  };
  return html`
    <header class="top"><h1>${t("page.settings")}</h1><p class="faint"><code translate=${false}>${shown.path}</code></p></header>
    ${isReadOnly && html`<p class="banner"><b>${t("settings.readOnly")}</b> ${shown.read_only.what}. ${shown.read_only.remedy}</p>`}
    <div class="desk">
      <section aria-label=${t("settings.form")}>
        <label class="search">${t("settings.search")}<input type="search" value=${search} maxlength="100" onInput=${(event) => setSearch(event.target.value)} /></label>
        ${groups.map((group) => html`<${Group} key=${`${group.section}/${group.camera ?? ""}`} group=${group} settings=${shown.settings} faults=${faults} search=${search}
          disabled=${isReadOnly || typed !== null || draft.values === null} onChange=${change}
          onRemove=${(one) => check(null, [{ section: "cameras", camera: one.camera }])} />`)}
      </section>
      <section class="raw" aria-label=${t("settings.text")}>
        <label>${t("settings.text")}<textarea spellcheck=${false} readonly=${isReadOnly} value=${typed ?? draft.text} onInput=${(event) => setTyped(event.target.value)} /></label>
        <p class="faint">${t(typed === null ? "settings.masked" : "settings.checkFirst")}</p>
      </section>
    </div>
    ${others.length > 0 && html`<ul class="elsewhere" role="alert">${others.map((one) => html`<li><code>${(one.where ?? "").replace(`${shown.path}: `, "")}</code> <${Wrong} fault=${one} /></li>`)}</ul>`}
    <div class="apply"><p role="status">${draft.faults.length ? t("settings.faults", { count: draft.faults.length }) : isChanged ? t(typed === null ? "settings.ready" : "settings.edited") : t("settings.unchanged")}</p>
      <button type="button" disabled=${!isChanged} onClick=${load}>${t("settings.discard")}</button>
      <button type="button" disabled=${typed === null} onClick=${() => check(typed)}>${t("settings.validate")}</button>
      <button type="button" class="main" disabled=${isReadOnly || !isChanged || typed !== null || draft.faults.length > 0} onClick=${() => setApplying(true)}>${t("settings.apply")}</button></div>
    <${Versions} shown=${shown} turn=${turn} onReverted=${load} />
    ${applying && html`<${Apply} title=${t("settings.apply")} checked=${draft} onDone=${load} onClose=${(_, error) => { setApplying(false); if (error) load(); }}
      doing=${() => ask("settings", "PUT", { text: draft.text }, { "If-Match": `"${shown.etag}"` })} />`}`;
}
