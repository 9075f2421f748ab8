// The cameras: how each is, and what to do about it. An admin tests, adds, changes and removes them.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask, urlOf } from "./api.js";
import { Dialog, Face, Mark, attempt, whyNot } from "./parts.js";
import { Change, Outcome, Wrong } from "./settings.js";
import { number, plural, t } from "./text.js";

const STAGES = ["decode", "detect", "embed", "match"];
const perCent = (share) => `${number(100 * share)} %`;
const isDown = (one) => Number(one.word !== "up");

function factsOf(one) {
  const ms = (value) => t("cameras.ms", { ms: number(value) });
  const stages = STAGES.filter((stage) => one[`${stage}_ms`] !== null).map((stage) => t(`cameras.stage.${stage}`, { ms: number(one[`${stage}_ms`], 1) }));
  return [
    one.age_p50_ms !== null && [t("cameras.age"), ms(one.age_p50_ms)],
    one.frames_per_s !== null && [t("cameras.rate"), t("cameras.perS", { rate: number(one.frames_per_s, 1) })],
    one.faces_per_s !== null && [t("cameras.faces"), t("cameras.perS", { rate: number(one.faces_per_s, 1) })],
    [t("cameras.losses"), number(one.losses)],
    one.decoding && [t("cameras.decoding"), html`<span translate=${false}>${one.decode_device ? `${one.decoding} (${one.decode_device})` : one.decoding}</span>`],
    stages.length > 0 && [t("cameras.stages"), stages.join(" · ")],
    one.placement.seen > 0 && [t("cameras.seen"), t("cameras.seenValue", { seen: number(one.placement.seen), px: number(one.placement.median_px) })],
  ].filter(Boolean);
}

function Placement({ placement }) {
  const { seen, needed, median_px: px, refused, advice } = placement;
  const reasons = Object.entries(refused).filter(([, count]) => count > 0);
  return html`<div class="advice">
    ${advice.map((one) => html`<p><${Mark} verdict=${one.code === "well" ? "camera_up" : "unknown"} />
      <span>${t(`advice.${one.code}`, { share: perCent(one.share), px: number(px ?? 0), seen: number(seen) })}</span></p>`)}
    ${advice.length === 0 && html`<p class="faint">${t(seen < needed ? "advice.few" : "advice.none", { seen: number(seen), needed: number(needed) })}</p>`}
    ${reasons.length > 0 && html`<p class="faint">${t("cameras.unused")} ${reasons.map(([part, count]) => `${t(`refused.${part}`)}: ${number(count)}`).join(" · ")}</p>`}
  </div>`;
}

function Card({ one, may, onAsk }) {
  const down = one.word !== "up";
  return html`<li class="camera ${down ? "down" : ""}" data-camera=${one.name}>
    ${!down && html`<${Face} path=${`cameras/${one.name}/frame.jpg?divide=4`} alt="" className="frame" />`}
    <div class="camera-facts">
      <header><h2>${one.name}</h2><span class=${down ? "state" : "there"}><${Mark} verdict=${down ? "camera_down" : "camera_up"} />${t(`state.${one.word}`)}</span></header>
      ${one.down_reason && html`<p class="why" translate=${false}>${one.down_reason}</p>`}
      ${one.picture_fault && html`<p class="why" translate=${false}>${one.picture_fault}</p>`}
      <dl>${factsOf(one).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <${Placement} placement=${one.placement} />
      ${may("admin") && html`<p class="actions"><button type="button" onClick=${() => onAsk("change")}>${t("cameras.change")}</button>
        <button type="button" class="danger" onClick=${() => onAsk("remove")}>${t("cameras.remove")}</button></p>`}
    </div>
  </li>`;
}

function Tested({ tested }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    const bytes = Uint8Array.from(atob(tested.picture), (letter) => letter.charCodeAt(0));
    const made = URL.createObjectURL(new Blob([bytes], { type: tested.picture_type }));
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [tested]);
  const part = (value, whole) => `${(100 * value) / whole}%`;
  const widths = (tested.faces ?? []).map(([left, , right]) => right - left);
  return html`<div class="tested" role="status">
    <span class="picture" dir="ltr" style=${{ aspectRatio: `${tested.width} / ${tested.height}` }}>
      ${url && html`<img src=${url} alt=${t("cameras.testAlt")} />`}
      ${(tested.faces ?? []).map(([left, top, right, bottom]) => html`<span class="box" style=${{
        insetInlineStart: part(left, tested.width), insetBlockStart: part(top, tested.height),
        inlineSize: part(right - left, tested.width), blockSize: part(bottom - top, tested.height) }}></span>`)}</span>
    <p><${Mark} verdict="camera_up" /> ${[
      t("live.size", { width: tested.width, height: tested.height }), tested.codec, tested.fps !== null && t("cameras.perS", { rate: number(tested.fps, 1) }),
      tested.faces_fault ?? (widths.length ? t("cameras.found", { count: number(widths.length), px: widths.sort((a, b) => b - a).join(", ") }) : t("cameras.noFaces")),
    ].filter(Boolean).join(" · ")}</p></div>`;
}

