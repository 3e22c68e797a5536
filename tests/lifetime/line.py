"""What can happen to a call: it fails, its process dies, somebody meddles just before it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model.errors import FirstpullError, Transient
from firstpull.model.reasons import Reason
from tests.firstpull.fakes import READS, Crashed, FakeCloud, Line

_CALL_TIME = timedelta(milliseconds=5)
_LATE = timedelta(seconds=REQUEST_DEADLINE - 1)
_PAUSE = 10.0


WRITES = (
    "registries.put_scope_map",
    "registries.create_token",
    "registries.update_token",
    "registries.generate_password",
    "registries.keep_passwords",
    "registries.disable_token",
    "registries.delete_token",
    "registries.replace_client_tokens",
    "secrets.put",
    "secrets.disable",
    "hubs.patch_desired",
    "records.replace",
    "ledgers.put",
)
"""The calls that change something: a mishap there leaves something half done."""


When = int | str
"""Which call: counted over all processes, or the next one of an operation."""


class Mishap(Enum):
    """How a call goes wrong."""

    UNAVAILABLE = "unavailable"
    THROTTLED = "throttled"
    ANSWER_LOST = "answer lost"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    CRASH_AND_LATE = "crash, and the write takes effect later"


@dataclass(frozen=True)
class _LateWrite:
    at: datetime
    effect: Callable[[], object]


class Trouble:
    """What is to happen at which call, counted over all processes."""

    def __init__(self, cloud: FakeCloud) -> None:
        self.chance = random.Random(11)  # noqa: S311 - chance, not secrets
        self._cloud = cloud
        self._mishaps: dict[When, Mishap] = {}
        self._meddling: dict[When, list[Callable[[], None]]] = {}
        self._late: list[_LateWrite] = []

    def have(self, mishap: Mishap, *, at: When) -> None:
        """Let a call go wrong: the so manieth from now, or the next one of an operation."""
        self._mishaps[self._when(at)] = mishap

    def meddle(self, act: Callable[[], None], *, at: When) -> None:
        """Have something done just before a call; before the 0th is now."""
        if at == 0:
            act()
        else:
            self._meddling.setdefault(self._when(at), []).append(act)

    def end(self) -> None:
        """Let nothing happen any more; what was under way takes effect."""
        self._mishaps.clear()
        self._meddling.clear()
        self.let_late_writes_in(before=None)

    def write_late(self, effect: Callable[[], object]) -> None:
        """Have an effect a little before a request's deadline."""
        self._late.append(_LateWrite(self._cloud.clock.now() + _LATE, effect))

    def let_late_writes_in(self, *, before: datetime | None) -> None:
        """Let writes take effect whose time comes before this; None means all."""
        due = [late for late in self._late if before is None or late.at <= before]
        self._late = [late for late in self._late if late not in due]
        for late in due:
            with suppress(FirstpullError):
                late.effect()

    def at(self, operation: str) -> Mishap | None:
        """What is to happen to the call that was just counted, once others have meddled."""
        self.let_late_writes_in(before=self._cloud.clock.now())
        number = len(self._cloud.calls)
        for act in (*self._meddling.pop(number, ()), *self._meddling.pop(operation, ())):
            act()
        return self._mishaps.pop(number, None) or self._mishaps.pop(operation, None)

    def _when(self, at: When) -> When:
        return at if isinstance(at, str) else len(self._cloud.calls) + at


class LifetimeLine(Line):
    """A process's connection. Between two calls of one process others get some of theirs in."""

    def __init__(self, cloud: FakeCloud, trouble: Trouble) -> None:
        super().__init__(cloud)
        self._trouble = trouble

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        """Make one call, with what is to happen to it."""
        for _ in range(self._trouble.chance.randrange(1, 4)):
            await asyncio.sleep(0)
        if self.dead:
            raise Crashed(operation)
        cloud = self.cloud
        cloud.clock.advance(_CALL_TIME)
        cloud.calls.append(operation)
        is_read = operation in READS
        mishap = self._trouble.at(operation)
        if mishap in (Mishap.UNAVAILABLE, Mishap.THROTTLED, Mishap.CRASH_BEFORE):
            raise self._fail_by(mishap, operation)
        if mishap is Mishap.CRASH_AND_LATE:
            if not is_read:
                self._trouble.write_late(effect)
            raise self._fail_by(mishap, operation)
        result = effect()
        if cloud.after_write is not None and not is_read:
            cloud.after_write()
        if mishap is not None:
            raise self._fail_by(mishap, operation)
        return result

    def _fail_by(self, mishap: Mishap, operation: str) -> BaseException:
        if mishap is Mishap.THROTTLED:
            return Transient(Reason.THROTTLED, f"{operation} was refused.", retry_after=_PAUSE)
        if mishap in (Mishap.UNAVAILABLE, Mishap.ANSWER_LOST):
            return Transient(Reason.SERVICE_UNAVAILABLE, f"{operation} did not answer.")
        self.dead = True
        return Crashed(operation)
