"""Reads JSON in which every name of an object is there once, as RFC 8259 wants it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json

_LONGEST_PATH = 512
"""Characters of a path that an error shows: its parts are a caller's."""


class NamedTwice(ValueError):
    """An object has a name twice, and readers differ in which of the two counts.

    `paths` are JSON pointers.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(f"an object has a name twice: {', '.join(paths)}")
        self.paths = paths


def read_strictly(text: bytes | str) -> Any:  # noqa: ANN401 - any JSON
    """The document in a text. Raises NamedTwice, and ValueError for what is no JSON in UTF-8."""
    document = from_json(text, allow_inf_nan=False)
    paths = tuple(_twice(json.loads(text, object_pairs_hook=_Pairs), ()))
    if paths:
        raise NamedTwice(paths)
    return document


def pointer(parts: Iterable[object]) -> str:
    """The JSON pointer (RFC 6901) of a place, cut short; `""` is the whole document."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join(f"/{part}" for part in escaped)[:_LONGEST_PATH]


def repeated(names: Iterable[str]) -> tuple[str, ...]:
    """The names that are there more than once, each once."""
    return tuple(name for name, count in Counter(names).items() if count > 1)


class _Pairs(list[tuple[str, Any]]):
    """An object with all its names."""


def _twice(value: object, place: tuple[object, ...]) -> Iterator[str]:
    if isinstance(value, _Pairs):
        yield from (pointer((*place, name)) for name in repeated(name for name, _ in value))
        for name, inner in value:
            yield from _twice(inner, (*place, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _twice(inner, (*place, number))