/** Add a camera, or change the source of one: tested first if whoever does it likes. */
function Edit({ camera, onClose }) {
  const [given, setGiven] = useState({ name: camera ?? "", source: "", tls: "verify", transport: "tcp" });
  const [state, setState] = useState({ busy: "", tested: null, error: null, applied: null, faults: [] });
  const etag = useRef("");
  useEffect(() => void attempt(async () => {
    const found = await ask("settings");
    etag.current = found.etag;
    const known = found.values?.cameras?.[camera];
    if (known) setGiven({ name: camera, source: String(known.source), tls: known.tls ?? "verify", transport: known.transport ?? "tcp" });
  }), []);
  const change = (name) => (event) => setGiven({ ...given, [name]: event.target.value });
  const isTls = /^(https|rtsps):/i.test(given.source.trim());
  const changes = () => {
    const set = (key, value) => ({ section: "cameras", camera: given.name, key, value });
    return [
      set("source", given.source.trim()),
      set("tls", isTls && given.tls !== "verify" ? given.tls : null),
      set("transport", given.transport !== "tcp" ? given.transport : null),
    ];
  };
  const run = (busy, work) => async () => {
    setState((known) => ({ ...known, busy, error: null, faults: [] }));
    try {
      setState({ busy: "", tested: state.tested, error: null, applied: null, faults: [], ...(await work()) });
    } catch (error) {
      setState((known) => ({ ...known, busy: "", error, faults: error.faults ?? [] }));
    }
  };
  const isTesting = state.busy === "test";
  const test = run("test", async () => ({
    tested: await ask("cameras/test", "POST", { source: given.source.trim(), tls: given.tls, transport: given.transport, ...(camera && { camera }) }),
  }));
  const save = run("save", async () => ({ applied: await ask("settings", "PUT", { changes: changes() }, { "If-Match": `"${etag.current}"` }) }));
  const faultOf = (key) => state.faults.find((one) => one.pointer === `/cameras/${given.name}${key ? `/${key}` : ""}`);
  const placed = ["", "source", "tls", "transport"].map(faultOf).filter(Boolean);
  const others = state.faults.filter((one) => !placed.includes(one));
  const close = () => onClose();
  if (state.applied) return html`<${Dialog} title=${given.name} onClose=${close}><${Outcome} applied=${state.applied} /><p class="actions"><button type="button" class="main" onClick=${close}>${t("close")}</button></p></${Dialog}>`;
  const Told = ({ name }) => faultOf(name) && html`<${Wrong} fault=${faultOf(name)} id=${`wrong-${name}`} />`;
  return html`<${Dialog} title=${camera ?? t("cameras.add")} onClose=${close}>
    <form class="ask" onSubmit=${(event) => { event.preventDefault(); save(); }}>
      ${!camera && html`<label>${t("entry.name")}<input name="name" value=${given.name} maxlength="64" required pattern="[A-Za-z0-9][A-Za-z0-9_.\\-]*" onInput=${change("name")} /></label>`}
      <${Told} name="" />
      <label>${t("cameras.source")}<input name="source" translate=${false} value=${given.source} maxlength="4096" required spellcheck=${false} autocomplete="off" placeholder="rtsp://user:password@192.0.2.10/stream"
        aria-invalid=${faultOf("source") ? "true" : undefined} aria-describedby="wrong-source" onInput=${change("source")} /></label>
      <${Told} name="source" />
      ${isTls && html`<label>${t("cameras.tls")}<select name="tls" value=${given.tls} onChange=${change("tls")}><option value="verify">${t("cameras.verify")}</option><option value="insecure">${t("cameras.insecure")}</option></select></label>`}
      <${Told} name="tls" />
      ${/^rtsp/i.test(given.source) && html`<label>${t("cameras.transport")}<select name="transport" value=${given.transport} onChange=${change("transport")}><option value="tcp">TCP</option><option value="udp">UDP</option></select></label>`}
      ${others.length > 0 && html`<div role="alert">${others.map((one) => html`<${Wrong} fault=${one} />`)}</div>`}
      ${state.error && state.faults.length === 0 && html`<p class="why" role="alert">${whyNot(state.error)}</p>`}
      ${state.tested && html`<${Tested} tested=${state.tested} />`}
      <p class="actions"><button type="button" disabled=${state.busy !== "" || !given.source} onClick=${test}>${t(isTesting ? "cameras.testing" : "cameras.test")}</button>
        <button class="main" disabled=${state.busy !== ""}>${t(state.busy === "save" ? "settings.applying" : camera ? "save" : "cameras.add")}</button></p>
    </form>
  </${Dialog}>`;
}

export function Cameras({ site, may }) {
  const [cameras, setCameras] = useState(null);
  const [asked, setAsked] = useState(null); // {what, name}
  const load = () => attempt(async () => setCameras((await ask("cameras")).cameras));
  useEffect(() => void load(), [site]);
  const close = () => {
    setAsked(null);
    load();
  };
  if (cameras === null) return html`<h1>${t("page.cameras")}</h1>`;
  const down = cameras.filter(isDown).length;
  const order = [...cameras].sort((one, other) => isDown(other) - isDown(one));
  return html`
    <header class="top"><h1>${t("page.cameras")}</h1>
      <p class="faint">${down ? plural("live.down", cameras.length, { down: number(down) }) : plural("live.up", cameras.length)}</p>
      ${may("admin") && html`<p class="actions"><a class="button" href="#/settings">${t("cameras.all")}</a>
        <button type="button" class="main" onClick=${() => setAsked({ what: "change" })}>${t("cameras.add")}</button></p>`}</header>
    ${cameras.length === 0 && html`<p class="empty">${t("live.empty")}</p>`}
    <ul class="cameras">${order.map((one) => html`<${Card} key=${one.name} one=${one} may=${may} onAsk=${(what) => setAsked({ what, name: one.name })} />`)}</ul>
    ${asked?.what === "change" && html`<${Edit} camera=${asked.name} onClose=${close} />`}
    ${asked?.what === "remove" && html`<${Change} title=${t("settings.remove", { camera: asked.name })} changes=${[{ section: "cameras", camera: asked.name }]} onClose=${close} />`}`;
}
