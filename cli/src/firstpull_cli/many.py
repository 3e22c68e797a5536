"""Revokes or rotates many devices, in batches: those of a file, or of some filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from firstpull_cli import onboarding, output
from firstpull_cli.api import Api, Filters
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.journal import Journal
from firstpull_cli.onboarding import ROWS_AT_ONCE, Outcome, Work
from firstpull_cli.rows import Row, read_devices

_SHOWN = 10
"""Names of devices in a summary."""
REVOKE = Work(name="revoke", path="devices:batchRevoke", done="Revoked")


def rotate(*, immediately: bool) -> Work:
    """Replace the passwords of devices."""
    more = {"immediately": True} if immediately else {}
    name = "rotate-immediately" if immediately else "rotate"
    return Work(name=name, path="devices:batchRotate", more=more)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which devices: ids, or those of a file, or those of some filters."""

    device_ids: Sequence[str] = ()
    file: str | None = None
    filters: Filters
    hub: str | None = None

    def rows(self, api: Api) -> list[Row]:
        """A row for each device. Raises CliError for no device, or several ways to say which."""
        filters = {name: value for name, value in self.filters.items() if value}
        ways = [bool(self.device_ids), self.file is not None, bool(filters)]
        if sum(ways) != 1:
            raise CliError(
                "say which devices in one way",
                advice="Give ids, or --file FILE, or filters such as --connected-registry NAME.",
                status=Exit.USAGE,
            )
        if self.file is not None:
            return read_devices(self.file, hub=self.hub)
        if self.device_ids:
            named = ((device_id, self.hub) for device_id in dict.fromkeys(self.device_ids))
        else:
            listed = api.devices({**filters, "hub": self.hub})
            named = ((device["deviceId"], device["hub"]) for device in listed)
        rows = [
            Row(line=number, document={"deviceId": name, **({"hub": hub} if hub else {})})
            for number, (name, hub) in enumerate(named, start=1)
        ]
        if not rows:
            raise CliError("no device is selected", advice="`firstpull devices` lists them.")
        return rows


def plan(api: Api, rows: Sequence[Row], *, work: Work) -> list[Outcome]:
    """What would become of rows. Raises CliError."""
    return [
        *(Outcome.of_problem(row) for row in rows if row.problem is not None),
        *_planned(api, [row for row in rows if row.problem is None], work),
    ]


def carry_out(
    api: Api, rows: Sequence[Row], *, work: Work, seconds: float | None
) -> tuple[list[Outcome], bool]:
    """What became of rows; with `seconds`, at the end of each, and whether some are late.

    A killed command goes on when it is given again. Raises CliError.
    """
    journal = Journal.of(rows, url=api.profile.url, work=work.name)
    try:
        outcomes = onboarding.send_rows(api, rows, journal=journal, at_once=ROWS_AT_ONCE, work=work)
    except (CliError, KeyboardInterrupt):
        output.note("Not finished. The same command goes on where this one stopped.")
        raise
    journal.remove()
    if seconds is None:
        return outcomes, False
    return onboarding.wait_for_outcomes(api, outcomes, seconds=seconds, done=work.done)


def show_plan(outcomes: Sequence[Outcome], *, work: Work) -> None:
    """Write which devices it is about, and which of them would be refused."""
    names = [f"{one.device_id}" for one in outcomes if not one.is_refused]
    shown = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    said = f"{work.name} {len(names)}: {shown}{more}" if names else f"{work.name} none"
    output.console().print(output.cell(said))
    refused = [one for one in outcomes if one.is_refused]
    for one in refused[:_SHOWN]:
        output.note(f"{one.device_id}: {one.reason}: {one.why}")
    if len(refused) > _SHOWN:
        output.note(f"… and {len(refused) - _SHOWN} more would be refused.")


def _planned(api: Api, rows: Sequence[Row], work: Work) -> Iterator[Outcome]:
    for batch in onboarding.batches(rows, at_once=1000):
        yield from onboarding.send_batch(api, batch, work=work, dry_run=True)
