"""Reads test.http as the REST Client of VS Code does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"^@(\w+) = (.+)$", re.MULTILINE)
_PLACE = re.compile(r"\{\{([^}]+)\}\}")


@dataclass(frozen=True)
class Request:
    """A request of the file. Header names are in lower case."""

    title: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


def read_requests(values: Mapping[str, str]) -> list[Request]:
    """The requests of test.http. `values` win over the file's own variables.

    Raises KeyError for a variable that has no value.
    """
    head, *requests = (ROOT / "test.http").read_text().split("\n###")
    variables = {**dict(_VARIABLE.findall(head)), **values}
    return [_read(text, variables) for text in requests]


def described(request: Request, paths: Mapping[str, object]) -> tuple[str, str]:
    """The method and the path in the API's document. Raises AssertionError if it has none."""
    for path in sorted(paths, key=lambda path: path.count("{")):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", f"/api{path}"), request.path):
            return request.method.lower(), path
    raise AssertionError(f"the API has no {request.path}")


def _read(text: str, variables: Mapping[str, str]) -> Request:
    title, _, rest = text.strip().partition("\n")
    top, _, body = _filled(rest, variables).partition("\n\n")
    line, *headers = top.splitlines()
    method, url = line.split(" ", 1)
    pairs = (header.split(": ", 1) for header in headers)
    return Request(title, method, url, {k.lower(): v for k, v in pairs}, body.strip() or None)


def _filled(text: str, variables: Mapping[str, str]) -> str:
    while _PLACE.search(text):
        text = _PLACE.sub(lambda found: variables[found[1]], text)
    return text
