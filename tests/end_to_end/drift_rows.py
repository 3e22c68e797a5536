"""The tables of docs/drift.md, and what has to hold for each row."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from firstpull.model.reasons import Reason

from .cloud import entry_of, operations_end, pull_answers, site_of
from .deployments import Deployment, Subject

_PAGE = (Path(__file__).parents[2] / "docs" / "drift.md").read_text()
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the page says of one thing that somebody does."""

    says: frozenset[str]
    """The differences that the sweep notes."""
    waits_for: Reason | None
    """Why the device waits for a person; None where it is repaired at once."""
    pulls_go_on: bool
    """Whether the device can pull if its site syncs before the repair."""
    has_new_password: bool
    """Whether the device finds another password in its twin afterwards."""


def table_below(heading: str) -> Iterator[list[str]]:
    """The cells of each row of the table below a heading of the page."""
    section = _PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def rows() -> dict[str, Row]:
    """What the sweep repairs, by what somebody does."""
    return {
        somebody: Row(
            says=frozenset(_CODE.findall(says)),
            waits_for=next((Reason(code) for code in _CODE.findall(happens)), None),
            pulls_go_on={"go on": True, "are refused": False}[pulls],
            has_new_password=found.startswith("a new password"),
        )
        for somebody, says, happens, pulls, found in table_below("What the sweep mends")
    }


async def check_row(
    row: Row,
    deployment: Deployment,
    subject: Subject,
    *,
    act: Callable[[], Awaitable[None]],
    remedy: Callable[[], Awaitable[None]] | None,
) -> None:
    """Somebody acts; the site syncs; the sweep notes it; the device is repaired.

    Raises AssertionError where something is not as the row says.
    """
    stack, device_id = deployment.stack, subject.device_id
    before = entry_of(stack, device_id, subject.plant)
    await act()
    await operations_end(stack)
    site_of(stack, subject.plant).backend.sync()
    assert (await pull_answers(stack, before) == 200) is row.pulls_go_on
    assert await deployment.sweep_says(device_id) == row.says
    due_at = (await deployment.firstpull.record(device_id)).schedule.due_at
    assert due_at <= deployment.firstpull.clock.now(), "the sweep did not requeue the device"
    record = await deployment.come_to_rest(device_id)
    assert (remedy is None) is (row.waits_for is None)
    if remedy is not None:
        assert record.status.condition.reason is row.waits_for, record.status.condition
        assert record.status.condition.remedy
        assert await deployment.sweep_writes() == []
        await remedy()
        await operations_end(stack)
        record = await deployment.come_to_rest(device_id)
    assert record.is_converged, record.status.condition
    after = entry_of(stack, device_id, subject.plant)
    assert (after["password"] != before["password"]) is row.has_new_password
    assert (after != before) is row.has_new_password
    await deployment.log_in(device_id)
    await deployment.check_that_nothing_is_left_to_do(device_id)
