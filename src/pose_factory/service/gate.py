"""Who may come in: decided by the head of a request alone, before any of its body is taken in.

With a token, whoever has it. Without one, whoever reaches the port, but for pages of other sites in a browser that
does: a browser says where a page is from (Origin, Sec-Fetch-Site), and by which name it was reached (Host). The latter
keeps out pages that have their own name resolved to this machine (DNS rebinding).
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from pose_factory.service.settings import Settings

PAGE = Path(__file__).parent / "page"
OPEN = {"/", "/health", "/openapi.json", *(f"/{path.name}" for path in PAGE.iterdir())}
"""Paths that need no token: they tell nothing, and the page has to ask for it."""
SAFE = ("GET", "HEAD")
"""Methods that change nothing."""
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s,:\[\]]+))(?::[0-9]*)?")
"""A Host header in small letters: an IPv6 address, or a name or IPv4 address, and perhaps a port."""


class Refused(Exception):
    """A request that the application does not get to see, with the status, the sentence and the headers of the
    answer."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


def check(settings: Settings, local: bool, method: str, path: str, headers: Mapping[str, str]) -> None:
    """Raises Refused where the request may not come in. `headers` have names as in AUTHORIZATION and SEC_FETCH_SITE;
    `local` is whether the service listens on loopback."""
    if settings.token is not None:
        if path not in OPEN and not _has_token(settings.token, headers.get("AUTHORIZATION", "")):
            raise Refused(
                401,
                "This service asks for a token: send the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )
        return
    host = headers.get("HOST", "").lower()
    if local and host and not _is_local(host, settings.host):
        raise Refused(403, "This service is for this machine alone: ask for localhost, or set POSE_SERVICE_TOKEN.")
    origin = headers.get("ORIGIN")
    foreign = origin is not None and origin.lower().partition("://")[2] != host
    if foreign or (method not in SAFE and headers.get("SEC_FETCH_SITE") in ("cross-site", "same-site")):
        raise Refused(403, "Pages of other sites may not use this service, unless POSE_SERVICE_TOKEN is set.")


def _has_token(token: str, authorization: str) -> bool:
    kind, _, given = authorization.partition(" ")
    # as bytes: compare_digest takes no other letters than ASCII's in text
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _is_local(host: str, own: str) -> bool:
    """Whether a Host header names this machine: as localhost, by a loopback address, or as the setting does."""
    match = HOST.fullmatch(host)
    name = match and (match[1] or match[2])
    if name in ("localhost", own.lower()):
        return True
    try:
        return ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False
