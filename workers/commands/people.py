"""`people`: lists the enrolled people, renames or merges them, and undoes that; lists a person's references, sets one aside, and brings
it back; marks one as right. With --unknown: lists the strangers."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.errors import EXIT_DONE, UsageError
from shared.ipc.client import site_is_running
from shared.records import Person, Side, Stranger
from shared.service.access import SiteAccess
from shared.service.scored_references import BY_HAND, ScoredReference
from shared.settings.schema import Settings
from shared.store.erasure import reference_named
from workers.commands.context import Context
from workers.commands.output import counted, say, say_answer, say_json, warn

HELP = "who is enrolled; rename somebody, make two people one, take that back; set a reference aside, or say that it is right"
_SIDES = {Side.FRONT: "from the front", Side.LEFT: "turned left", Side.RIGHT: "turned right"}
# Exactly one of these is given with NAME.
_OF_ONE_PERSON = ("rename", "merge_into", "references", "set_aside", "restore", "right", "not_right")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="whom it is about")
    parser.add_argument("--rename", metavar="NEW", help="what NAME is called from now on")
    parser.add_argument("--merge-into", metavar="OTHER", help="NAME and OTHER are one person, called OTHER")
    parser.add_argument(
        "--references", action="store_true", help="NAME's references, and which of them stand out or are set aside"
    )
    parser.add_argument(
        "--set-aside", metavar="PHOTO", help="do not compare faces with this reference of NAME any more"
    )
    parser.add_argument("--reason", metavar="TEXT", help="why, with --set-aside; default: what --references remarks")
    parser.add_argument("--restore", metavar="PHOTO", help="use this reference of NAME again that is set aside")
    parser.add_argument(
        "--right", metavar="PHOTO", help="this reference of NAME is right, though it disagrees; do not list it any more"
    )
    parser.add_argument("--not-right", metavar="PHOTO", help="take --right back")
    parser.add_argument("--undo", action="store_true", help="take the last rename or merge back; for 30 days")
    parser.add_argument("--unknown", action="store_true", help="who was seen and is not enrolled")


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    _require_sense(arguments)
    if arguments.references:
        return _references(context, arguments.name)
    if arguments.name is not None or arguments.undo:
        return _change(context, arguments)
    if arguments.unknown:
        return _strangers(settings, as_json=context.as_json)
    people: list[Person] = []
    if settings.db_path.exists() or site_is_running(settings.run_dir):
        with SiteAccess(settings, warn, read_only_ok=True) as gallery:
            people = list(gallery.people())
    if context.as_json:
        say_json({"people": [vars(one) for one in people]})
        return EXIT_DONE
    for one in people:
        user_id = f"  ({one.user_id})" if one.user_id else ""
        aside = f" ({'all' if one.set_aside == one.references else one.set_aside} set aside)" if one.set_aside else ""
        say(f"{one.person}{user_id}  {counted(one.references, 'reference')}{aside}, since {one.enrolled_at}")
    if not people:
        say("nobody is enrolled; type: python supervisor.py enrol FOLDER")
    return EXIT_DONE


def _require_sense(arguments: argparse.Namespace) -> None:
    given = [name for name in (*_OF_ONE_PERSON, "undo", "unknown") if getattr(arguments, name) not in (None, False)]
    is_of_one = any(name in _OF_ONE_PERSON for name in given)
    if (
        len(given) > 1
        or is_of_one is not (arguments.name is not None)
        or (arguments.reason is not None and arguments.set_aside is None)
    ):
        raise UsageError(
            "these options can't be combined",
            where="people",
            expected="NAME --rename NEW, NAME --merge-into OTHER, NAME --references, NAME --set-aside PHOTO [--reason TEXT], "
            "NAME --restore PHOTO, NAME --right PHOTO, NAME --not-right PHOTO, --undo, --unknown, or none",
        )


def _references(context: Context, name: str) -> int:
    with SiteAccess(context.settings, warn, read_only_ok=True) as gallery:
        scored = gallery.scored_references(name, warn)
    if context.as_json:
        say_json({"person": name, "references": [_reference_document(one) for one in scored]})
        return EXIT_DONE
    for one in scored:
        reference = one.reference
        own = "no other of its own" if one.own is None else f"own {one.own:.3f}"
        other = "nobody else" if one.other is None else f"{one.other_person} {one.other:.3f}"
        aside = (
            f"SET ASIDE since {reference.set_aside_since}: {reference.set_aside_reason}"
            if reference.set_aside_since
            else None
        )
        right = f"said to be right since {reference.right_since}" if reference.right_since else None
        notes = "; ".join(note for note in (one.remark, right, aside) if note)
        photo = (reference.image_path or "no photo kept") + (f", {_SIDES[reference.side]}" if reference.side else "")
        say(f"{reference.id}  {photo}, since {reference.enrolled_at}: {own}, {other}{'  ' if notes else ''}{notes}")
    return EXIT_DONE


def _reference_document(one: ScoredReference) -> dict[str, Any]:
    """A reference as `people NAME --references --json` prints it; scores with four decimals."""
    reference = one.reference
    aside = {"since": reference.set_aside_since, "reason": reference.set_aside_reason}
    return {
        "id": reference.id,
        "photo": reference.image_path,
        "enrolled_at": reference.enrolled_at,
        "score": None if one.own is None else round(one.own, 4),
        "looks_like": one.other_person,
        "other_score": None if one.other is None else round(one.other, 4),
        "named_wrongly": one.named_wrongly,
        "remark": one.remark,
        "set_aside": aside if reference.set_aside_since else None,
        "right_since": reference.right_since,
        "side": reference.side,
    }


def _absolute_if_there(photo: str) -> str:
    """A PHOTO as it was typed; a file's whole path, since the site may run in another working folder."""
    return str(Path(photo).absolute()) if not photo.isdecimal() and Path(photo).exists() else photo


