"""What became of the rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from firstpull.fleet.batch import Row
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from functions.answers.base import Answer, Count
from functions.answers.fleet import Sites
from functions.answers.messages import Problem


class RowAnswer(Answer):
    """One row, counted from 0, with the status that it would have got by itself.

    A refused row has a `problem`. Of a dry run, `connected_registry` is where the device would be,
    and `finding` says why it would have to wait.
    """

    row: Count
    status: Count
    device_id: str | None
    hub: str | None
    generation: Count | None
    state: State | None
    connected_registry: str | None
    finding: Reason | None
    problem: Problem | None

    @classmethod
    def of(cls, number: int, row: Row, *, problem: Problem | None, dry_run: bool) -> Self:
        """The answer for a row."""
        record = row.record
        done = dry_run or (record is not None and record.is_converged)
        return cls(
            row=number,
            status=problem.status if problem is not None else 200 if done else 202,
            device_id=record.device.device_id if record else None,
            hub=record.device.hub if record else None,
            generation=record.spec.generation if record else None,
            state=record.status.condition.state if record and not dry_run else None,
            connected_registry=str(row.place) if row.place is not None else None,
            finding=row.finding,
            problem=problem,
        )


class Batch(Answer):
    """All rows, in their order."""

    taken: Count
    refused: Count
    rows: tuple[RowAnswer, ...]

    @classmethod
    def counted(cls, rows: Sequence[RowAnswer], **more: Any) -> Self:  # noqa: ANN401 - fields
        """The answer for these rows, with what else its class has."""
        refused = sum(row.problem is not None for row in rows)
        return cls(taken=len(rows) - refused, refused=refused, rows=tuple(rows), **more)


class BatchDryRun(Batch):
    """What a batch would do."""

    dry_run: Literal[True]


class BatchPlan(BatchDryRun):
    """What a batch of onboarding requests would do. `room` is what would be left."""

    room: Sites
