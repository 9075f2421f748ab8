"""`models`: lists the installed models. `install` installs a pack; `compare` judges some on the site's own photos; `use` switches the gallery
to another model in one step."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from shared.errors import EXIT_DONE, ConfigurationError, RefusedError, RollcallError
from shared.files.private_folder import make_private_folder
from shared.process.machine import usable_cpus
from shared.progress import progress_bar
from shared.service.access import SiteAccess
from shared.settings.editing import replace_file, with_values
from shared.settings.engine_sharing import shares_engine
from shared.settings.schema import Settings
from shared.settings.text import read_text
from workers.commands.context import Context, common_options
from workers.commands.output import counted, say, say_json, warn
from workers.models.opening import open_engine
from workers.models.packs import InstalledPack, ensure_pack, install, installed_pack, installed_packs
from workers.photos.comparing import Compared, compare, photos_of
from workers.photos.switching import switch_model
from workers.recognition.devices import devices_here

_YES_NO = {True: "yes", False: "no", None: "not known"}
_TO_BEGIN_WITH = ("opencv", "auraface", "buffalo_l")
HELP = "what models are installed; install NAME|FOLDER|ZIP, compare NAME…, use NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    install = actions.add_parser(
        "install", help="fetch a pack, or take it from disk", parents=[common_options()], allow_abbrev=False
    )
    install.add_argument("source", metavar="NAME|FOLDER|ZIP")
    compare = actions.add_parser(
        "compare", help="which model suits your own stored photos", parents=[common_options()], allow_abbrev=False
    )
    compare.add_argument("names", metavar="NAME", nargs="+")
    use = actions.add_parser(
        "use", help="embed the stored photos anew and switch", parents=[common_options()], allow_abbrev=False
    )
    use.add_argument("name", metavar="NAME")
    use.add_argument(
        "--leave-out", action="store_true", help="switch although some references have no photo; they are set aside"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    if arguments.action == "install":
        return _install(context, arguments.source)
    if arguments.action == "compare":
        return _compare(context, arguments.names)
    if arguments.action == "use":
        return _use(context, arguments.name, leave_out=arguments.leave_out)
    if context.as_json:
        say_json(model_documents(settings))
        return EXIT_DONE
    packs = installed_packs(settings.models_dir)
    in_use = settings.model_label
    for pack in packs:
        mark = "*" if f"{pack.engine}/{pack.name}" == in_use else " "
        dim = f"{pack.dim} numbers" if pack.dim else "length not known"
        say(
            f"{mark} {pack.engine}/{pack.name}  {pack.fault or pack.fingerprint[:16]}  {dim}  {pack.size_bytes / 1e6:.1f} MB"
        )
        say(f"    {pack.licence}; commercial use: {_YES_NO[pack.commercial_use]}; threshold: {pack.measured}")
    if packs:
        say(f"models run on {_what_runs(settings)}")
    else:
        say(f"no models in {settings.models_dir}; type: python supervisor.py models install {'|'.join(_TO_BEGIN_WITH)}")
    return EXIT_DONE


def model_documents(settings: Settings) -> dict[str, Any]:
    """What `models --json` prints: the installed models, and what they run on."""
    packs = installed_packs(settings.models_dir)
    models = [{**_document(pack), "in_use": f"{pack.engine}/{pack.name}" == settings.model_label} for pack in packs]
    return {"models": models, "runs_on": _what_runs(settings)}


def _what_runs(settings: Settings) -> str:
    """What the models run on with these settings, and whether one process runs them for all cameras, in words."""
    where = "in one process for all cameras" if shares_engine(settings) else "in each camera"
    try:
        devices = devices_here(settings.recognition.device, settings.recognition.engine)
    except ConfigurationError as error:
        return f"nothing: {error.line()}"
    return f"{devices[0]}, {where}"


def _document(pack: InstalledPack) -> dict[str, Any]:
    return {
        "name": pack.name,
        "engine": pack.engine,
        "fingerprint": pack.fingerprint,
        "dim": pack.dim,
        "licence": pack.licence,
        "commercial_use": pack.commercial_use,
        "measured": pack.measured,
        "size_bytes": pack.size_bytes,
        "path": str(pack.path),
        "fault": pack.fault,
    }


def _install(context: Context, source: str) -> int:
    settings = context.settings
    make_private_folder(settings.data_dir)
    with progress_bar("fetching") as progress:
        pack = install(source, settings.models_dir, lambda done, total: progress(done, total or done))
    if context.as_json:
        say_json({"installed": _document(pack)})
    else:
        say(f"installed {pack.engine}/{pack.name}: {pack.fingerprint}")
        say(pack.licence)
    return EXIT_DONE


def _use(context: Context, name: str, *, leave_out: bool) -> int:
    """Embed every stored photo again beside the active embeddings; then switch the gallery, site.toml and the cameras."""
    settings = context.settings
    fresh = _with_model(settings, name)
    _require_thresholds_to_fit(settings, fresh)
    path, text = _new_site_toml(settings, fresh)
    ensure_pack(fresh)
    engine = open_engine(fresh.engine_choice, det_size=fresh.recognition.det_size, threads=usable_cpus())
    with SiteAccess(settings, warn, create=True) as gallery:
        answer = switch_model(gallery, settings, fresh, engine, leave_out=leave_out)
        _write(path, text, fresh)
        gallery.reload()
    if answer.warning:
        warn(answer.warning)
    if context.as_json:
        say_json({"model": engine.model_id.label, "references": answer.references, "left_out": answer.left_out})
    else:
        say(
            f"the gallery is of {engine.model_id.label} now: {counted(answer.references, 'reference')}, {answer.left_out} set aside"
        )
    return EXIT_DONE


def _compare(context: Context, names: list[str]) -> int:
    """Judge installed models on the stored photos. The gallery stays as it is."""
    settings = context.settings
    with SiteAccess(settings, warn) as gallery:
        photos = photos_of(gallery.references(), settings)
    found: list[Compared] = []
    for name in names:
        fresh = _with_model(settings, name)
        pack = installed_pack(fresh)
        engine = open_engine(fresh.engine_choice, det_size=fresh.recognition.det_size, threads=1)
        with progress_bar(name) as progress:
            found.append(compare(photos, fresh, pack, engine, progress))
    if context.as_json:
        say_json(
            {"strangers_named": settings.recognition.strangers_named, "compared": [one.to_json() for one in found]}
        )
        return EXIT_DONE
    say(
        f"{counted(len(photos), 'photo')} of your own; strangers who may be named: {settings.recognition.strangers_named:.2%}"
    )
    for one in found:
        say(
            f"{one.model:<24} named right {_share(one.named_right)}, strangers named {_share(one.strangers_named)} "
            f"(at most {_share(one.strangers_at_most)}), threshold {one.threshold:.3f}, faces found {one.photos} of {one.of}, "
            f"{'-' if one.ms_a_face is None else f'{one.ms_a_face:.0f}'} ms a face, {one.size_bytes / 1e6:.1f} MB, "
            f"commercial use: {_YES_NO[one.commercial_use]}"
        )
    return EXIT_DONE


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _with_model(settings: Settings, name: str) -> Settings:
    """The site's settings, with another engine or model."""
    engine, model = ("dlib", None) if name == "dlib" else ("insightface", name.removeprefix("insightface/"))
    document = settings.to_json()
    document["settings"]["recognition"] |= {"engine": engine, "model": model}
    return Settings.from_json(document)


