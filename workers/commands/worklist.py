"""`worklist`: what is worth a look in the gallery: people who look like one, photos that disagree, people with one picture only, people who
are shown from one side only."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from shared.errors import EXIT_DONE, RefusedError
from shared.progress import progress_bar
from shared.service.access import SiteAccess
from workers.calibration.calibration import MAX_PROBES
from workers.calibration.gallery_copy import References, load_references
from workers.calibration.worklist import Worklist, worklist
from workers.commands.context import Context
from workers.commands.output import counted, say, say_json, warn
from workers.models.opening import own_point

HELP = "what is worth a look: people who look like one, photos that disagree, people with one picture, or of one side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="compare every reference, however many")


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    model = own_point(settings.engine_choice)
    with SiteAccess(settings, warn) as gallery:
        info = gallery.info()
        if info.fingerprint not in (None, model.fingerprint):
            raise RefusedError(
                "the gallery was embedded with another model",
                where=str(settings.db_path),
                got=info.model,
                remedy="see: supervisor.py models",
            )
        references, one_sided = load_references(gallery, warn), gallery.one_sided()
    # The files are not locked meanwhile: comparing a large gallery takes a minute, and a site may want to start.
    with progress_bar("comparing") as progress:
        found = worklist(references, model, None if arguments.all else MAX_PROBES, progress, one_sided)
    if context.as_json:
        say_json({"change_number": info.change_number, **asdict(found)})
    else:
        _say(found, references)
    return EXIT_DONE


def _say(found: Worklist, references: References) -> None:
    names = {
        row_id: references.names[person]
        for row_id, person in zip(references.row_ids.tolist(), references.persons.tolist(), strict=True)
    }
    if found.compared < found.references:
        say(f"only a sample of {found.compared} of {found.references} references was compared; --all compares all")
    for pair in found.pairs:
        one, other = (names[one] for one in pair.references)
        say(f"{pair.score:.2f}  {one} and {other}: one person under two names?")
    for odd in found.odd:
        like = "" if odd.other is None else f"; {odd.other_score:.2f} with {names[odd.other]}"
        say(f"{odd.score:.2f}  {names[odd.reference]}, reference {odd.reference}: unlike the others{like}")
    if found.single:
        shown = ", ".join(names[one.reference] for one in found.single)
        further = ", …" if found.single_found > len(found.single) else ""
        say(f"with one picture only, {counted(found.single_found, 'person', 'people')}: {shown}{further}")
    if found.one_sided:
        shown = ", ".join(f"{names[one.reference]} ({one.side})" for one in found.one_sided if one.reference in names)
        further = ", …" if found.one_sided_found > len(found.one_sided) else ""
        say(f"turned to one side in all photos, {counted(found.one_sided_found, 'person', 'people')}: {shown}{further}")
    if not (found.pairs or found.odd or found.single or found.one_sided):
        say("nothing is worth a look")
