"""The answers of the `*.toml` files beside this module, checked when they are read."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_FILES = Path(__file__).parent


class Basis(StrEnum):
    """What an answer rests on."""

    RECORDED = "recorded"
    """Microsoft's own test suites recorded it against the live service."""
    DOCUMENTED = "documented"
    """Microsoft's documentation, specification or engineers say so."""
    ASSUMED = "assumed"
    """No public source settles it."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(_Entry):
    """One request. `{names}` in path and body are the target's variables, and those saved before.

    A `path` that a variable fills alone may be a whole URL.
    """

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = Field(default_factory=dict)
    api_version: str | None = None
    sends_credential: bool = True


class Expected(_Entry):
    """What a service answers. A key of `fields` is a path such as `value[name=x].properties.type`.

    `headers` are regular expressions without case. A field's value is JSON, or one of `<time>`,
    `<text>`, `<list>`, `<any>`, or a `{name}` that was saved before. `status` may be several.
    """

    status: int | tuple[int, ...]
    headers: dict[str, str] = Field(default_factory=dict)
    without_headers: tuple[str, ...] = ()
    fields: dict[str, Any] = Field(default_factory=dict)
    without_fields: tuple[str, ...] = ()
    differs: dict[str, str] = Field(default_factory=dict)
    unordered: str | None = None
    is_empty: bool = False

    @property
    def statuses(self) -> tuple[int, ...]:
        """All that are right."""
        return (self.status,) if isinstance(self.status, int) else self.status


class Answer(_Entry):
    """One answer of one operation, or a sentence on what a service does.

    `meanwhile`: answers of the same request that may come first, for seconds. `refusal`: what a
    subscription may refuse any such request with, which nobody can bring about at will. `saves`:
    names of variables, each with the field or the `header:` that fills it. `not_local`: why the
    local Azure is not held to it.
    """

    id: str
    says: str
    basis: Basis
    source: str = ""
    request: Request | None = None
    expected: Expected | None = None
    meanwhile: Expected | None = None
    refusal: Refusal | None = None
    saves: dict[str, str] = Field(default_factory=dict)
    not_local: str = ""


class Refusal(_Entry):
    """A refusal: status, headers and body."""

    status: int
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any


class Service(_Entry):
    """The answers of one service, in the order in which a runner asks for them.

    `api_version` goes into the query of each request, unless it has its own.
    """

    name: str
    title: str
    api_version: str = ""
    answers: tuple[Answer, ...]


@cache
def services() -> tuple[Service, ...]:
    """All services."""
    documents = [tomllib.loads(path.read_text()) for path in sorted(_FILES.glob("*.toml"))]
    return tuple(Service.model_validate(document) for document in documents)


def service(name: str) -> Service:
    """The service of a name. Raises StopIteration."""
    return next(each for each in services() if each.name == name)


def answer(answer_id: str) -> Answer:
    """The answer of an id. Raises StopIteration."""
    return next(each for one in services() for each in one.answers if each.id == answer_id)
