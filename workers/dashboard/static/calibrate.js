// What each threshold would name: two curves with a threshold that can be moved.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask } from "./api.js";
import { attempt } from "./parts.js";
import { Change } from "./settings.js";
import { ago, cosine, number, percent, plural, rounded, t } from "./text.js";

const LOOK_MS = 700;
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 24, 14, 34];
const isNarrow = matchMedia("(max-width: 700px)");
const BECAUSE = { "set by hand": "hand", strangers_named: "risk", "lowest for the model": "lowest" };

/** The newest calibration, looked at until it ends; and what starts and cancels one. */
function useCalibration() {
  const [job, setJob] = useState(null);
  const [asked, setAsked] = useState(false);
  const look = (id) => attempt(async () => setJob(await ask(`jobs/${id}`)));
  useEffect(() => void attempt(async () => {
    const newest = (await ask("jobs")).jobs.find((one) => one.kind === "calibrate");
    if (newest) await look(newest.id);
  }).finally(() => setAsked(true)), []);
  useEffect(() => {
    if (job?.state !== "running") return undefined;
    const timer = setTimeout(() => look(job.id), LOOK_MS);
    return () => clearTimeout(timer);
  }, [job]);
  const start = () => attempt(async () => setJob(await ask("calibrate", "POST", {})));
  const cancel = () => attempt(async () => setJob(await ask(`jobs/${job.id}`, "DELETE")));
  return { job, asked, start, cancel };
}

/** The point of the curve that is nearest to a threshold. */
const nearest = (curve, threshold) =>
  curve.reduce((best, one) => (Math.abs(one.threshold - threshold) < Math.abs(best.threshold - threshold) ? one : best));

