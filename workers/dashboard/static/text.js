// The texts of the pages. They come from a catalogue, lang/*.json, with {names} for what is filled in.

let texts = {};
let isPseudo = false;

/** Load the catalogue. With ?lang=pseudo every text is marked, so that one that is written in the code is seen. */
export async function loadTexts() {
  isPseudo = new URLSearchParams(location.search).get("lang") === "pseudo";
  texts = await (await fetch(new URL("lang/en.json", import.meta.url))).json();
}

export function t(key, values = {}) {
  const text = (texts[key] ?? key).replace(/{(\w+)}/g, (_, name) => values[name] ?? "");
  return isPseudo ? `⟦${text}⟧` : text;
}

/** One of two texts, by the rules of the language: `key.one` or `key.other`. */
export const plural = (key, count, values = {}) =>
  t(`${key}.${new Intl.PluralRules("en").select(count)}`, { count: number(count), ...values });
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(undefined, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
export const cosine = (value) => (value == null ? "–" : number(value, 2));
export const clock = (time) => new Date(time).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const day = (time) => new Date(time).toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long" });
export const date = (time) => new Date(time).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
