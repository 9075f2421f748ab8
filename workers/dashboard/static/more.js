// What is not in the bar: further pages, the language, and who is signed in.

import { html } from "./vendor/preact-htm.js";
import { LANGUAGES, choice, t } from "./text.js";

export const More = ({ pages, me, onLanguage, onLeave }) => html`
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
