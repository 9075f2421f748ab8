"""The addresses under which browsers reach the pages."""

from __future__ import annotations

from shared.settings.schema import WebSettings


def address_of(web: WebSettings) -> str:
    """The address of the pages, as a browser takes it."""
    if web.unix_path is not None:
        return f"https://{web.hosts[0] if web.hosts else 'localhost'}{web.base_path}"
    name = web.hosts[0] if web.hosts else "localhost" if web.host in ("0.0.0.0", "::") else web.host  # noqa: S104  # all addresses
    shown = f"[{name}]" if ":" in name else name
    if web.proxies and web.hosts:  # browsers reach the proxy
        return f"https://{shown}{web.base_path}"
    return f"{'https' if web.certificate else 'http'}://{shown}:{web.port}{web.base_path}"


def link_of(web: WebSettings, secret: str) -> str:
    """The address that signs a browser in. What follows the # stays in the browser: no server and no log gets it."""
    return f"{address_of(web)}/login#{secret}"
