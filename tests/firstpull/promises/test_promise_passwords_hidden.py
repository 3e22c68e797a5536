"""P6: a password is in Key Vault and in the delivery, and nowhere else.

Records, ledgers and reconcile requests are searched for every password after every write.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from firstpull.model.errors import FirstpullError
from firstpull.model.history import Journal
from firstpull.model.reasons import Reason
from firstpull.reconcile.plan import make_plan
from tests.firstpull.harness import PLANT_ONE, VALIDITY, Harness
from tests.firstpull.records import provision
from tests.world.calls import FAULTS, Fault


async def test_the_fakes_note_a_password_in_a_record() -> None:
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
        await harness.rotate(device)
        await harness.run_until_quiet()
        harness.cloud.register(device)
        await harness.ask()
        await harness.run_until_quiet()
    assert len(harness.cloud.passwords_made) == 3
    assert "device.credential.delivered" in caplog.text
    assert not harness.cloud.shows_password(caplog.text)


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_no_log_line_of_a_failure_holds_a_password(
    caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    with caplog.at_level(logging.DEBUG):
        harness = Harness()
        harness.register()
        await harness.ask()
        for operation in ("registries.generate_password", "secrets.put", "hubs.patch_desired"):
            with harness.cloud.failing(operation, fault=fault, times=1):
                await harness.run_for(timedelta(minutes=10))
        await harness.run_for(timedelta(hours=1))
    assert harness.cloud.faults_met >= 1
    assert harness.cloud.passwords_made
    assert not harness.cloud.shows_password(caplog.text)


async def test_an_unexpected_error_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its text may hold anything."""
    harness = Harness()
    device = harness.register()
    await harness.ask()

    def crash() -> None:
        raise ValueError(harness.cloud.passwords_made[0])

    harness.cloud.act(crash, at="hubs.patch_desired")
    with caplog.at_level(logging.DEBUG):
        await harness.processes[0].worker.reconcile(device)
    assert harness.reason(device) is Reason.INTERNAL_ERROR
    assert "ValueError" in caplog.text
    assert "_deliver" in caplog.text
    assert not harness.cloud.shows_password(caplog.text + harness.cloud.records[device][0])


class Unlimited:
    """A claim that never ends."""

    def check(self) -> None:
        """Let every write begin."""


@pytest.mark.parametrize("operation", ["secrets.read", "hubs.patch_desired"])
async def test_neither_a_plan_nor_an_error_holds_a_password(operation: str) -> None:
    """Carried out without the reconciler, which would record the error rather than raise it."""
    harness = Harness()
    device = await harness.make_ready()
    worker, now = harness.processes[0].worker, harness.clock.now()
    harness.cloud.edit_entry(device, PLANT_ONE, {"address": "elsewhere"})
    observed = await worker.observer.observe(harness.cloud.record(device))
    plan = provision(make_plan(observed, now=now, validity=VALIDITY))
    journal = Journal(device=device, clock=harness.clock)
    with (
        harness.cloud.failing(operation, fault=Fault.ANSWER_LOST),
        pytest.raises(FirstpullError) as raised,
    ):
        await worker.applier.apply(plan.steps, guard=Unlimited(), journal=journal)
    error = raised.value
    shown = f"{plan!r} {error!r} {error.message} {error.__cause__!r} {error.__context__!r}"
    assert not harness.cloud.shows_password(shown)
