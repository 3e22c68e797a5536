"""The calls of all processes: counted, a few milliseconds long, and made to fail where a test says.

A fault, somebody's act or a hold belongs to the nth call from now, or to the next one of an
operation.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model.errors import FirstpullError, Transient
from firstpull.model.reasons import Reason
from tests.firstpull.virtual_clock import VirtualClock

CALL_TIME = timedelta(milliseconds=5)
_LATE = timedelta(seconds=REQUEST_DEADLINE - 1)
_PAUSE = 10.0
_OURS = ("registries.", "secrets.", "hubs.")

READS = frozenset(
    {
        "registries.get_scope_map",
        "registries.get_token",
        "registries.get_connected_registry",
        "registries.synced_actions",
        "registries.list_tokens",
        "registries.list_scope_maps",
        "registries.list_connected_registries",
        "secrets.versions",
        "secrets.read",
        "secrets.list_secrets",
        "hubs.twin",
        "hubs.module_twin",
        "hubs.list_modules",
        "hubs.generation_id",
        "hubs.list_devices",
        "hubs.find_devices",
        "records.get",
        "records.due",
        "records.page",
        "ledgers.get",
        "revokes.get",
        "sweeps.get",
    }
)
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
    "secrets.tag",
    "hubs.patch_desired",
    "records.replace",
    "ledgers.put",
)
"""The calls that change something: a fault there leaves something half done."""

When = int | str
"""Which call: the nth from now, over all processes, or the next one of an operation."""


class Crashed(BaseException):
    """The process died at this call."""


class Fault(Enum):
    """How a call fails."""

    UNAVAILABLE = "unavailable"
    THROTTLED = "throttled"
    ANSWER_LOST = "answer lost"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    CRASH_AND_LATE = "crash, and the write takes effect later"

    def error(self, operation: str) -> Transient | Crashed:
        """What the caller gets."""
        if self is Fault.THROTTLED:
            return Transient(Reason.THROTTLED, f"{operation} was refused.", retry_after=_PAUSE)
        if self in (Fault.UNAVAILABLE, Fault.ANSWER_LOST):
            return Transient(Reason.SERVICE_UNAVAILABLE, f"{operation} did not answer.")
        return Crashed(operation)


FAULTS = (Fault.UNAVAILABLE, Fault.ANSWER_LOST, Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
"""Those that tests put at every call."""


@dataclass(frozen=True, kw_only=True)
class HeldCall:
    """A call that waits until it is released."""

    answer: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


class Calls:
    """The calls so far, and what is to happen at the next ones."""

    def __init__(self, clock: VirtualClock, *, chance: random.Random | None) -> None:
        self.clock = clock
        self.chance = chance
        """Decides whose call comes next; without it the processes take turns."""
        self.calls: list[str] = []
        self.faults: dict[int, Fault] = {}
        """By number of the call, counted from 1 over all processes."""
        self.faults_met = 0
        self.before_call: Callable[[int, str], None] | None = None
        self.after_write: Callable[[], None] | None = None
        self.silent: tuple[str, ...] = ()
        """Calls whose names begin so never get an answer."""
        self._faults_at: dict[str, Fault] = {}
        self._acts: dict[When, list[Callable[[], object]]] = {}
        self._held: dict[str, HeldCall] = {}
        self._late_writes: list[tuple[datetime, Callable[[], object]]] = []

    def writes(self) -> Counter[str]:
        """The calls so far that change the container registry, Key Vault or the hub."""
        return Counter(c for c in self.calls if c.startswith(_OURS) and c not in READS)

    def inject(self, fault: Fault, *, at: When) -> None:
        """Let a call fail: the nth from now, or the next one of an operation."""
        if isinstance(at, str):
            self._faults_at[at] = fault
        else:
            self.faults[len(self.calls) + at] = fault

    def act(self, act: Callable[[], object], *, at: When) -> None:
        """Have others act just before a call; before the 0th is now."""
        if at == 0:
            act()
        else:
            when = at if isinstance(at, str) else len(self.calls) + at
            self._acts.setdefault(when, []).append(act)

    def end_faults(self) -> None:
        """Let nothing happen any more; late writes take effect."""
        self.faults.clear()
        self._faults_at.clear()
        self._acts.clear()
        self.finish_writes(before=None)

    @contextmanager
    def hold_call(self, operation: str, *, answer: bool = False) -> Iterator[HeldCall]:
        """Hold the next call of an operation: before its effect, or its answer."""
        self._held[operation] = held = HeldCall(answer=answer)
        try:
            yield held
        finally:
            held.release.set()

    def unavailable(self, *operations: str) -> AbstractContextManager[None]:
        """Let all calls fail whose names begin with one of these."""
        return self.failing(*operations, fault=Fault.UNAVAILABLE)

    @contextmanager
    def failing(self, *operations: str, fault: Fault, times: int = 10**6) -> Iterator[None]:
        """Let the next calls whose names begin with one of these meet a fault."""
        left = times

        def fail(number: int, operation: str) -> None:
            nonlocal left
            if operation.startswith(operations) and left:
                left -= 1
                self.faults[number] = fault

        before, self.before_call = self.before_call, fail
        try:
            yield
        finally:
            self.before_call = before

    def pass_to(self, at: datetime) -> None:
        """Let time pass while nothing happens but late writes."""
        self.finish_writes(before=at)
        self.clock.advance_to(at)

    def finish_writes(self, *, before: datetime | None) -> None:
        """Let the late writes take effect whose time comes before this; None means all."""
        late, self._late_writes = self._late_writes, []
        for at, effect in late:
            if before is not None and at > before:
                self._late_writes.append((at, effect))
                continue
            with suppress(FirstpullError):
                effect()

    async def make[T](self, operation: str, effect: Callable[[], T]) -> T:
        """One call, with its fault if it has one."""
        self.clock.advance(CALL_TIME)
        self.calls.append(operation)
        number, is_read = len(self.calls), operation in READS
        if self.silent and operation.startswith(self.silent):
            await asyncio.Event().wait()
        await self._hold(operation, answer=False)
        fault = self._fault_of(number, operation)
        if fault in (Fault.UNAVAILABLE, Fault.THROTTLED, Fault.CRASH_BEFORE):
            raise fault.error(operation)
        if fault is Fault.CRASH_AND_LATE:
            if not is_read:
                self._late_writes.append((self.clock.now() + _LATE, effect))
            raise fault.error(operation)
        result = effect()
        # A lease names nothing and holds no password.
        if self.after_write and not is_read and not operation.startswith(("locks.", "lease.")):
            self.after_write()
        await self._hold(operation, answer=True)
        if fault is not None:
            raise fault.error(operation)
        return result

    async def _hold(self, operation: str, *, answer: bool) -> None:
        held = self._held.get(operation)
        if held is not None and held.answer is answer:
            del self._held[operation]
            held.reached.set()
            await held.release.wait()

    def _fault_of(self, number: int, operation: str) -> Fault | None:
        """The fault of a call, once others have acted."""
        if self._late_writes:
            self.finish_writes(before=self.clock.now())
        if self.before_call is not None:
            self.before_call(number, operation)
        for act in (*self._acts.pop(number, ()), *self._acts.pop(operation, ())):
            act()
        fault = self.faults.pop(number, None) or self._faults_at.pop(operation, None)
        self.faults_met += fault is not None
        return fault
