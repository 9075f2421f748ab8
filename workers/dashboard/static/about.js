// What runs here and how it is doing; and a file for support.

import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { ask, urlOf } from "./api.js";
import { Mark, attempt } from "./parts.js";
import { ago, bytes, isText, number, plural, t } from "./text.js";

const EVERY_MS = 5000;
const DISK_SHORT = 0.05; // of the disk is free

const Facts = ({ facts }) => html`<dl class="facts">${facts.map(([name, value, isBad]) => html`
  <div><dt>${name}</dt><dd class=${isBad ? "why" : ""}>${value}</dd></div>`)}</dl>`;

const stateOf = (word) => (isText(`state.${word}`) ? t(`state.${word}`) : word);

const Process = ({ one }) => html`<tr>
  <th scope="row"><span translate=${false}>${one.name}</span>${one.why && html`<small class="why" translate=${false}>${one.why}</small>`}</th>
  <td><${Mark} verdict=${one.is_well ? "camera_up" : "camera_down"} /> ${stateOf(one.word)}</td>
  <td>${one.since ? ago(one.since) : "–"}</td>
  <td>${number(one.restarts)}${one.exit_code ? html`<small class="faint">${t("about.ended", { code: one.exit_code })}</small>` : ""}</td>
</tr>`;

const licenceOf = (model) =>
  t(model.commercial_use ? "about.models.free" : model.commercial_use === false ? "about.models.notFree" : "about.models.unknown");

const Model = ({ model }) => html`<li class=${model.in_use ? "used" : ""}>
  <b translate=${false}>${model.engine}/${model.name}</b>${model.in_use && html` <span class="badge">${t("about.models.inUse")}</span>`}
  <span class="faint" translate=${false}>${[model.licence, model.fault].filter(Boolean).join(" · ")}</span>
  <span class=${model.in_use && !model.commercial_use ? "why" : "faint"}>${licenceOf(model)}</span>
</li>`;

function galleryFacts({ gallery, disk }) {
  const isShort = disk.total_bytes && disk.free_bytes < DISK_SHORT * disk.total_bytes;
  return [
    ...(gallery ? [
      [t("page.people"), number(gallery.people ?? 0)],
      [t("people.references"), number(gallery.references ?? 0)],
      [t("about.live"), t(gallery.all_live ? "about.live.yes" : "about.live.no"), !gallery.all_live],
      [t("about.writable"), gallery.nothing_stored ? html`<span translate=${false}>${gallery.nothing_stored}</span>` : t("about.writable.yes"), Boolean(gallery.nothing_stored)],
      gallery.damaged_rows > 0 && [t("about.damaged"), number(gallery.damaged_rows), true],
    ] : []),
    [t("about.database"), bytes(disk.database_bytes)],
    [t("about.backup"), disk.backup_at ? ago(disk.backup_at) : t("about.backup.none")],
    disk.total_bytes && [t("about.disk"), t("about.of", { part: bytes(disk.free_bytes), whole: bytes(disk.total_bytes) }), isShort],
  ].filter(Boolean);
}

export function About({ may }) {
  const [about, setAbout] = useState(null);
  const [models, setModels] = useState(null);
  useEffect(() => {
    const load = () => document.hidden || attempt(async () => setAbout(await ask("about")));
    load();
    attempt(async () => setModels(await ask("models")));
    const timer = setInterval(load, EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  if (!about) return html`<h1>${t("page.about")}</h1>`;
  const facts = galleryFacts(about);
  const unwell = about.processes.filter((one) => !one.is_well).length + facts.filter(([, , isBad]) => isBad).length;
  const { versions } = about;
  return html`
    <p class="back"><a href="#/more">← ${t("page.more")}</a></p>
    <header class="top"><h1>${t("page.about")}</h1><p class="faint" translate=${false}>${about.site}</p></header>
    <p class="verdict ${unwell || !about.gallery ? "why" : ""}"><${Mark} verdict=${unwell || !about.gallery ? "camera_down" : "camera_up"} />
      ${!about.gallery ? t("about.silent") : unwell ? plural("about.unwell", unwell) : t("about.well")}</p>
    <div class="about">
      <section aria-labelledby="processes"><h2 id="processes">${t("about.processes")}</h2>
        <table><thead><tr><th scope="col">${t("about.process")}</th><th scope="col">${t("about.state")}</th>
          <th scope="col">${t("about.since")}</th><th scope="col">${t("about.restarts")}</th></tr></thead>
          <tbody>${about.processes.map((one) => html`<${Process} key=${`${one.kind}/${one.name}`} one=${one} />`)}</tbody></table></section>
      <section aria-labelledby="gallery"><h2 id="gallery">${t("about.gallery")}</h2><${Facts} facts=${facts} /></section>
      <section aria-labelledby="models"><h2 id="models">${t("about.models")}</h2>
        ${models && html`<ul class="models">${models.models.map((one) => html`<${Model} key=${`${one.engine}/${one.name}`} model=${one} />`)}</ul>
          <p class="faint">${t("about.models.runs", { device: models.runs_on })}</p>`}</section>
      <section aria-labelledby="versions"><h2 id="versions">${t("settings.versions")}</h2>
        <dl class="facts"><div><dt translate=${false}>Rollcall</dt><dd>${versions.program}</dd></div>
          <div><dt>${t("about.database.schema")}</dt><dd>${versions.schema}</dd></div></dl>
        <details><summary>${t("about.libraries")}</summary><dl class="facts" translate=${false}>${[["Python", versions.python], ["SQLite", versions.sqlite], ["System", versions.system], ...Object.entries(versions.libraries)].map(
          ([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></details></section>
      ${may("admin") && html`<section aria-labelledby="support"><h2 id="support">${t("about.support")}</h2>
        <p>${t("about.support.what")}</p>
        <p class="actions"><a class="button" href=${urlOf("support-bundle")} download>${t("about.support.do")}</a></p></section>`}
    </div>`;
}
