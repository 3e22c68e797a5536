"""P1: nothing exists in Azure that no record names."""

from __future__ import annotations

import pytest

from firstpull.model.errors import Transient
from tests.firstpull.harness import PLANT_ONE, Harness
from tests.firstpull.records import grant_of
from tests.world.calls import READS, Crashed, Fault


async def test_nothing_is_made_or_enqueued_if_the_intent_cannot_be_recorded() -> None:
    harness = Harness()
    harness.register()
    with harness.cloud.unavailable("records.insert"), pytest.raises(Transient):
        await harness.processes[0].onboarding.ask(harness.request(), requested_by="a test")
    assert harness.cloud.queue == []
    assert not harness.cloud.writes()


async def test_a_record_names_everything_before_the_first_write() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    writes: set[str] = set()

    def read_the_record(_: int, operation: str) -> None:
        if operation in READS or not operation.startswith(("registries.", "secrets.", "hubs.")):
            return
        record = harness.cloud.record(device)
        assert grant_of(record).ref == PLANT_ONE
        assert record.claim is not None
        assert record.schedule.due_at > record.claim.until
        if operation == "registries.generate_password":
            assert len(record.status.slots_requested) == 1
        writes.add(operation)

    harness.cloud.before_call = read_the_record
    await harness.run_until_quiet()
    assert writes == set(harness.cloud.writes())
    assert harness.cloud.record(device).status.slots_requested == frozenset()


async def test_wherever_a_pass_dies_a_record_names_what_is_left() -> None:
    """At that moment: nobody comes back to clean up."""
    number, left = 1, set[str]()
    while True:
        harness = Harness()
        device = harness.register()
        await harness.ask()
        harness.cloud.faults = {len(harness.cloud.calls) + number: Fault.CRASH_AFTER}
        harness.cloud.queue.clear()
        try:
            await harness.processes[0].worker.reconcile(device)
        except Crashed:
            harness.check_promises()
            left.update(harness.cloud.tokens, harness.cloud.secrets)
            number += 1
        else:
            break
    names = grant_of(harness.cloud.record(device)).names
    assert left == {names.token, names.secret}