def _mark(context: Context, arguments: argparse.Namespace) -> int:
    right = arguments.right is not None
    photo = _absolute_if_there(arguments.right if right else arguments.not_right)
    with SiteAccess(context.settings, warn) as gallery:
        answer = gallery.mark_reference(arguments.name, photo, right=right)
    if say_answer(answer, as_json=context.as_json):
        return EXIT_DONE
    named = answer.photo or f"the reference {answer.id}"
    if right:
        say(f"{named} is right{' already' if answer.already else ''}: worklist and calibrate do not list it any more")
        words = shlex.join([answer.person, "--not-right", answer.photo or str(answer.id)])
        say(f"to take that back: python supervisor.py people {words}")
    else:
        said = "was not said to be right" if answer.already else "is no longer said to be right"
        say(f"{named} {said}: worklist and calibrate list it if it disagrees")
    return EXIT_DONE


def _set_aside_or_restore(context: Context, arguments: argparse.Namespace) -> int:
    settings, restores = context.settings, arguments.restore is not None
    photo = _absolute_if_there(arguments.restore if restores else arguments.set_aside)
    with SiteAccess(settings, warn) as gallery:
        if restores:
            answer = gallery.bring_back(arguments.name, photo)
        else:
            reason = arguments.reason
            if reason is None:
                reason = _reason(gallery.scored_references(arguments.name, warn), settings, photo)
            answer = gallery.set_aside(arguments.name, photo, reason)
    if say_answer(answer, as_json=context.as_json):
        return EXIT_DONE
    named = answer.photo or f"the reference {answer.id}"
    in_use = f"{counted(answer.in_use, 'reference')} of {answer.person} in use"
    if not restores:
        say(f"{named} is set aside{' already' if answer.already else ''}: {answer.reason}; {in_use}")
        words = shlex.join([answer.person, "--restore", answer.photo or str(answer.id)])
        say(f"to use it again: python supervisor.py people {words}")
    elif answer.already:
        say(f"{named} was not set aside; {in_use}")
    else:
        say(f"{named} is used again; it was set aside since {answer.since}: {answer.reason}; {in_use}")
    return EXIT_DONE


def _reason(scored: Sequence[ScoredReference], settings: Settings, photo: str) -> str:
    """The reason for setting a reference aside when none is given. A photo that names none of them is refused later."""
    named = reference_named(settings.data_dir, [one.reference for one in scored], photo)
    return next((one.reason for one in scored if one.reference is named), BY_HAND)


def _change(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.set_aside is not None or arguments.restore is not None:
        return _set_aside_or_restore(context, arguments)
    if arguments.right is not None or arguments.not_right is not None:
        return _mark(context, arguments)
    with SiteAccess(context.settings, warn) as gallery:
        if arguments.undo:
            answer = gallery.undo_people()
        elif arguments.rename is not None:
            answer = gallery.rename(arguments.name, arguments.rename)
        else:
            answer = gallery.merge(arguments.name, arguments.merge_into)
    if say_answer(answer, as_json=context.as_json):
        return EXIT_DONE
    once = f"; {answer.kept_once} that both had are kept once" if answer.kept_once else ""
    say(
        f"{answer.before} is {answer.person} now: {counted(answer.references, 'reference')}, {counted(answer.sightings, 'sighting')}{once}"
    )
    if not arguments.undo:
        say("to take it back, for 30 days: python supervisor.py people --undo")
    return EXIT_DONE


def _strangers(settings: Settings, *, as_json: bool) -> int:
    strangers: list[dict[str, Any]] = []
    if settings.db_path.exists() or site_is_running(settings.run_dir):
        with SiteAccess(settings, warn, read_only_ok=True) as gallery:
            strangers = [_document(one, settings) for one in gallery.strangers()]
    if as_json:
        say_json({"unknown": strangers})
        return EXIT_DONE
    for one in strangers:
        visits = counted(one["visits"], "visit")
        seen = f"{one['first_seen']} to {one['last_seen']}"
        say(f"{one['id']}  {visits}, {seen}, {', '.join(one['cameras'])}  {one['photo'] or ''}".rstrip())
    if not strangers:
        say("no strangers are kept" + ("" if settings.site.keep_unknowns_days else ": [site] keep_unknowns_days is 0"))
    return EXIT_DONE


def _document(stranger: Stranger, settings: Settings) -> dict[str, Any]:
    """A stranger as `people --unknown --json` prints it. `photo`: the path of the best picture, or None."""
    document = {name: value for name, value in vars(stranger).items() if name != "photos"}
    return {**document, "photo": str(settings.data_dir / stranger.photos[0]) if stranger.photos else None}
