"""P6: a password is in Key Vault and in the delivery, and nowhere else.

Every password of the fakes begins with the same mark; records, ledgers and hints are searched
for it after every write.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from firstpull.model.errors import FirstpullError
from firstpull.model.history import Journal
from firstpull.model.reasons import Reason
from firstpull.reconcile.apply import Guard
from firstpull.reconcile.observe import Observed
from firstpull.reconcile.plan import make_plan
from tests.firstpull.fakes import PASSWORD_MARK, Fault, FaultKind
from tests.firstpull.harness import VALIDITY, Harness


async def test_the_fakes_do_note_a_password_in_a_record() -> None:
    harness = Harness()
    device = await harness.make_ready()
    text, version = harness.cloud.records[device]
    shown = text.replace("a test", harness.cloud.passwords_made[0])
    harness.cloud.records[device] = shown, version
    await harness.reconcile(device)
    with pytest.raises(AssertionError, match="P6"):
        harness.check_promises()


async def test_no_log_line_of_a_life_holds_a_password(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        harness = Harness()
        device = await harness.make_ready()
        harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
        await harness.run_for(timedelta(hours=3))
        harness.cloud.register(device)
        await harness.reconcile(device)
        await harness.run_until_quiet()
    assert len(harness.cloud.passwords_made) == 3
    assert "device.credential.delivered" in caplog.text
    assert PASSWORD_MARK not in caplog.text


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_no_log_line_of_a_failure_holds_a_password(
    caplog: pytest.LogCaptureFixture, kind: FaultKind
) -> None:
    with caplog.at_level(logging.DEBUG):
        harness = Harness()
        harness.register()
        await harness.ask()
        for operation in ("registries.generate_password", "secrets.put", "hubs.patch_desired"):

            def fail(number: int, called: str, operation: str = operation) -> None:
                if called == operation:
                    harness.cloud.faults[number] = Fault(kind=kind, after=True)

            harness.cloud.before_call = fail
            await harness.run_for(timedelta(minutes=10))
        harness.cloud.before_call = None
        await harness.run_for(timedelta(hours=1))
    assert harness.cloud.faults_met >= 3
    assert PASSWORD_MARK not in caplog.text


async def test_a_fault_of_our_own_is_told_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception that nobody expected may hold anything."""
    harness = Harness()
    device = harness.register()
    await harness.ask()

    def blow_up(_: int, operation: str) -> None:
        if operation == "hubs.patch_desired":
            raise ValueError(harness.cloud.passwords_made[0])

    harness.cloud.before_call = blow_up
    with caplog.at_level(logging.DEBUG):
        await harness.processes[0].worker.reconcile(device)
    record = harness.cloud.record(device)
    assert record.status.condition.reason is Reason.INTERNAL_ERROR
    assert harness.cloud.violations == ["a fault of firstpull itself was noted"]
    assert "device.convergence.crashed" in caplog.text
    assert "ValueError" in caplog.text
    assert "deliver" in caplog.text
    assert PASSWORD_MARK not in caplog.text + harness.cloud.records[device][0]


async def test_no_error_of_a_pass_holds_a_password() -> None:
    harness = Harness()
    device = await harness.make_ready()
    shown: list[str] = []

    def note(error: FirstpullError) -> None:
        shown.append(f"{error!r} {error.message} {error.__cause__!r} {error.__context__!r}")

    for operation in ("secrets.read", "hubs.patch_desired"):
        entry = harness.cloud.devices[device].desired["firstpull"]["registryCredentials"]
        entry["plantone"]["address"] = operation
        harness.cloud.devices[device].twin_version += 1

        def fail(number: int, called: str, operation: str = operation) -> None:
            if called == operation:
                harness.cloud.faults[number] = Fault(kind=FaultKind.TRANSIENT, after=True)

        harness.cloud.before_call = fail
        try:
            await apply_now(harness, await observe(harness))
        except FirstpullError as error:
            note(error)
    assert len(shown) == 2
    assert PASSWORD_MARK not in "".join(shown)


async def test_nothing_that_a_dry_run_shows_holds_a_password() -> None:
    harness = Harness()
    await harness.make_ready()
    observed = await observe(harness)
    plan = make_plan(observed, now=harness.clock.now(), validity=VALIDITY)
    assert PASSWORD_MARK not in repr(plan)
    assert PASSWORD_MARK not in repr(observed.record)


async def observe(harness: Harness) -> Observed:
    (record,) = harness.cloud.all_records()
    return await harness.processes[0].worker.observer.observe(record)


async def apply_now(harness: Harness, observed: Observed) -> None:
    """Carry out a plan outside of a pass, which would note an error rather than raise it."""
    now = harness.clock.now()
    plan = make_plan(observed, now=now, validity=VALIDITY)
    if observed.chosen is None:
        raise AssertionError("a ready device has its place")
    guard = Guard(until=now + timedelta(minutes=2), clock=harness.clock)
    worker = harness.processes[0].worker
    await worker.applier.apply(
        plan.actions,
        observed,
        observed.chosen,
        guard=guard,
        journal=Journal(device=observed.record.device, clock=harness.clock),
    )
