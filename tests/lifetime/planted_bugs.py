"""Ten bugs, at least one for each of P1 to P9, that the state machine has to find.

Each is planted by replacing a function or a method of the core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from firstpull.config.policy import DEFAULT_CAPACITY, ConnectedRegistryPolicy, Policy
from firstpull.intake import onboard
from firstpull.model import transitions
from firstpull.model.azure_resources import ConnectedRegistryRef, NewPassword, TokenId
from firstpull.model.device_record import Claim, Condition, DeviceRecord, Grant, Intent
from firstpull.model.ledger import Ledger
from firstpull.model.password_slots import Credential
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile import apply, plan_passwords
from firstpull.reconcile.actions import GeneratePassword
from firstpull.reconcile.observe import Observed
from firstpull.reconcile.prepare import Preparation

Plant = Callable[[pytest.MonkeyPatch], None]


def forget_grant(patch: pytest.MonkeyPatch) -> None:
    """A claim without the name of what will be made."""
    granted = transitions.granted

    def without_grant(record: DeviceRecord, grant: Grant, **more: Any) -> DeviceRecord:  # noqa: ANN401 - passed on
        after = granted(record, grant, **more)
        return replace(after, status=replace(after.status, grant=record.status.grant))

    patch.setattr(transitions, "granted", without_grant)


def _end_every_rotated_password(patch: pytest.MonkeyPatch) -> None:
    ends_at_once = plan_passwords.ends_at_once

    def ends(record: DeviceRecord) -> bool:
        rotation = record.spec.rotation
        if rotation is None:
            return False
        spec = replace(record.spec, rotation=replace(rotation, immediately=True))
        return ends_at_once(replace(record, spec=spec))

    patch.setattr(plan_passwords, "ends_at_once", ends)
    patch.setattr("firstpull.reconcile.plan.ends_at_once", ends)


def claim_for_good(patch: pytest.MonkeyPatch) -> None:
    """A claim whose end makes no device due."""
    claimed = transitions.claimed

    def never_due(
        record: DeviceRecord, claim: Claim, *, condition: Condition, due_at: datetime
    ) -> DeviceRecord:
        late = due_at + timedelta(days=10_000)
        return claimed(record, claim, condition=condition, due_at=late)

    patch.setattr(transitions, "claimed", never_due)


def _drop_foreign_clients(patch: pytest.MonkeyPatch) -> None:
    wanted_list = Ledger.wanted_list

    def ours(ledger: Ledger, listed: tuple[TokenId, ...]) -> tuple[TokenId, ...]:
        return wanted_list(ledger, tuple(token for token in listed if ledger.get(token)))

    patch.setattr(Ledger, "wanted_list", ours)


def _ignore_capacity(patch: pytest.MonkeyPatch) -> None:
    entry_for = Policy.entry_for

    def with_default(policy: Policy, ref: ConnectedRegistryRef) -> ConnectedRegistryPolicy | None:
        entry = entry_for(policy, ref)
        return entry and entry.model_copy(update={"capacity": DEFAULT_CAPACITY})

    patch.setattr(Policy, "entry_for", with_default)


def _note_password(patch: pytest.MonkeyPatch) -> None:
    store = apply._Run._store

    async def note_and_store(
        run: apply._Run, password: NewPassword, action: GeneratePassword
    ) -> Credential:
        run._note(LogEvent.DEVICE_PASSWORD_GENERATED, slot=password.value.reveal())
        return await store(run, password, action)

    patch.setattr(apply._Run, "_store", note_and_store)


def believe_old_records(patch: pytest.MonkeyPatch) -> None:
    """A request that is older than what the tags of a stored password tell."""
    patch.setattr(Preparation, "_check_date", lambda *_: None)


def _accept_late_messages(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(onboard, "_check_order", lambda _record, _intent: None)
    believe_old_records(patch)  # the tags tell the revoke, too


def _take_every_device_for_the_same(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Observed, "is_another_device", False)


def _compare_requesters(patch: pytest.MonkeyPatch) -> None:
    def asks_the_same(intent: Intent, other: Intent) -> bool:
        return intent == replace(other, at=intent.at)

    patch.setattr(Intent, "asks_the_same", asks_the_same)


def _record_proposals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(onboard.Onboarding, "propose", onboard.Onboarding.ask)


@dataclass(frozen=True, kw_only=True)
class PlantedBug:
    """A bug, the promise it breaks, and the name of a short scenario that shows it."""

    promise: str
    what: str
    scenario: str
    plant: Plant


PLANTED_BUGS = (
    PlantedBug(
        promise="P1",
        what="the claim does not name what will be made",
        scenario="onboarded",
        plant=forget_grant,
    ),
    PlantedBug(
        promise="P2",
        what="every rotation ends the old password at once",
        scenario="rotated",
        plant=_end_every_rotated_password,
    ),
    PlantedBug(
        promise="P3",
        what="the claim does not make the device due again",
        scenario="a_crash_under_a_claim",
        plant=claim_for_good,
    ),
    PlantedBug(
        promise="P4",
        what="the list is written from our own entries alone",
        scenario="beside_a_foreign_client",
        plant=_drop_foreign_clients,
    ),
    PlantedBug(
        promise="P5",
        what="the capacity in the policy is ignored",
        scenario="one_too_many",
        plant=_ignore_capacity,
    ),
    PlantedBug(
        promise="P6",
        what="the journal notes the password instead of its slot",
        scenario="onboarded",
        plant=_note_password,
    ),
    PlantedBug(
        promise="P7",
        what="a late message undoes a revoke",
        scenario="a_late_message",
        plant=_accept_late_messages,
    ),
    PlantedBug(
        promise="P7",
        what="a device that was registered again is taken for the one before",
        scenario="registered_again",
        plant=_take_every_device_for_the_same,
    ),
    PlantedBug(
        promise="P8",
        what="the same request by somebody else counts as another one",
        scenario="asked_again",
        plant=_compare_requesters,
    ),
    PlantedBug(
        promise="P9",
        what="a proposal is recorded",
        scenario="dry_run",
        plant=_record_proposals,
    ),
)
