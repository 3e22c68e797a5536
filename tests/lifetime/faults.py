"""What can happen to a call: it fails, its process dies, or others act just before it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
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
"""The calls that change something: a fault there leaves something half done."""

When = int | str
"""Which call: the nth call from now, over all processes, or the next one of an operation."""


class Fault(Enum):
    """How a call fails."""

    UNAVAILABLE = "unavailable"
    THROTTLED = "throttled"
    ANSWER_LOST = "answer lost"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    CRASH_AND_LATE = "crash, and the write takes effect later"


class FaultInjector:
    """Knows what is to happen at which call."""

    def __init__(self, cloud: FakeCloud) -> None:
        self.chance = random.Random(11)  # noqa: S311 - chance, not secrets
        self._cloud = cloud
        self._faults: dict[When, Fault] = {}
        self._acts: dict[When, list[Callable[[], None]]] = {}
        self._late_writes: list[tuple[datetime, Callable[[], object]]] = []

    def inject(self, fault: Fault, *, at: When) -> None:
        """Let a call fail."""
        self._faults[self._when(at)] = fault

    def act(self, act: Callable[[], None], *, at: When) -> None:
        """Have others act just before a call; before the 0th is now."""
        if at == 0:
            act()
        else:
            self._acts.setdefault(self._when(at), []).append(act)

    def end(self) -> None:
        """Let nothing happen any more; late writes take effect."""
        self._faults.clear()
        self._acts.clear()
        self.finish_writes(before=None)

    def write_late(self, effect: Callable[[], object]) -> None:
        """Let a write take effect a little before a request's deadline."""
        self._late_writes.append((self._cloud.clock.now() + _LATE, effect))

    def finish_writes(self, *, before: datetime | None) -> None:
        """Let the late writes take effect whose time comes before this; None means all."""
        late, self._late_writes = self._late_writes, []
        for at, effect in late:
            if before is not None and at > before:
                self._late_writes.append((at, effect))
                continue
            with suppress(FirstpullError):
                effect()

    def fault_of(self, operation: str) -> Fault | None:
        """The fault of the call that was just counted, once others have acted."""
        self.finish_writes(before=self._cloud.clock.now())
        number = len(self._cloud.calls)
        for act in (*self._acts.pop(number, ()), *self._acts.pop(operation, ())):
            act()
        return self._faults.pop(number, None) or self._faults.pop(operation, None)

    def _when(self, at: When) -> When:
        return at if isinstance(at, str) else len(self._cloud.calls) + at


class LifetimeLine(Line):
    """A process's connection. Between two calls of one process others make some of theirs."""

    def __init__(self, cloud: FakeCloud, injector: FaultInjector) -> None:
        super().__init__(cloud)
        self._injector = injector

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        """Make one call, with its fault if it has one."""
        for _ in range(self._injector.chance.randrange(1, 4)):
            await asyncio.sleep(0)
        if self.dead:
            raise Crashed(operation)
        cloud = self.cloud
        cloud.clock.advance(_CALL_TIME)
        cloud.calls.append(operation)
        is_read = operation in READS
        fault = self._injector.fault_of(operation)
        if fault in (Fault.UNAVAILABLE, Fault.THROTTLED, Fault.CRASH_BEFORE):
            raise self._error(fault, operation)
        if fault is Fault.CRASH_AND_LATE:
            if not is_read:
                self._injector.write_late(effect)
            raise self._error(fault, operation)
        result = effect()
        if cloud.after_write is not None and not is_read:
            cloud.after_write()
        if fault is not None:
            raise self._error(fault, operation)
        return result

    def _error(self, fault: Fault, operation: str) -> BaseException:
        if fault is Fault.THROTTLED:
            return Transient(Reason.THROTTLED, f"{operation} was refused.", retry_after=_PAUSE)
        if fault in (Fault.UNAVAILABLE, Fault.ANSWER_LOST):
            return Transient(Reason.SERVICE_UNAVAILABLE, f"{operation} did not answer.")
        self.dead = True
        return Crashed(operation)
