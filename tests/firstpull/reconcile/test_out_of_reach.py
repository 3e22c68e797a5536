"""Hubs and container registries that the policy drops, that are gone, or that do not answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from firstpull.config.policy import Policy
from firstpull.fleet.sites import UNKNOWN
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from firstpull.model.device_record import State
from firstpull.model.errors import Blocked, FirstpullError, Invalid, NotKnown, Transient
from firstpull.model.reasons import Reason
from firstpull.model.record_codec import from_json, to_json
from firstpull.reconcile.plan import Plan
from tests.firstpull.fakes import FakeContainerRegistries, FakeHubs
from tests.firstpull.harness import (
    HUB,
    PLANT_ONE,
    REGISTRY,
    Harness,
    connect,
    make_policy,
    make_process,
)
from tests.firstpull.records import blocker_of, grant_of

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OTHER_HUB = "hub-2.azure-devices.net"
OTHER = RegistryId(f"{REGISTRY}2")
ELSEWHERE = ConnectedRegistryRef(registry=OTHER, name="portone")
NO_ANSWER = Transient(Reason.SERVICE_UNAVAILABLE, "No answer.")
DENIED = Blocked(Reason.ACCESS_DENIED, "The container registry answered 403.", remedy="A role.")


def drop(harness: Harness, policy: Policy) -> None:
    """The settings are others from now on."""
    harness.policy = policy
    harness.processes = [make_process(harness.cloud, policy)]


def refuse(
    patch: pytest.MonkeyPatch, port: type, names: tuple[str, ...], of: object, error: FirstpullError
) -> None:
    """Have every call of these names fail that is about one container registry, or hub."""
    for name in names:
        patch.setattr(port, name, _refusing(getattr(port, name), of, error))


def _refusing(
    real: Callable[..., Awaitable[Any]], of: object, error: FirstpullError
) -> Callable[..., Awaitable[Any]]:
    async def call(port: object, what: Any, *more: Any, **named: Any) -> Any:  # noqa: ANN401 - any call
        about = getattr(what, "registry", getattr(what, "hub", what))
        if about == of:
            raise error
        return await real(port, what, *more, **named)

    return call


def over_two_registries() -> Harness:
    """A second container registry, with a connected registry of its own."""
    policy = make_policy(
        containerRegistries=[REGISTRY, OTHER],
        connectedRegistries=[
            {"name": "plantone"},
            {"name": "portone", "containerRegistry": "acrtest2"},
        ],
        sites=[],
    )
    harness = Harness(policy=policy)
    connect(harness.cloud, ELSEWHERE, login_server="portone.other.example:8000")
    return harness


async def test_a_device_of_a_hub_that_the_policy_dropped_is_found_and_revoked() -> None:
    harness = Harness()
    device = await harness.make_ready()
    drop(harness, make_policy(hubs=[OTHER_HUB]))
    onboarding = harness.processes[0].onboarding
    assert onboarding.device("press-1", hub=HUB.upper()) == device
    assert (await onboarding.find(device)).device == device
    await harness.revoke(device)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.twin_entry(device, PLANT_ONE)
    with pytest.raises(NotKnown):
        await onboarding.find(onboarding.device("press-2", hub=HUB))
    with pytest.raises(Invalid):
        onboarding.device("press-1", hub="no host")


async def test_a_revoke_does_not_wait_for_a_hub_that_was_dropped_and_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    drop(harness, make_policy(hubs=[OTHER_HUB]))
    refuse(monkeypatch, FakeHubs, ("twin", "generation_id", "patch_desired"), HUB, NO_ANSWER)
    await harness.revoke(device)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.tokens


async def test_a_revoke_waits_for_a_hub_of_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    device = await harness.make_ready()
    with monkeypatch.context() as patch:
        refuse(patch, FakeHubs, ("twin", "generation_id", "patch_desired"), HUB, NO_ANSWER)
        await harness.revoke(device)
        await harness.run_for(HOUR)
        assert harness.state(device) is State.REVOKING
    await harness.run_for(HOUR)
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.twin_entry(device, PLANT_ONE)


async def test_tombstones_keep_no_sweep_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.revoke(device)
    await harness.run_for(DAY)
    assert harness.cloud.record(device).is_tombstone
    drop(harness, make_policy(hubs=[OTHER_HUB], containerRegistries=[OTHER]))
    refuse(monkeypatch, FakeContainerRegistries, ("list_tokens",), REGISTRY, DENIED)
    refuse(monkeypatch, FakeHubs, ("list_devices",), HUB, NO_ANSWER)
    report = await harness.sweep()
    assert (report.unread, report.complete_at) == ((), report.finished_at)


async def test_sites_are_told_though_one_container_registry_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = over_two_registries()
    listing = ("list_connected_registries",)
    refuse(monkeypatch, FakeContainerRegistries, listing, OTHER, NO_ANSWER)
    view = await harness.processes[0].application.sites.view()
    rooms = {room.ref.name: (room.state, room.free) for room in view.others}
    assert rooms == {"plantone": (None, 50), "portone": (UNKNOWN, 0)}
    refuse(monkeypatch, FakeContainerRegistries, listing, REGISTRY, NO_ANSWER)
    with pytest.raises(Transient):
        await harness.processes[0].application.sites.view()


async def test_a_record_that_spells_its_registry_in_another_case_is_the_same_record() -> None:
    harness = Harness()
    found = harness.cloud.record(await harness.make_ready())
    again = from_json(to_json(found).replace(str(REGISTRY), str(REGISTRY).lower()))
    assert again == found
    assert str(grant_of(again).ref.registry) == str(REGISTRY).lower()


async def test_a_record_of_a_later_version_is_not_taken_for_one_of_this() -> None:
    harness = Harness()
    document = json.loads(to_json(harness.cloud.record(await harness.make_ready())))
    document["schema_version"] += 1
    with pytest.raises(ValueError, match="schema"):
        from_json(json.dumps(document))


async def preview_of_a_revoke(harness: Harness) -> Plan:
    application = harness.processes[0].application
    device = next(iter(harness.cloud.devices))
    proposed = await application.revoking.propose(device, requested_by="a test")
    return await application.dry_run.plan_for(proposed)


async def test_a_dry_run_of_a_revoke_is_whole_or_says_why_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    await harness.make_ready()
    whole = await preview_of_a_revoke(harness)
    assert len(whole.actions) == 5
    with monkeypatch.context() as patch:
        refuse(patch, FakeContainerRegistries, ("get_token",), REGISTRY, NO_ANSWER)
        with pytest.raises(Transient):
            await preview_of_a_revoke(harness)
    refuse(monkeypatch, FakeContainerRegistries, ("get_token",), REGISTRY, DENIED)
    plan = await preview_of_a_revoke(harness)
    assert plan.actions == ()
    blocker = blocker_of(plan)
    assert blocker is not None
    assert (blocker.reason, blocker.remedy) == (Reason.ACCESS_DENIED, DENIED.remedy)
