"""P1: nothing exists in Azure that no record names."""

from __future__ import annotations

import pytest

from firstpull.model.errors import Transient
from tests.firstpull.fakes import READS, Crashed, Fault, FaultKind
from tests.firstpull.harness import PLANT_ONE, Harness
from tests.firstpull.records import grant_of

CRASH = Fault(kind=FaultKind.CRASH, after=True)


async def test_nothing_is_made_or_hinted_when_the_intent_cannot_be_recorded() -> None:
    harness = Harness()
    harness.register()

    def fail(number: int, operation: str) -> None:
        if operation == "records.insert":
            harness.cloud.faults[number] = Fault(kind=FaultKind.TRANSIENT, after=False)

    harness.cloud.before_call = fail
    with pytest.raises(Transient):
        await harness.processes[0].onboarding.ask(harness.request(), requested_by="a test")
    assert harness.cloud.queue == []
    assert not harness.cloud.writes()


async def test_a_record_names_everything_before_the_first_write() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    writes: list[str] = []

    def look_at_the_record(_: int, operation: str) -> None:
        if operation in READS or not operation.startswith(("registries.", "secrets.", "hubs.")):
            return
        record = harness.cloud.record(device)
        assert grant_of(record).ref == PLANT_ONE
        assert record.claim is not None
        assert record.schedule.due_at > record.claim.until
        writes.append(operation)

    harness.cloud.before_call = look_at_the_record
    await harness.run_until_quiet()
    assert set(writes) == {
        "registries.put_scope_map",
        "registries.create_token",
        "registries.generate_password",
        "registries.replace_client_tokens",
        "secrets.put",
        "hubs.patch_desired",
    }


async def test_a_slot_is_recorded_before_a_password_is_asked_for() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    slots: list[int] = []

    def look_at_the_record(_: int, operation: str) -> None:
        if operation == "registries.generate_password":
            slots.append(len(harness.cloud.record(device).status.slots_requested))

    harness.cloud.before_call = look_at_the_record
    await harness.run_until_quiet()
    assert slots == [1]
    assert harness.cloud.record(device).status.slots_requested == frozenset()


async def test_wherever_a_pass_dies_a_record_names_what_is_left() -> None:
    """Nobody comes back to clean up: what is there at that moment has to be named."""
    number, left = 1, set[str]()
    while True:
        harness = Harness()
        device = harness.register()
        await harness.ask()
        harness.cloud.faults = {len(harness.cloud.calls) + number: CRASH}
        harness.cloud.queue.clear()
        try:
            await harness.processes[0].worker.reconcile(device)
        except Crashed:
            harness.check_promises()
            left.update(harness.cloud.tokens, harness.cloud.secrets)
            number += 1
        else:
            break
    assert number > 25
    names = grant_of(harness.cloud.record(device)).names
    assert names is not None
    assert left == {names.token, names.secret}