def _require_thresholds_to_fit(settings: Settings, fresh: Settings) -> None:
    """Raise RefusedError when another engine would get thresholds or margins that were set for the present one.

    Cosines of two engines can't be compared: a threshold for one may name every stranger with the other.
    """
    if settings.recognition.engine == fresh.recognition.engine:
        return
    sections = {
        "[recognition]": settings.recognition,
        **{f"[cameras.{name}]": one for name, one in settings.cameras.items()},
    }
    keys = ("threshold", "margin")
    found = [f"{title} {key}" for title, one in sections.items() for key in keys if getattr(one, key) is not None]
    if found:
        raise RefusedError(
            "thresholds and margins in site.toml were set for the other engine",
            where=str(settings.path),
            got=", ".join(found),
            expected="none, so that the model's own hold",
            remedy="remove them; set them anew once the model is switched, if need be",
        )


def _new_site_toml(settings: Settings, fresh: Settings) -> tuple[Path, str]:
    """The settings file's path and its new text: engine and model are changed, comments and everything else are kept."""
    if settings.path is None:
        raise ConfigurationError(
            "there is no site.toml to write the model into",
            where="models use",
            remedy="type: python supervisor.py init",
        )
    path = settings.path.resolve()  # if it is a link, change the file behind it
    values = {"engine": fresh.recognition.engine, "model": fresh.recognition.model}
    return path, with_values(read_text(path), "recognition", values, settings.path)


def _write(path: Path, text: str, fresh: Settings) -> None:
    """Put the new file in place in one step, with the old one's mode and owner."""
    try:
        replace_file(path, text)
    except RollcallError as error:
        raise ConfigurationError(
            "the gallery was switched, but site.toml could not be written",
            where=str(path),
            got=error.got or error.what,
            remedy=f'set [recognition] engine = "{fresh.recognition.engine}" and model = "{fresh.model}" in it by hand',
        ) from error
