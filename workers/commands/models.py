"""`models`: what is installed; `install` puts a pack there; `use` moves the gallery to another model in one step."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from shared.errors import EXIT_DONE, ConfigurationError, RefusedError
from shared.settings import Settings, find_config, load_settings, parse_settings
from shared.site_access import Site, SiteAccess
from shared.store_opening import make_private_folder
from shared.supervisor_pid import ask_to_reload
from workers.engines import open_engine
from workers.gallery_model import model_name, stored_photo
from workers.model_packs import InstalledPack, ensure_pack, install, installed_packs
from workers.output import say, say_json, warn
from workers.photo_pool import embed_photos
from workers.progress import progress_bar

_STAGED_AT_ONCE = 512


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(find_config(arguments.config, arguments.beside))
    if arguments.action == "install":
        return _install(arguments, settings)
    if arguments.action == "use":
        return _use(arguments, settings)
    packs = installed_packs(settings.models_dir)
    in_use = f"{settings.recognition.engine}/{settings.model}"
    if arguments.json:
        say_json({"models": [{**_document(pack), "in_use": f"{pack.engine}/{pack.name}" == in_use} for pack in packs]})
        return EXIT_DONE
    for pack in packs:
        mark = "*" if f"{pack.engine}/{pack.name}" == in_use else " "
        say(
            f"{mark} {pack.engine}/{pack.name}  {pack.fault or pack.fingerprint[:16]}  {pack.size_bytes / 1e6:.1f} MB  {pack.licence}"
        )
    if not packs:
        say(f"no models in {settings.models_dir}; type: python supervisor.py models install buffalo_l")
    return EXIT_DONE


def _document(pack: InstalledPack) -> dict[str, Any]:
    return {
        "name": pack.name,
        "engine": pack.engine,
        "fingerprint": pack.fingerprint,
        "dim": pack.dim,
        "licence": pack.licence,
        "size_bytes": pack.size_bytes,
        "path": str(pack.path),
        "fault": pack.fault,
    }


def _install(arguments: argparse.Namespace, settings: Settings) -> int:
    make_private_folder(settings.data_dir)
    with progress_bar("fetching", 1) as progress:
        pack = install(arguments.source, settings.models_dir, lambda done, total: progress(done, total or done))
    if arguments.json:
        say_json({"installed": _document(pack)})
    else:
        say(f"installed {pack.engine}/{pack.name}: {pack.fingerprint}\n{pack.licence}")
    return EXIT_DONE


def _use(arguments: argparse.Namespace, settings: Settings) -> int:
    """Embed every stored photo anew beside the active embeddings, then switch gallery, cameras and site.toml."""
    fresh = _with_model(settings, arguments.name)
    ensure_pack(fresh)
    engine = open_engine(fresh, det_size=fresh.recognition.det_size, threads=os.cpu_count() or 1)
    with SiteAccess(settings, warn, create=True) as site:
        if site.call("info")["fingerprint"] != engine.fingerprint:
            missing = _stage_everything(site, settings, fresh, engine)
            if missing and not arguments.leave_out:
                raise RefusedError(
                    "some references have no photo that the new model can use",
                    where=settings.model,
                    got=f"{len(missing)}: " + "; ".join(missing[:10]),
                    remedy="put their photos back, forget them, or set them aside with --leave-out",
                )
            answer = site.call("switch_model", model=model_name(engine), fingerprint=engine.fingerprint, dim=engine.dim)
        else:
            answer = {"references": site.call("count")["count"], "left_out": 0}
        _write_model(settings, fresh)
        live = site.live
    if live:
        ask_to_reload(settings.run_dir)
    if arguments.json:
        say_json({"model": model_name(engine), "references": answer["references"], "left_out": answer["left_out"]})
    else:
        say(
            f"the gallery is of {model_name(engine)} now: {answer['references']} references, {answer['left_out']} set aside"
        )
    return EXIT_DONE


def _with_model(settings: Settings, name: str) -> Settings:
    """The same site with another engine or model."""
    engine, model = ("dlib", None) if name == "dlib" else ("insightface", name.removeprefix("insightface/"))
    document = settings.to_json()
    document["settings"]["recognition"] |= {"engine": engine, "model": model}
    return Settings.from_json(document)


def _stage_everything(site: Site, settings: Settings, fresh: Settings, engine: Any) -> list[str]:
    """Embed the stored photos with `engine` into the side table; what can't be embedded, one line each."""
    by_photo: dict[Path, list[int]] = {}
    missing = []
    for reference in site.call("references")["references"]:
        photo = stored_photo(reference, settings)
        if photo is None:
            missing.append(f"{reference['person']} {reference['image_path'] or '(saved without a photo)'}")
        else:
            by_photo.setdefault(photo, []).append(reference["id"])
    ids: list[int] = []
    vectors: list[Any] = []

    def stage() -> None:
        if ids:
            site.call("stage", np.stack(vectors).astype("<f4").tobytes(), ids=ids, fingerprint=engine.fingerprint)
            ids.clear()
            vectors.clear()

    with progress_bar("embedding anew", len(by_photo)) as progress:
        for done, result in enumerate(embed_photos(fresh, engine, by_photo), 1):
            if result.embedding is None:
                missing.append(f"{result.photo.name}: {result.reason}")
            else:
                for row_id in by_photo[result.photo]:
                    ids.append(row_id)
                    vectors.append(result.embedding)
            if len(ids) >= _STAGED_AT_ONCE:
                stage()
            progress(done, len(by_photo))
    stage()
    return missing


def _write_model(settings: Settings, fresh: Settings) -> None:
    """Write engine and model into site.toml, its comments kept, in one step."""
    if settings.path is None:
        return
    document = tomlkit.parse(settings.path.read_text(encoding="utf-8"))
    section: Any = document.setdefault("recognition", tomlkit.table())
    section["engine"] = fresh.recognition.engine
    if fresh.recognition.model is None:
        section.pop("model", None)
    else:
        section["model"] = fresh.recognition.model
    text = tomlkit.dumps(document)
    parse_settings(dict(tomlkit.parse(text).unwrap()), settings.path)
    temporary = settings.path.with_name(f".{settings.path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(settings.path.stat().st_mode & 0o777)
        temporary.replace(settings.path)
    except OSError as error:
        raise ConfigurationError(
            "the gallery was switched, but site.toml could not be written",
            where=str(settings.path),
            got=error.strerror or str(error),
            remedy=f'set [recognition] engine = "{fresh.recognition.engine}" and model = "{fresh.model}" in it by hand',
        ) from error
