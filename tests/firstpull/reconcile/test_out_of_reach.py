"""A hub that the policy dropped, and services that are gone or do not answer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.config.policy import Policy
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import Invalid, NotKnown, Transient
from firstpull.model.reasons import Reason
from firstpull.reconcile.dry_run import Proposal
from tests.firstpull.harness import (
    HUB,
    OTHER_REGISTRY,
    PLANT_ONE,
    REGISTRY,
    Harness,
    make_policy,
    make_process,
)
from tests.firstpull.refusals import DENIED, NO_ANSWER, refuse
from tests.world.ports import FakeContainerRegistries, FakeHubs

HOUR = timedelta(hours=1)
OTHER_HUB = "hub-2.azure-devices.net"
HUB_CALLS = ("twin", "generation_id", "patch_desired")


def restart_with(harness: Harness, policy: Policy) -> None:
    harness.policy = policy
    harness.processes = [make_process(harness.cloud, policy)]


async def test_a_device_of_a_hub_that_the_policy_dropped_is_found_and_revoked() -> None:
    harness = Harness()
    device = await harness.make_ready()
    restart_with(harness, make_policy(hubs=[OTHER_HUB]))
    onboarding = harness.processes[0].onboarding
    assert onboarding.device("press-1", hub=HUB.upper()) == device
    assert (await onboarding.find(device)).device == device
    await harness.revoke(device)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.twin_entry(device, PLANT_ONE)
    with pytest.raises(NotKnown):
        await onboarding.find(DeviceKey(hub=HUB, device_id="press-2"))
    with pytest.raises(Invalid):
        onboarding.device("press-1", hub="no host")


async def test_a_revoke_does_not_wait_for_a_hub_that_the_policy_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    restart_with(harness, make_policy(hubs=[OTHER_HUB]))
    refuse(monkeypatch, FakeHubs, HUB_CALLS, of=HUB, error=NO_ANSWER)
    await harness.revoke(device)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.tokens


async def test_a_revoke_waits_for_a_hub_of_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    device = await harness.make_ready()
    with monkeypatch.context() as patch:
        refuse(patch, FakeHubs, HUB_CALLS, of=HUB, error=NO_ANSWER)
        await harness.revoke(device)
        await harness.run_for(HOUR)
        assert harness.state(device) is State.REVOKING
    await harness.run_for(HOUR)
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.twin_entry(device, PLANT_ONE)


async def test_a_sweep_does_not_read_what_only_tombstones_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.revoke(device)
    await harness.run_for(24 * HOUR)
    assert harness.cloud.record(device).is_tombstone
    restart_with(harness, make_policy(hubs=[OTHER_HUB], containerRegistries=[OTHER_REGISTRY]))
    refuse(monkeypatch, FakeContainerRegistries, ("list_tokens",), of=REGISTRY, error=DENIED)
    refuse(monkeypatch, FakeHubs, ("list_devices",), of=HUB, error=NO_ANSWER)
    report = await harness.sweep()
    assert (report.unread, report.complete_at) == ((), report.finished_at)


async def test_a_dry_run_of_a_revoke_is_whole_or_says_why_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    device = await harness.make_ready()

    async def dry_run() -> Proposal:
        application = harness.processes[0].application
        proposed = await application.revoking.propose_within_limit(device, requested_by="a test")
        return await application.dry_run.plan_for(proposed)

    assert len((await dry_run()).actions) == 6
    reading = ("get_token",)
    with monkeypatch.context() as patch:
        refuse(patch, FakeContainerRegistries, reading, of=REGISTRY, error=NO_ANSWER)
        with pytest.raises(Transient):
            await dry_run()
    refuse(monkeypatch, FakeContainerRegistries, reading, of=REGISTRY, error=DENIED)
    blocked = await dry_run()
    blocker = blocked.finding
    assert blocked.actions == ()
    assert blocker is not None
    assert (blocker.reason, blocker.remedy) == (Reason.ACCESS_DENIED, DENIED.remedy)
