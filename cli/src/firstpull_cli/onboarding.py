"""Sends rows in batches, goes on after a kill, and reports each refused row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from firstpull_cli import output, waiting
from firstpull_cli.api import Api, Document
from firstpull_cli.journal import Journal
from firstpull_cli.progress import Steps
from firstpull_cli.rows import Row

ROWS_AT_ONCE = 100
"""Rows of a request, unless an operator wants others: progress is seen, and a kill repeats few."""
_MOST_BYTES = 1_000_000
"""Of a batch, below the API's 1 MiB."""
_PASSES = (429, 500, 503)
"""Statuses of a row that may be taken later."""
_ROUNDS = 6
NOT_A_REQUEST = "NotARequest"
"""The reason of a row that the command refuses itself."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a row. `status` is what it would have got by itself; 400 is also the
    command's own. A refused row has a reason and says why; of a taken one `state` and `reason` are
    those of the device, where they are known.
    """

    line: int
    device_id: str | None
    status: int
    hub: str | None = None
    generation: int | None = None
    state: str | None = None
    reason: str | None = None
    why: str | None = None

    @classmethod
    def of_problem(cls, row: Row) -> Self:
        """The outcome of a row that is no request."""
        return cls(
            line=row.line,
            device_id=row.device_id,
            status=400,
            reason=NOT_A_REQUEST,
            why=row.problem,
        )

    @classmethod
    def of_answer(cls, row: Row, answer: Document) -> Self:
        """The outcome in a row of the answer to a batch."""
        problem = answer.get("problem") or {}
        return cls(
            line=row.line,
            device_id=answer.get("deviceId") or row.device_id,
            status=answer["status"],
            hub=answer.get("hub"),
            generation=answer.get("generation"),
            state=answer.get("state"),
            reason=problem.get("reason"),
            why=_why(problem) if problem else None,
        )

    @classmethod
    def read(cls, document: Document) -> Self:
        """An outcome as `as_json` wrote it."""
        names = {name: _SNAKE.get(name, name) for name in document}
        return cls(**{names[name]: value for name, value in document.items()})

    @property
    def is_refused(self) -> bool:
        """Whether nothing was recorded."""
        return self.status >= 400

    def as_json(self) -> Document:
        """For a script and for the journal."""
        values = {
            "line": self.line,
            "deviceId": self.device_id,
            "hub": self.hub,
            "status": self.status,
            "generation": self.generation,
            "state": self.state,
            "reason": self.reason,
            "why": self.why,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def key(self) -> waiting.Key:
        """Its device, to wait for."""
        return f"{self.hub}", f"{self.device_id}"

    def with_device(self, device: Document | None, *, done: str) -> Outcome:
        """The outcome with the state of its device; None for one that has what it wants."""
        if self.is_refused:
            return self
        if device is None:
            return replace(self, state=done)
        condition = device["condition"]
        return replace(
            self,
            state=device["state"],
            reason=condition["reason"],
            why=condition.get("remedy") or condition["message"],
        )


_SNAKE = {"deviceId": "device_id"}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is done with rows: its route, what else its body has, and the state after it."""

    name: str
    path: str
    more: Document = field(default_factory=dict)
    done: str = "Delivered"


ONBOARD = Work(name="onboard", path="devices:batch")


def wait_for_outcomes(
    api: Api, outcomes: Sequence[Outcome], *, seconds: float, done: str = ONBOARD.done
) -> tuple[list[Outcome], bool]:
    """The outcomes when each is `done` or time is up, and whether some are late."""
    keys = {one.key for one in outcomes if not one.is_refused}
    left = waiting.wait_for_devices(api, keys, seconds=seconds)
    ended = [one.with_device(left.get(one.key), done=done) for one in outcomes]
    return ended, any(map(waiting.is_late, left.values()))


def send_rows(
    api: Api, rows: Sequence[Row], *, journal: Journal, at_once: int, work: Work = ONBOARD
) -> list[Outcome]:
    """Have the rows recorded that an earlier run has not; the outcomes of all, in their order.

    Rows that a service in trouble refused are sent again a few times. Raises CliError if a whole
    batch is refused; what is recorded until then stays in the journal.
    """
    outcomes = {found.line: found for found in map(Outcome.read, journal.read())}
    if outcomes:
        output.note(f"Going on after {len(outcomes)} rows that an earlier run has sent.")
    for row in rows:
        if row.problem is not None:
            outcomes[row.line] = Outcome.of_problem(row)
    left = [row for row in rows if row.line not in outcomes]
    with Steps(work.name, total=len(rows), done=len(outcomes)) as steps:
        for attempt in range(_ROUNDS):
            again: list[Row] = []
            for batch in batches(left, at_once=at_once):
                answered = send_batch(api, batch, work=work)
                passing = [found for found in answered if found.status in _PASSES]
                final = [found for found in answered if found.status not in _PASSES]
                journal.add(found.as_json() for found in final)
                outcomes |= {found.line: found for found in answered}
                lines = {found.line for found in passing}
                again += [row for row in batch if row.line in lines]
                steps.advanced(len(final))
            left = again
            if not left or attempt == _ROUNDS - 1:
                break
            output.pausing(f"{len(left)} rows were refused for now", 2.0**attempt)
            api.sleep(2.0**attempt)
        steps.advanced(len(left))
    return [outcomes[row.line] for row in rows]


def batches(rows: Sequence[Row], *, at_once: int) -> Iterator[list[Row]]:
    """The rows in batches that the API takes."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row.document)) + 2
        if batch and (len(batch) == at_once or size + length > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch


def send_batch(
    api: Api, batch: Sequence[Row], *, work: Work, dry_run: bool = False
) -> list[Outcome]:
    """What becomes of a batch, or would. Raises CliError if it is refused as a whole."""
    body = {"devices": [row.document for row in batch], **work.more}
    query = {"dryRun": "true" if dry_run else None}
    answer = api.send("POST", work.path, query=query, body=body).document
    return [Outcome.of_answer(batch[found["row"]], found) for found in answer["rows"]]


def _why(problem: Document) -> str:
    errors = [f"{error['path']}: {error['message']}" for error in problem.get("errors", ())]
    return "; ".join(errors) or problem["detail"]


def show(outcomes: Sequence[Outcome], *, waited: bool, done: str = ONBOARD.done) -> None:
    """Write how many rows were taken, and each that needs a person."""
    refused = [found for found in outcomes if found.is_refused]
    counts = [f"{len(outcomes) - len(refused)} taken", f"{len(refused)} refused"]
    told = list(refused)
    if waited:
        states = [found.state for found in outcomes if not found.is_refused]
        counts += [f"{states.count(state)} {state}" for state in sorted({f"{s}" for s in states})]
        told += [f for f in outcomes if not f.is_refused and f.state != done]
    console = output.console()
    if told:
        table = output.table("LINE", "DEVICE", "STATE", "REASON", "WHY", right=("LINE",))
        for found in told:
            state = "refused" if found.is_refused else f"{found.state}"
            table.add_row(
                output.cell(found.line),
                output.cell(found.device_id),
                output.cell(state, "red" if found.is_refused else output.STYLES.get(state, "")),
                output.cell(found.reason),
                output.cell(found.why),
            )
        console.print(table)
        console.print()
    console.print(output.cell(", ".join(counts) + ".", "bold"))


def as_json(outcomes: Sequence[Outcome]) -> Document:
    """The report for a script."""
    refused = sum(found.is_refused for found in outcomes)
    return {
        "taken": len(outcomes) - refused,
        "refused": refused,
        "rows": [found.as_json() for found in outcomes],
    }
