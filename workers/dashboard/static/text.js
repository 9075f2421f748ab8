// The texts of the pages, in the language of whoever looks. They come from a catalogue, lang/*.json, with {names} for what is filled in.

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español" };
const CHOSEN = "rollcall.language";

let texts = {};
let language = "en";
let locale = "en"; // as the browser has it: Austria's German, Britain's English
let isPseudo = false;

const known = (tag) => (tag?.split("-")[0] in LANGUAGES ? tag.split("-")[0] : null);

function chosen() {
  try {
    return known(localStorage.getItem(CHOSEN));
  } catch {
    return null; // this browser keeps nothing for pages
  }
}

/** The language that was chosen on this browser; "" if it follows the browser's own. */
export const choice = () => chosen() ?? "";

/** Remember the language; "" follows the browser's own again. */
export function choose(name) {
  try {
    if (name) localStorage.setItem(CHOSEN, name);
    else localStorage.removeItem(CHOSEN);
  } catch {
    // it is then forgotten with this page
  }
  return loadTexts(name);
}

/** Load the texts of `?lang=`, of the choice, or of the browser's first language that there is. `?lang=pseudo` marks and lengthens each text: so
 * one that is written in the code is seen, and one that has no room. */
export async function loadTexts(name = "") {
  const asked = new URLSearchParams(location.search).get("lang");
  isPseudo = asked === "pseudo";
  language = isPseudo ? "en" : known(name) ?? known(asked) ?? chosen() ?? navigator.languages.map(known).find(Boolean) ?? "en";
  locale = navigator.languages.find((tag) => known(tag) === language) ?? language;
  texts = await (await fetch(new URL(`lang/${language}.json`, import.meta.url))).json();
  document.documentElement.lang = language;
}

const pseudo = (text) => `⟦${text.split(/({\w+})/).map((part, place) => (place % 2 ? part : part.replace(/[aeiou]/gi, "$&$&\u0301"))).join("")}⟧`;
const marked = (text) => (isPseudo ? `⟦${text}⟧` : text);

export const isText = (key) => key in texts;

export function t(key, values = {}) {
  const text = texts[key] ?? key;
  return (isPseudo ? pseudo(text) : text).replace(/{(\w+)}/g, (_, name) => values[name] ?? "");
}

/** One of the texts `key.one`, `key.other` and so on, by the rules of the language. */
export const plural = (key, count, values = {}) =>
  t(`${key}.${new Intl.PluralRules(language).select(count)}`, { ...values, count: number(count) });
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(locale, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
/** A share, 0 to 1, as per cent. */
export const percent = (share, digits = 0) =>
  new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: digits, minimumFractionDigits: digits }).format(share);
const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
/** A size in the unit that fits it. */
export function bytes(value) {
  const step = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, value)) / 3));
  const digits = step ? 1 : 0;
  return marked(new Intl.NumberFormat(locale, { style: "unit", unit: UNITS[step], maximumFractionDigits: digits }).format(value / 1000 ** step));
}
/** How long ago, in the largest unit that fits. */
export function ago(time) {
  const seconds = (Date.now() - new Date(time)) / 1000;
  const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].find(([, one]) => seconds >= one) ?? ["second", 1];
  return marked(new Intl.RelativeTimeFormat(locale, { numeric: "auto" }).format(-Math.floor(seconds / size), unit));
}
/** A number in so many digits, however small it is. */
export const rounded = (value, digits = 2) => new Intl.NumberFormat(locale, { maximumSignificantDigits: digits }).format(value);
export const cosine = (value) => (value == null ? "–" : number(value, 2));
export const clock = (time) => new Date(time).toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const day = (time) => marked(new Date(time).toLocaleDateString(locale, { weekday: "long", day: "numeric", month: "long" }));
export const date = (time) => marked(new Date(time).toLocaleDateString(locale, { day: "numeric", month: "short", year: "numeric" }));
/** A list in words: one, two and three. */
export const listed = (words) => new Intl.ListFormat(locale, { type: "conjunction" }).format(words);
