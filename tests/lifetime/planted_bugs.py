"""Ten bugs, at least one for each of P1 to P9: what the machine has to catch.

Each is caught by a course of events, too, which `short_courses` holds.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).parents[2] / "firstpull"


@dataclass(frozen=True, kw_only=True)
class PlantedBug:
    """`before` stands once in a file of the package firstpull; `after` is the bug.

    `course` is the name of a short course of events that sets it off.
    """

    promise: str
    what: str
    file: str
    scenario: str
    before: str
    after: str

    def planted(self, text: str) -> str:
        """The text of the file with the bug. Raises ValueError where it has no place for it."""
        if text.count(self.before) != 1:
            raise ValueError(f"{self.file} does not hold once: {self.before}")
        return text.replace(self.before, self.after)


def copy_firstpull(folder: Path, bug: PlantedBug | None) -> None:
    """Make a copy of the package firstpull in a folder, with a bug in it or none."""
    copy = folder / "firstpull"
    shutil.copytree(_PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if bug is not None:
        file = copy / bug.file
        file.write_text(bug.planted(file.read_text()))


PLANTED_BUGS = (
    PlantedBug(
        promise="P1",
        what="the claim does not name what will be made",
        file="converge.py",
        scenario="onboarded",
        before="names=credential.names,",
        after="names=record.names,",
    ),
    PlantedBug(
        promise="P2",
        what="every rotation ends the old password at once",
        file="plan.py",
        scenario="rotated",
        before="if rotation is None or not rotation.immediately:",
        after="if rotation is None:",
    ),
    PlantedBug(
        promise="P3",
        what="the claim does not make the device due again",
        file="converge.py",
        scenario="a_crash_under_a_claim",
        before="due_at=until + timedelta(seconds=REQUEST_DEADLINE),",
        after="due_at=until + timedelta(days=10_000),",
    ),
    PlantedBug(
        promise="P4",
        what="the list is written from our own entries alone",
        file="ledger.py",
        scenario="beside_a_foreign_client",
        before="kept = [t for t in listed if not any(",
        after="kept = [t for t in listed if self.get(t) and not any(",
    ),
    PlantedBug(
        promise="P5",
        what="the capacity in the settings is not heeded",
        file="policy.py",
        scenario="one_too_many",
        before="""\
        return next((e for e in self.connected_registries if self.place_of(e) == place), None)
""",
        after="""\
        found = (e for e in self.connected_registries if self.place_of(e) == place)
        return next((e.model_copy(update={"capacity": DEFAULT_CAPACITY}) for e in found), None)
""",
    ),
    PlantedBug(
        promise="P6",
        what="the journal tells the password instead of its slot",
        file="apply.py",
        scenario="onboarded",
        before="slot=action.slot.value)",
        after="slot=password.value.reveal())",
    ),
    PlantedBug(
        promise="P7",
        what="a late message undoes a revoke",
        file="onboarding.py",
        scenario="a_late_message",
        before="if revoked is not None and intent.at <= revoked.at:",
        after="if revoked is not None and intent.at <= record.intent.at:",
    ),
    PlantedBug(
        promise="P7",
        what="a device that was registered anew is taken for the one before",
        file="observation.py",
        scenario="registered_anew",
        before="return self.twin is not None and recorded not in (None, self.hub_generation_id)",
        after="return False",
    ),
    PlantedBug(
        promise="P8",
        what="the same request by somebody else counts as another one",
        file="records.py",
        scenario="asked_again",
        before="return self == replace(other, requested_by=self.requested_by, at=self.at)",
        after="return self == replace(other, at=self.at)",
    ),
    PlantedBug(
        promise="P9",
        what="a proposal is recorded",
        file="onboarding.py",
        scenario="previewed",
        before="""\
        _, wanted = await self._stored_and_wanted(
            request, requested_by=requested_by, asked_at=asked_at
        )
        return wanted
""",
        after="""\
        stored, wanted = await self._stored_and_wanted(
            request, requested_by=requested_by, asked_at=asked_at
        )
        return await self._write(stored, wanted)
""",
    ),
)
