// What is not in the bar: further pages, the language, and who is signed in.

import { html } from "./vendor/preact-htm.js";
import { LANGUAGES, choice, t } from "./text.js";

export const More = ({ me, onLanguage, onLeave }) => html`
  <header class="top"><h1>${t("page.more")}</h1></header>
  <div class="further">
    <section aria-labelledby="language"><h2 id="language">${t("more.language")}</h2>
      <label class="short">${t("more.pages")}<select value=${choice()} onChange=${(event) => onLanguage(event.target.value)}>
        <option value="">${t("more.automatic")}</option>
        ${Object.entries(LANGUAGES).map(([name, own]) => html`<option value=${name} lang=${name} translate=${false}>${own}</option>`)}
      </select></label></section>
    <section aria-labelledby="me"><h2 id="me">${t("more.me")}</h2>
      <p><b translate=${false}>${me.label}</b> · ${t(`role.${me.role}`)}</p>
      <p class="actions"><button type="button" onClick=${onLeave}>${t("leave")}</button></p></section>
  </div>`;
