"""The pages in other languages, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.site.test_pages import people_of, views_of
from tests.support.browser import Pages, Watched, browser, needs_browser
from tests.support.demo_site import demo_site
from tests.support.paths import needs_dlib
from tests.unit.test_texts import PLURAL_FORMS, catalogue

pytestmark = [needs_dlib, needs_browser]
# Every text that somebody reads or hears: of the page, of the descriptions of its parts, of empty fields. Not what is marked as no text of ours.
_SHOWN = """() => {
  const found = [];
  const isOurs = (one) => !one.closest('[translate=no], script, style');
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) if (isOurs(walker.currentNode.parentElement)) found.push(walker.currentNode.data);
  for (const name of ['aria-label', 'alt', 'placeholder', 'title'])
    for (const one of document.querySelectorAll(`[${name}]`)) if (isOurs(one)) found.push(one.getAttribute(name));
  return [...found, document.title];
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with demo_site(tmp_path_factory.mktemp("languages")) as web, browser() as opened:
        yield Pages(web, opened)


def unmarked(text: str, known: list[str]) -> str:
    """What is left of a text without its marked parts, which may be in each other, and without names and times."""
    while (shorter := re.sub(r"⟦[^⟦⟧]*⟧", "", text)) != text:
        text = shorter
    for one in known:
        text = text.replace(one, "")
    return re.sub(r"\b\d[\d:.]*(\s?[AP]M)?", "", text)


def test_every_text_is_in_the_catalogue(pages: Pages) -> None:
    """In the pseudo-locale all that is shown is marked, but names, numbers and what is no text: none is written in the code."""
    web = pages.web
    known = sorted([*people_of(web), *web.site.status()["cameras"], "Rollcall"], key=len, reverse=True)
    found = {}
    with pages.page() as watched:
        for name, (path, ready, pressed) in views_of(web).items():
            watched.open(path, ready, pressed, "?lang=pseudo")
            texts = [str(one) for one in watched.page.evaluate(_SHOWN)]
            assert any("⟦" in one for one in texts), name
            found[name] = {one for one in texts if re.search(r"[^\W\d_]", unmarked(one, known))}
        assert watched.said == []
    with pages.page(signed_in=False) as watched:
        watched.page.goto(f"{web.address}/?lang=pseudo")
        watched.page.wait_for_selector("form")
        found["entry"] = {
            one for one in watched.page.evaluate(_SHOWN) if re.search(r"[^\W\d_]", unmarked(str(one), known))
        }
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("query", ["", "?lang=pseudo"])
def test_longer_texts_have_room(pages: Pages, query: str) -> None:
    """German and the pseudo-locale on a phone: no page is wider than the screen, no text is cut off in the bar."""
    wide = []
    with pages.page("phone", language="de-DE") as watched:
        for name, (path, ready, pressed) in views_of(pages.web).items():
            watched.open(path, ready, pressed, query)
            assert watched.page.evaluate("document.documentElement.lang") == ("en" if query else "de")
            wide += [name] if watched.is_too_wide() else []
        if not query:
            cut = "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)"
            assert watched.page.eval_on_selector_all("nav a", cut) == []
        assert watched.said == []
    assert wide == []


def language_of(watched: Watched) -> tuple[str, str]:
    """The language that the page says it has, and the heading's text."""
    return watched.page.evaluate("document.documentElement.lang"), watched.page.inner_text("h1")


