// Signs in, and shows one page at a time. The pages use only the public API.

import { html, render, useEffect, useState } from "./vendor/preact-htm.js";
import { About } from "./about.js";
import { ask, follow } from "./api.js";
import { Enrol } from "./enrol.js";
import { Cameras } from "./cameras.js";
import { Calibrate } from "./calibrate.js";
import { Events } from "./events.js";
import { Live } from "./live.js";
import { Notices, attempt, whyNot } from "./parts.js";
import { People, PersonPage } from "./people.js";
import { Review } from "./review.js";
import { Settings } from "./settings.js";
import { LANGUAGES, choice, choose, loadTexts, t } from "./text.js";

const ORDER = ["viewer", "operator", "admin"];
// `under`: the page is not in the bar, but reached from this one.
const PAGES = [
  { name: "live", role: "viewer", icon: "M3 5h13v10H3zM16 9l5-3v8l-5-3z" },
  { name: "events", role: "viewer", icon: "M4 6h3M4 12h3M4 18h3M10 6h10M10 12h10M10 18h10" },
  { name: "people", role: "operator", icon: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20a6.5 6.5 0 0 1 13 0M16 4.5a3.5 3.5 0 0 1 0 6.5M18 14a6.5 6.5 0 0 1 3.5 6" },
  { name: "review", role: "operator", icon: "M4 5h9v14H4zM16 5h4v14h-4M6.5 12l1.6 1.6L11 10.5" },
  { name: "enrol", role: "operator", under: "people" },
  { name: "cameras", role: "viewer", icon: "M4 7h3l2-3h6l2 3h3v12H4zM12 16.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z" },
  { name: "settings", role: "admin", under: "more", icon: "M4 7h10M18 7h2M4 17h2M10 17h10M16 4.5v5M8 14.5v5" },
  { name: "more", role: "viewer", icon: "M4.5 12h1M11.5 12h1M18.5 12h1" },
  { name: "calibrate", role: "operator", under: "more", icon: "M4 20V4M4 20h16M7 16c4 0 4-9 7-9s3 3 6 3M14 4v16" },
  { name: "about", role: "operator", under: "more", icon: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5M12 8h.01" },
];

const place = () => location.hash.replace(/^#\/?/, "").split("/").filter(Boolean);

function Entry({ fault, onSignIn }) {
  const submit = (event) => {
    event.preventDefault();
    onSignIn(Object.fromEntries(new FormData(event.target)));
  };
  return html`<main class="entry">
    <h1><img src="static/icon.svg" alt="" width="40" height="40" /> Rollcall</h1>
    ${fault && html`<p class="fault" role="alert">${fault}</p>`}
    <p>${t("entry.link")} <code translate=${false}>python supervisor.py web login</code></p>
    <form onSubmit=${submit}>
      <label>${t("entry.name")} <input name="name" autocomplete="username" maxlength="64" required /></label>
      <label>${t("entry.password")}
        <input name="password" type="password" autocomplete="current-password" maxlength="1024" required /></label>
      <button class="main">${t("entry.submit")}</button>
    </form>
  </main>`;
}

/** What is not in the bar: further pages, the language, and who is signed in. */
const More = ({ pages, me, onLanguage, onLeave }) => html`
  <header class="top"><h1>${t("page.more")}</h1></header>
  <div class="further">
    ${pages.length > 0 && html`<ul class="doors">${pages.map((one) => html`<li key=${one.name}><a href=${`#/${one.name}`}>
      <svg viewBox="0 0 24 24" aria-hidden="true"><path d=${one.icon} /></svg>
      <span><b>${t(`page.${one.name}`)}</b><span class="faint">${t(`more.what.${one.name}`)}</span></span></a></li>`)}</ul>`}
    <section aria-labelledby="language"><h2 id="language">${t("more.language")}</h2>
      <label class="short">${t("more.pages")}<select value=${choice()} onChange=${(event) => onLanguage(event.target.value)}>
        <option value="">${t("more.automatic")}</option>
        ${Object.entries(LANGUAGES).map(([name, own]) => html`<option value=${name} lang=${name} translate=${false}>${own}</option>`)}
      </select></label></section>
    <section aria-labelledby="me"><h2 id="me">${t("more.me")}</h2>
      <p><b translate=${false}>${me.label}</b> · ${t(`role.${me.role}`)}</p>
      <p class="actions"><button type="button" onClick=${onLeave}>${t("leave")}</button></p></section>
  </div>`;

function Shell({ me, onLeave, onLanguage }) {
  const [where, setWhere] = useState(place());
  const [site, setSite] = useState({ cameras: {}, ready: null });
  const [live, setLive] = useState(true);
  const [listeners] = useState(() => new Set());
  const [start, setStart] = useState(null);
  const pages = PAGES.filter((one) => ORDER.indexOf(me.role) >= ORDER.indexOf(one.role));
  const page = pages.find((one) => one.name === where[0]) ?? pages[0];
  useEffect(() => {
    const turn = () => setWhere(place());
    addEventListener("hashchange", turn);
    return () => removeEventListener("hashchange", turn);
  }, []);
  useEffect(() => {
    let end = () => {};
    let ended = false;
    attempt(async () => {
      const newest = (await ask("events?limit=1")).events[0]?.id ?? 0;
      if (ended) return;
      setStart(newest);
      const pass = (kind) => (one) => listeners.forEach((listener) => listener[kind]?.(one));
      end = follow(newest, { onEvent: pass("onEvent"), onGap: pass("onGap"), onStatus: setSite, onLive: setLive });
    });
    return () => {
      ended = true;
      end();
    };
  }, []);
  useEffect(() => {
    document.title = `${t(`page.${page.name}`)} · Rollcall`;
  });
  const shared = { me, site, listeners, may: (role) => ORDER.indexOf(me.role) >= ORDER.indexOf(role) };
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.querySelector("main").focus(); }}>${t("skip")}</a>
    <nav aria-label=${t("nav")}>
      <span class="brand"><img src="static/icon.svg" alt="" width="28" height="28" /><span translate=${false}>Rollcall</span></span>
      <ul>${pages.filter((one) => !one.under).map(
        (one) => html`<li><a href="#/${one.name}" aria-current=${one.name === (page.under ?? page.name) ? "page" : undefined}>
          <svg viewBox="0 0 24 24" aria-hidden="true"><path d=${one.icon} /></svg>${t(`page.${one.name}`)}</a></li>`,
      )}</ul>
      <span class="who"><span translate=${false}>${me.label}</span><small>${t(`role.${me.role}`)}</small></span>
      <button type="button" class="leave" onClick=${onLeave}>${t("leave")}</button>
    </nav>
    <main id="main" tabindex="-1">
      ${!live && html`<p class="lost" role="status">${t("lost")}</p>`}
      ${page.name === "live" && html`<${Live} ...${shared} />`}
      ${page.name === "events" && start !== null && html`<${Events} ...${shared} />`}
      ${page.name === "people" &&
      (where[1] ? html`<${PersonPage} key=${where[1]} id=${where[1]} ...${shared} />` : html`<${People} ...${shared} />`)}
      ${page.name === "review" && html`<${Review} ...${shared} />`}
      ${page.name === "enrol" && html`<${Enrol} key=${where[1]} id=${where[1]} ...${shared} />`}
      ${page.name === "cameras" && html`<${Cameras} ...${shared} />`}
      ${page.name === "settings" && html`<${Settings} ...${shared} />`}
      ${page.name === "more" && html`<${More} pages=${pages.filter((one) => one.under === "more")} onLanguage=${onLanguage} onLeave=${onLeave} ...${shared} />`}
      ${page.name === "calibrate" && html`<${Calibrate} ...${shared} />`}
      ${page.name === "about" && html`<${About} ...${shared} />`}
    </main>`;
}

function App({ entering }) {
  const [state, setState] = useState({ me: null, fault: "", asked: false });
  // `refused`: the text if this way in was refused.
  const enter = async (asked, refused) => {
    try {
      setState({ me: await asked, asked: true });
    } catch (error) {
      const fault = error.status === 401 ? "" : error.status === 403 ? refused : whyNot(error);
      setState({ me: null, fault, asked: true });
    }
  };
  const onLanguage = (name) => attempt(async () => {
    await choose(name);
    setState((known) => ({ ...known })); // draws everything anew
  });
  useEffect(() => void enter(entering, t("entry.used")), []);
  const leave = () => attempt(async () => {
    await ask("session", "DELETE");
    location.reload();
  });
  return html`
    ${state.me && html`<${Shell} me=${state.me} onLeave=${leave} onLanguage=${onLanguage} />`}
    ${!state.me && state.asked && html`<${Entry} fault=${state.fault} onSignIn=${(given) => enter(ask("session", "POST", given), t("entry.wrong"))} />`}
    <${Notices} />`;
}

// The code of a link is a secret: out of the address line and the history before anything else.
const code = location.hash.startsWith("#/") ? "" : location.hash.slice(1);
if (code) history.replaceState(null, "", new URL(".", document.baseURI));
const entering = code ? ask("session", "POST", { code }) : ask("me");
entering.catch(() => {}); // told by the page, once there are texts for it
await loadTexts();
document.body.replaceChildren();
render(html`<${App} entering=${entering} />`, document.body);
