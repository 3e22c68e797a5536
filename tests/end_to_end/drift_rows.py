"""The tables of docs/drift.md, and what is done with each of their rows."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from firstpull.bootstrap import Application
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.reasons import Reason
from local_azure.container_registry.models import Registry
from tests.firstpull.records import grant_of

from .cloud import Entry, cloud_registry, entry_of, pull_answers, register, report_login, site_of
from .in_process import Firstpull

_PAGE = (Path(__file__).parents[2] / "docs" / "drift.md").read_text()
_CODE = re.compile(r"`([^`]+)`")
_FOUND = "device.drift.found"

Act = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the page tells of one thing that somebody does."""

    says: frozenset[str]
    """What the sweep says, in words of firstpull/drift.py."""
    waits_for: Reason | None
    """Why the device waits for a person; None where it is mended at once."""
    pulls_go_on: bool
    """Whether the device can pull at a site that hears of it before it is mended."""
    has_new_password: bool
    """Whether the device finds another password in its twin afterwards."""


def table_below(heading: str) -> Iterator[list[str]]:
    """The cells of the rows of the table below a heading of the page."""
    section = _PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def rows() -> dict[str, Row]:
    """What the sweep finds, by what somebody does."""
    return {
        somebody: Row(
            says=frozenset(_CODE.findall(says)),
            waits_for=next((Reason(code) for code in _CODE.findall(happens)), None),
            pulls_go_on={"go on": True, "are refused": False}[pulls],
            has_new_password=found.startswith("a new password"),
        )
        for somebody, says, happens, pulls, found, _ in table_below("What the sweep mends")
    }


def told() -> list[str]:
    """What the sweep tells of and does not mend: what somebody does."""
    return [somebody for somebody, *_ in table_below("What the sweep tells, and does not mend")]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A device that has logged in, and what firstpull made for it."""

    device_id: str
    plant: str
    token: str
    secret: str
    scope_map: str


@dataclass(frozen=True)
class Case:
    """Takes one device through one row."""

    firstpull: Firstpull
    application: Application
    plant: str

    async def ready_device(self, device_id: str) -> Subject:
        """A device that has logged in and been left alone since."""
        register(self.firstpull.stack, device_id)
        await self.firstpull.ask(self.application, device_id, self.plant)
        record = await self.comes_to_rest(device_id)
        await self.logs_in(device_id)
        token = self._registry.token(grant_of(record).names.token)
        return Subject(
            device_id=device_id,
            plant=self.plant,
            token=grant_of(record).names.token,
            secret=grant_of(record).names.secret,
            scope_map=self._registry.scope_map_of(token).name,
        )

    async def goes_through(self, row: Row, subject: Subject, act: Act, remedy: Act | None) -> None:
        """Somebody acts; the connected registry hears of it first; then it is mended."""
        device_id = subject.device_id
        before = entry_of(self.firstpull.stack, device_id, self.plant)
        await act()
        site_of(self.firstpull.stack, self.plant).backend.sync()
        assert await self._can_pull(before) is row.pulls_go_on
        assert await self.sweep_says(device_id) == row.says
        record = await self.firstpull.record(device_id)
        assert record.schedule.due_at <= self.firstpull.clock.now(), "the sweep sent nobody"
        record = await self.comes_to_rest(device_id)
        if row.waits_for is None:
            assert remedy is None
        else:
            assert record.status.condition.reason is row.waits_for, record.status.condition
            assert record.status.condition.remedy
            assert await self._a_sweep_writes() == []
            assert remedy is not None
            await remedy()
        record = await self.comes_to_rest(device_id)
        assert record.is_converged, record.status.condition
        after = entry_of(self.firstpull.stack, device_id, self.plant)
        assert (after["password"] != before["password"]) is row.has_new_password
        assert (after != before) is row.has_new_password
        await self.logs_in(device_id)
        await self.nothing_is_left_to_do(device_id)

    async def logs_in(self, device_id: str) -> None:
        """The site syncs, the device logs in there with what its twin holds, and says so."""
        stack = self.firstpull.stack
        site_of(stack, self.plant).backend.sync()
        assert await self._can_pull(entry_of(stack, device_id, self.plant))
        report_login(stack, device_id, self.plant)
        record = await self.comes_to_rest(device_id)
        assert record.status.condition.state is State.READY, record.status.condition

    async def _can_pull(self, entry: Entry) -> bool:
        """Whether its site serves the device that comes with what an entry of its twin says."""
        return await pull_answers(self.firstpull.stack, entry) == 200

    async def sweep_says(self, device_id: str) -> frozenset[str]:
        """What one sweep has to say of a device, as its history tells it."""
        before = await self._findings(device_id)
        await self.application.sweeper.run()
        found = (await self._findings(device_id))[len(before) :]
        return frozenset(words for detail in found for words in detail.split("; "))

    async def nothing_is_left_to_do(self, device_id: str) -> None:
        """One more pass and one more sweep write nothing to Azure, and nothing into the record."""
        await self.comes_to_rest(device_id)  # the look that is due a little later
        assert await self.firstpull.look_again(self.application, device_id) == []
        record = await self.firstpull.record(device_id)
        assert await self._a_sweep_writes() == []
        assert await self.firstpull.record(device_id) == record

    async def revoke(self, device_id: str) -> None:
        """Take everything from the device again."""
        device = self.firstpull.device(device_id)
        await self.application.revoking.revoke(device, requested_by="a test")
        record = await self.comes_to_rest(device_id)
        assert record.status.condition.state is State.REVOKED, record.status.condition

    def writes_of_azure(self) -> list[str]:
        """The writing calls since the counts began. A query of the hub is a POST, and reads."""
        return [
            f"{call.service}.{call.operation}"
            for call in self.firstpull.stack.kernel.calls.latest()
            if call.method != "GET" and call.operation != "twins.query"
        ]

    async def _a_sweep_writes(self) -> list[str]:
        """The writing calls of one sweep."""
        self.firstpull.stack.kernel.calls.reset()
        await self.application.sweeper.run()
        return self.writes_of_azure()

    async def _findings(self, device_id: str) -> list[str]:
        history = (await self.firstpull.record(device_id)).history
        return [entry.detail for entry in history if entry.event == _FOUND]

    async def comes_to_rest(self, device_id: str) -> DeviceRecord:
        """Work on the device until it has all, or waits; its record then."""
        return await self.firstpull.come_to_rest(self.application, device_id, self.plant)

    @property
    def _registry(self) -> Registry:
        return cloud_registry(self.firstpull.stack)