def test_the_language_is_the_browsers_until_one_is_chosen(pages: Pages) -> None:
    """Only its catalogue is loaded. The choice is remembered, also at the next visit, until it is taken back."""
    loaded: list[str] = []
    with pages.page(language="fr-CA") as watched:
        watched.page.on("request", lambda one: loaded.append(one.url.rpartition("/")[2]))
        watched.open("more", ".further select")
        assert language_of(watched) == ("fr", catalogue("fr")["page.more"])
        assert {one for one in loaded if one.endswith(".json")} == {"fr.json"}
        watched.page.locator(".further select").focus()
        watched.page.select_option(".further select", "es")
        watched.page.wait_for_selector(f"h1:text-is('{catalogue('es')['page.more']}')")
        assert watched.page.evaluate("document.activeElement.value") == "es", "the focus stays where it was"
        assert watched.page.title().startswith(catalogue("es")["page.more"])
        watched.open("events", ".row")
        assert language_of(watched) == ("es", catalogue("es")["page.events"])
        watched.open("more", ".further select")
        watched.page.select_option(".further select", "")
        watched.page.wait_for_selector(f"h1:text-is('{catalogue('fr')['page.more']}')")
        watched.open("more", ".further select")
        assert language_of(watched)[0] == "fr"
    with pages.page(language="ja-JP") as watched:
        watched.open("more", ".further select")
        assert language_of(watched) == ("en", "More"), "a language that there is not"


def test_numbers_dates_and_plurals_are_the_languages_own(pages: Pages) -> None:
    """By the browser's own rules; and it needs the plural forms that the catalogues have."""
    ask = """async () => {
      const text = await import('/static/text.js');
      await text.loadTexts();
      return [text.number(1234.5, 1), text.percent(0.123, 1), text.day('2026-01-31T12:00:00Z'), text.plural('people.photos', 1),
              text.plural('people.photos', 0), text.plural('people.photos', 1000000)];
    }"""
    seen = {}
    for language in ("en-GB", "de-DE", "fr-FR", "es-ES"):
        with pages.page(language=language) as watched:
            watched.open("more", ".further select")
            seen[language[:2]] = [re.sub(r"\s", " ", str(one)) for one in watched.page.evaluate(ask)]
            forms = watched.page.evaluate(
                "name => new Intl.PluralRules(name).resolvedOptions().pluralCategories", language
            )
            assert set(forms) == PLURAL_FORMS[language[:2]]
    with pages.page(language="en-GB") as watched:
        watched.open("more", ".further select")
        watched.page.select_option(".further select", "de")
        watched.page.wait_for_selector(f"h1:text-is('{catalogue('de')['page.more']}')")
        chosen = [re.sub(r"\s", " ", str(one)) for one in watched.page.evaluate(ask)]
    assert chosen == seen["de"], "by the language that was chosen"
    assert seen["en"][:3] == ["1,234.5", "12.3%", "Saturday 31 January"]
    assert seen["de"] == ["1.234,5", "12,3 %", "Samstag, 31. Januar", "1 Referenz", "0 Referenzen", "1.000.000 Referenzen"]  # fmt: skip
    assert seen["fr"][2:] == ["samedi 31 janvier", "1 référence", "0 référence", "1 000 000 de références"]
    assert seen["es"][3:] == ["1 referencia", "0 referencias", "1.000.000 de referencias"]


def test_what_the_site_refuses_is_told_in_the_pages_language(pages: Pages) -> None:
    """By the type of the problem and its values; in the site's own words for a type that nobody knows."""
    ask = """async ([type, values]) => {
      const { whyNot } = await import('/static/parts.js');
      return whyNot(Object.assign(new Error('in the words of the site'), { status: 429, type, values }));
    }"""
    with pages.page(language="de-DE") as watched:
        watched.open("more", ".further select")
        assert watched.page.evaluate(ask, ["too-often", {"seconds": 7}]) == catalogue("de")[
            "problem.too-often"
        ].replace("{seconds}", "7")
        assert watched.page.evaluate(ask, ["of-a-later-version", None]) == "in the words of the site"
    with pages.page(signed_in=False, language="de-DE") as watched:
        watched.page.goto(pages.web.address)
        watched.page.fill("input[name=name]", "nobody")
        watched.page.fill("input[name=password]", "not the right one")
        watched.page.click("button.main")
        watched.page.wait_for_selector(f"text={catalogue('de')['entry.wrong']}")
