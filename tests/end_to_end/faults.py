"""Faults between firstpull and its ports, at a call of the test's choice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, cast

from firstpull.bootstrap import Ports
from firstpull.model.errors import Transient
from firstpull.model.reasons import Reason

STORAGE = ("records", "queue", "ledgers", "locks")
ALL = ("registries", "secrets", "hubs", *STORAGE)


class Kind(StrEnum):
    """What happens to a call."""

    REFUSED = "refused before any effect"
    ANSWER_LOST = "took effect, and the answer was lost"
    CRASH = "took effect, and the process died"


class Crashed(BaseException):
    """The process died: none of its code continues, whatever it catches."""


@dataclass
class Line:
    """Counts calls. The one with the number `at`, from 1, fails."""

    kind: Kind
    at: int
    calls: int = 0
    dead: bool = False

    @property
    def was_reached(self) -> bool:
        """Whether there were enough calls for the fault."""
        return self.calls >= self.at

    async def call[**P](
        self, function: Callable[P, Coroutine[Any, Any, Any]], *args: P.args, **kwargs: P.kwargs
    ) -> Any:  # noqa: ANN401 - any port's
        """One call. Answers do not reach a process that has died."""
        self._check_alive()
        self.calls += 1
        fails = self.calls == self.at
        if fails and self.kind is Kind.REFUSED:
            raise _unavailable()
        result = await function(*args, **kwargs)
        if fails and self.kind is Kind.CRASH:
            self.dead = True
        self._check_alive()
        if fails:
            raise _unavailable()
        return _through(self, result) if hasattr(result, "renew") else result

    def _check_alive(self) -> None:
        if self.dead:
            raise Crashed


def with_faults(ports: Ports, line: Line, names: tuple[str, ...]) -> Ports:
    """These ports, with the calls to those of `names` through the line."""
    return replace(ports, **{name: _through(line, getattr(ports, name)) for name in names})


class _Through:
    def __init__(self, line: Line, port: object) -> None:
        self._line = line
        self._port = port

    def __getattr__(self, name: str) -> object:
        found = getattr(self._port, name)
        if inspect.iscoroutinefunction(found):
            return functools.partial(self._line.call, found)
        return found


def _through(line: Line, port: object) -> Any:  # noqa: ANN401 - whatever port it stands for
    return cast("Any", _Through(line, port))


def _unavailable() -> Transient:
    return Transient(Reason.SERVICE_UNAVAILABLE, "The test lets this call fail.")
