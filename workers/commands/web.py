"""`web`: lets browsers, programs and people into the web part, and makes its certificate."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from shared.errors import EXIT_DONE, ConfigurationError, RefusedError, UsageError
from shared.ipc.client import site_is_running
from shared.ipc.requests.accesses import Accesses, AddAccess, RevokeAccess
from shared.records import Access, AccessKind, Role
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from workers.commands.context import Context, common_options
from workers.commands.output import say, say_json, warn
from workers.serving.addresses import link_of
from workers.serving.libraries import require_libraries
from workers.serving.secrets import hash_password, new_secret, why_no_password

HELP = "who may use the pages and the API: sign in, tokens, passwords, a certificate"

_LINK_LASTS_S = 600.0
_DAY_S = 86400.0
_ROLES = [str(role) for role in Role]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    words = parser.add_subparsers(dest="word", metavar="WORD", required=True)
    login = _word(words, "login", "print a link that signs one browser in, valid for ten minutes")
    login.add_argument(
        "--name", default=_own_name(), help="who will use it, as it is shown later; default: %(default)s"
    )
    _add_rights(login, Role.ADMIN, 7, "days that the browser stays signed in")
    token = _word(words, "token", "make a token for a program, and print it")
    token.add_argument("label", metavar="LABEL", help="what it is for")
    _add_rights(token, Role.VIEWER, 365, "days that it is valid")
    password = _word(words, "password", "let a person sign in with a name and a password, which is asked for")
    password.add_argument("name", metavar="NAME")
    _add_rights(password, Role.VIEWER, 7, "days that a browser stays signed in")
    access = _word(words, "access", "who may come in")
    access.add_argument("--revoke", metavar="ID", help="take this one back, and the sessions that came of it")
    certificate = _word(words, "certificate", "make a certificate that this machine signs itself, and its key")
    certificate.add_argument("--days", type=int, default=825, help="days that it is valid; default: %(default)s")


def _own_name() -> str:
    """The name of the user who types; behind sudo, of the one who called it."""
    if (caller := os.environ.get("SUDO_USER")) is not None:
        return caller
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without an entry in the system's list, as in a container
        return f"user {os.getuid()}"


def _word(words: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str) -> argparse.ArgumentParser:
    return words.add_parser(name, help=text, description=text, parents=[common_options()], allow_abbrev=False)


def _add_rights(parser: argparse.ArgumentParser, role: Role, days: int, text: str) -> None:
    parser.add_argument("--role", choices=_ROLES, default=str(role), help="default: %(default)s")
    parser.add_argument("--days", type=float, default=days, help=f"{text}; default: %(default)s")
    parser.add_argument("--camera", action="append", metavar="NAME", help="only this camera; can be repeated")


def run(context: Context, arguments: argparse.Namespace) -> int:
    return {
        "login": _login,
        "token": _token,
        "password": _password,
        "access": _access,
        "certificate": _certificate,
    }[arguments.word](context, arguments)


def _login(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    if not settings.web.enabled:
        raise ConfigurationError(
            "the web part is not enabled",
            where=f"{settings.path or 'site.toml'}: [web] enabled",
            got="false",
            expected="true",
            remedy="add enabled = true below [web], and restart the site",
        )
    require_libraries("the web part is asked for", "web")
    if not site_is_running(settings.run_dir):
        raise RefusedError("no site runs", where=str(settings.data_dir), remedy="start it: python supervisor.py")
    lasts_s = arguments.days * _DAY_S
    address = make_link(settings, arguments.name, Role(arguments.role), lasts_s, _cameras(context, arguments))
    if context.as_json:
        say_json({"url": address, "role": arguments.role, "valid_s": _LINK_LASTS_S})
        return EXIT_DONE
    if sys.stdout.isatty():
        _show_code(address)
    say(
        f"valid once, for ten minutes; signs in as {arguments.role} for {arguments.days:g} {'day' if arguments.days == 1 else 'days'}:"
    )
    say(address)
    return EXIT_DONE


def make_link(settings: Settings, name: str, role: Role, session_s: float, cameras: list[str] | None = None) -> str:
    """The address that signs one browser in, once, within ten minutes. `name`: who will use it; `session_s`: how long the browser stays
    signed in."""
    secret = new_secret()
    add = AddAccess(secret.id, AccessKind.LINK, role, name, secret.hash, _LINK_LASTS_S, cameras, session_s=session_s)
    _add(settings, add)
    return link_of(settings.web, secret.shown)


def _show_code(address: str) -> None:
    import segno

    segno.make(address, error="l").terminal(compact=True)


def _token(context: Context, arguments: argparse.Namespace) -> int:
    secret = new_secret()
    add = AddAccess(
        secret.id, AccessKind.TOKEN, Role(arguments.role), arguments.label, secret.hash, arguments.days * _DAY_S,
        _cameras(context, arguments),
    )  # fmt: skip
    made = _add(context.settings, add)
    if context.as_json:
        say_json({"token": secret.shown, "access": vars(made)})
        return EXIT_DONE
    say(f"{made.label}: {made.role} until {(made.expires_at or '')[:10]}; shown this once:")
    say(secret.shown)
    return EXIT_DONE


def _password(context: Context, arguments: argparse.Namespace) -> int:
    # Over a pipe it is the first line; it is never in the arguments, which other users of the machine can read.
    given = getpass.getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if (expected := why_no_password(given)) is not None:
        raise UsageError("not a password", where="web password", got=f"{len(given)} characters", expected=expected)
    if sys.stdin.isatty() and getpass.getpass("again: ") != given:
        raise UsageError("the two differ", where="web password", remedy="type it again")
    add = AddAccess(
        arguments.name, AccessKind.PASSWORD, Role(arguments.role), arguments.name, hash_password(given), None,
        _cameras(context, arguments), session_s=arguments.days * _DAY_S,
    )  # fmt: skip
    made = _add(context.settings, add)
    if context.as_json:
        say_json({"access": vars(made)})
    else:
        say(f"{made.id} can sign in as {made.role}")
    return EXIT_DONE


def _cameras(context: Context, arguments: argparse.Namespace) -> list[str] | None:
    """The cameras of --camera; None: all."""
    given: list[str] | None = arguments.camera
    unknown = sorted(set(given or ()) - set(context.settings.cameras))
    if unknown:
        raise UsageError(
            "no such camera", where="--camera", got=unknown[0], expected=", ".join(context.settings.cameras)
        )
    return given


def _add(settings: Settings, access: AddAccess) -> Access:
    with SiteAccess(settings, warn) as gallery:
        return gallery.ask(access).access


def _access(context: Context, arguments: argparse.Namespace) -> int:
    with SiteAccess(context.settings, warn) as gallery:
        if arguments.revoke is not None:
            count = gallery.ask(RevokeAccess(arguments.revoke)).count
            if not count:
                raise RefusedError("no such access", where=arguments.revoke, remedy="see: supervisor.py web access")
            if context.as_json:
                say_json({"revoked": count})
            else:
                say(f"{arguments.revoke}: taken back, with {count - 1} sessions that came of it")
            return EXIT_DONE
        found = gallery.ask(Accesses()).accesses
    if context.as_json:
        say_json({"accesses": [vars(one) for one in found]})
        return EXIT_DONE
    for one in found:
        cameras = "" if one.cameras is None else f", only {', '.join(one.cameras)}"
        until = "" if one.expires_at is None else f", until {one.expires_at[:10]}"
        used = "never used" if one.last_used_at is None else f"last used {one.last_used_at[:16]}Z"
        say(f"{one.id}  {one.kind}  {one.role}  {one.label}{until}, {used}{cameras}")
    if not found:
        say("nobody; type: python supervisor.py web login")
    return EXIT_DONE


def _certificate(context: Context, arguments: argparse.Namespace) -> int:
    from workers.serving.certificate import make_certificate

    settings = context.settings
    names = [*settings.web.hosts, *([] if settings.web.unix_path else [settings.web.host])]
    made = make_certificate(settings.data_dir / "web", names, arguments.days)
    if context.as_json:
        say_json({"certificate": str(made.certificate), "key": str(made.key), "sha256": made.fingerprint})
        return EXIT_DONE
    say("add to site.toml, below [web], and restart the site:")
    say(f'certificate = "{_shown(made.certificate, settings.base)}"')
    say(f'key = "{_shown(made.key, settings.base)}"')
    say("browsers warn once, since nobody vouches for it; compare this fingerprint with the one that they show:")
    say(f"SHA-256 {made.fingerprint}")
    return EXIT_DONE


def _shown(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