function Plot({ curve, now, at, onMove }) {
  const picture = useRef(null);
  const [WIDTH, HEIGHT] = isNarrow.matches ? [400, 280] : [720, 320];
  const [low, high] = [curve[0].threshold, curve[curve.length - 1].threshold];
  const x = (threshold) => LEFT + ((threshold - low) / (high - low)) * (WIDTH - LEFT - RIGHT);
  const y = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const path = (name) => curve.filter((one) => one[name] != null).map((one, place) => `${place ? "L" : "M"}${x(one.threshold).toFixed(1)} ${y(one[name]).toFixed(1)}`).join("");
  const ticks = [0, 1, 2, 3, 4].map((step) => low + (step * (high - low)) / 4);
  const move = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const { left, width } = picture.current.getBoundingClientRect();
    const share = (((event.clientX - left) / width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    onMove(low + Math.min(1, Math.max(0, share)) * (high - low));
  };
  const down = (event) => {
    picture.current.setPointerCapture(event.pointerId); // the finger may leave the picture
    move(event);
  };
  return html`<svg ref=${picture} class="plot" dir="ltr" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${t("calibrate.plot")} onPointerDown=${down} onPointerMove=${move}>
    ${[0, 0.5, 1].map((share) => html`<line class="grid" x1=${LEFT} x2=${WIDTH - RIGHT} y1=${y(share)} y2=${y(share)} />
      <text x=${LEFT - 8} y=${y(share) + 4} text-anchor="end">${percent(share)}</text>`)}
    ${ticks.map((one) => html`<text x=${x(one)} y=${HEIGHT - 10} text-anchor="middle">${cosine(one)}</text>`)}
    <line class="now" x1=${x(now)} x2=${x(now)} y1=${TOP} y2=${y(0)} />
    <path class="people" d=${path("named_right")} />
    <path class="strangers" d=${path("strangers_named")} />
    <line class="at" x1=${x(at.threshold)} x2=${x(at.threshold)} y1=${TOP} y2=${y(0)} />
    ${at.named_right != null && html`<circle class="people" cx=${x(at.threshold)} cy=${y(at.named_right)} r="6" />`}
    ${at.strangers_named != null && html`<path class="strangers end" d=${`M${x(at.threshold)} ${y(at.strangers_named) - 7}l7 7-7 7-7-7z`} />`}
  </svg>`;
}

function Words({ at, count }) {
  return html`<div class="words" aria-live="polite">
    <p><b>${t("calibrate.at", { threshold: number(at.threshold, 3) })}</b></p>
    ${at.named_right != null && html`<p>${t("calibrate.right", { right: percent(at.named_right, 1), uncertain: percent(at.uncertain, 1), unknown: percent(at.unknown, 1) })}
      ${at.named_wrong > 0 && html` ${t("calibrate.wrong", { wrong: percent(at.named_wrong, 1) })}`}</p>`}
    ${at.strangers_named != null && html`<p>${at.strangers_named > 0
      ? t("calibrate.some", { count: number(count), share: percent(at.strangers_named, 2) }) : t("calibrate.none", { count: number(count) })}
      ${" "}${at.strangers_estimated > 0 ? t("calibrate.estimate", { number: rounded(1 / at.strangers_estimated) }) : t("calibrate.law")}</p>`}
  </div>`;
}

/** What brings a threshold about: a risk, which an admin may put into the settings here. */
function Use({ at, now, may }) {
  const [isAsked, setAsked] = useState(false);
  const risk = at.strangers_estimated > 0 ? Number(at.strangers_estimated.toPrecision(2)) : null;
  if (Math.abs(at.threshold - now.threshold) < 0.003) return html`<p class="faint">${t("calibrate.use.same")}</p>`;
  if (risk === null || risk >= 1) return null;
  const changes = [{ section: "recognition", key: "strangers_named", value: risk }];
  // A threshold that was set by hand wins over the risk.
  if (now.basis === "set by hand") changes.push({ section: "recognition", key: "threshold", value: null });
  return html`<p>${t("calibrate.use.how", { risk: risk.toFixed(12).replace(/0+$/, "") })}</p>
    ${may("admin") && html`<p class="actions"><button type="button" onClick=${() => setAsked(true)}>${t("calibrate.use.do")}</button></p>`}
    ${isAsked && html`<${Change} title=${t("calibrate.use")} changes=${changes} onClose=${() => setAsked(false)} />`}`;
}

function Report({ found, when, may }) {
  const { curve, now, strangers } = found;
  const [threshold, setThreshold] = useState(now.threshold);
  const at = nearest(curve, threshold);
  const step = curve[1].threshold - curve[0].threshold;
  return html`
    <p class="faint">${plural("calibrate.of", found.people, { when: ago(when), references: number(found.references) })}</p>
    <figure><${Plot} curve=${curve} now=${now.threshold} at=${at} onMove=${setThreshold} />
      <figcaption><span class="people">● ${t("calibrate.people")}</span><span class="strangers">◆ ${t("calibrate.strangers")}</span><span class="faint">┆ ${t("calibrate.now", { threshold: number(now.threshold, 3) })}</span></figcaption></figure>
    <label>${t("calibrate.threshold")}<input type="range" min=${curve[0].threshold} max=${curve[curve.length - 1].threshold} step=${step}
      value=${threshold} aria-valuetext=${number(at.threshold, 3)} onInput=${(event) => setThreshold(Number(event.target.value))} /></label>
    <${Words} at=${at} count=${strangers.count} />
    <section><h2>${t("calibrate.use")}</h2>
      <p>${t("calibrate.inForce", { threshold: number(now.threshold, 3) })} ${t(`calibrate.because.${BECAUSE[now.basis]}`, { risk: rounded(found.proposed.wanted_rate) })}</p>
      <${Use} at=${at} now=${now} may=${may} /></section>
    <p><a href="#/people">${t("page.people")}: ${t("worklist.title")}</a></p>`;
}

export function Calibrate({ may }) {
  const { job, asked, start, cancel } = useCalibration();
  const isRunning = job?.state === "running";
  return html`
    <p class="back"><a href="#/more">← ${t("page.more")}</a></p>
    <header class="top"><h1>${t("page.calibrate")}</h1></header>
    <div class="calibrate">
      <p>${t("calibrate.what")}</p>
      ${isRunning && html`<div role="status"><p><b>${t("calibrate.running")}</b> ${job.of > 0 && t("calibrate.progress", { done: number(job.done), of: number(job.of) })}</p>
        <progress aria-label=${t("calibrate.running")} max=${job.of || 1} value=${job.of ? job.done : undefined}></progress></div>`}
      ${job?.state === "failed" && html`<p class="why" role="alert">${t("calibrate.failed", { detail: job.fault })}</p>`}
      ${job?.state === "cancelled" && html`<p role="status">${t("calibrate.cancelled")}</p>`}
      ${asked && html`<p class="actions">${isRunning
        ? html`<button type="button" onClick=${cancel}>${t("cancel")}</button>`
        : html`<button type="button" class=${job?.result ? "" : "main"} onClick=${start}>${t(job?.result ? "calibrate.again" : "calibrate.do")}</button>`}</p>`}
      ${job?.result && html`<${Report} key=${job.id} found=${job.result} when=${job.ended_at} may=${may} />`}
    </div>`;
}
