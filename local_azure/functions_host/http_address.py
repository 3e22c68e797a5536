"""Paths and queries of requests, decoded by the rules of Kestrel and ASP.NET Core."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_NOT_IN_A_PATH = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]+")
_SLASH = 0x2F


class BadPath(ValueError):
    """A path that is refused before anything looks at it."""


def decode_path(raw: str) -> str:
    """The path that is routed. Raises BadPath.

    It is decoded once, apart from slashes and what is no UTF-8. Then `.` and `..` are resolved.
    """
    path = _decode(raw, keep=lambda byte: byte == _SLASH)
    if "\0" in path:
        raise BadPath("a NUL")
    if not re.search(r"/\.\.?(?:/|$)", path):
        return path
    first, *parts = path.split("/")
    segments: list[str] = []
    for part in parts:
        if part == "..":
            segments = segments[:-1]
        elif part != ".":
            segments.append(part)
    if parts[-1] in (".", ".."):
        segments.append("")
    return "/".join((first, *segments))


def encode_path(path: str) -> str:
    """A decoded path as it stands in the URL that the app sees; escapes that are left stay."""
    return _NOT_IN_A_PATH.sub(lambda found: quote(found[0], safe=""), path)


def read_query(text: str) -> dict[str, str]:
    """The parameters that have a value. Those of one name, in any case, are joined by commas.

    The last spelling of a name counts.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for pair in filter(None, text.split("&")):
        name, _, value = (_decode(part.replace("+", " ")) for part in pair.partition("="))
        _, values = found.get(name.lower(), (name, []))
        found[name.lower()] = name, [*values, value] if value else values
    return {name: ",".join(values) for name, values in found.values() if values}


def _decode(text: str, *, keep: Callable[[int], bool] = lambda _: False) -> str:
    """Percent-encoded UTF-8, decoded where it is valid; bytes to keep stay encoded as they are."""
    return _ESCAPES.sub(lambda found: _decode_run(found[0], keep), text)


def _decode_run(escapes: str, keep: Callable[[int], bool]) -> str:
    data = bytes.fromhex(escapes.replace("%", ""))
    decoded: list[str] = []
    at = 0
    while at < len(data):
        character, length = _character(data[at : at + 4])
        kept = character is None or (length == 1 and keep(data[at]))
        decoded.append(escapes[3 * at : 3 * (at + length)] if kept else character or "")
        at += length
    return "".join(decoded)


def _character(data: bytes) -> tuple[str | None, int]:
    """The first character and its length in bytes; None for a byte that begins none."""
    for length in range(1, len(data) + 1):
        try:
            return data[:length].decode(), length
        except UnicodeDecodeError:
            continue
    return None, 1
