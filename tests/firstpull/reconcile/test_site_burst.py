"""A site of many: what a burst of devices reads of Azure Resource Manager, by counts."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from tests.firstpull.harness import REGISTRY, Harness, make_policy
from tests.firstpull.virtual_clock import VirtualClock
from tests.world.cloud import Cloud

PLACES = 5
PLANTS = tuple(ConnectedRegistryRef(registry=REGISTRY, name=f"plant{n}") for n in range(8))
_ARM_READS = (
    "registries.get_",
    "registries.list_",
    "registries.synced_actions",
    "registries.synced_actions",  # a token and its scope map
)


def site_of_eight(*, places: int = PLACES, processes: int = 1) -> Harness:
    """A site of eight connected registries, each with a few places."""
    names = [ref.name for ref in PLANTS]
    policy = make_policy(
        connectedRegistries=[{"name": name, "capacity": places} for name in names],
        sites=[{"name": "plant", "connectedRegistries": names}],
    )
    harness = Harness(policy=policy, processes=processes, cloud=Cloud(VirtualClock()))
    for ref in PLANTS:
        harness.cloud.connect(ref, login_server=f"{ref.name}.site.example:8000")
    return harness


async def ask_for_many(harness: Harness, number: int, *, by_site: bool) -> list[DeviceKey]:
    """Requests for devices that the hub knows: by site, or by the name of the place they get."""
    devices = [harness.register(f"press-{n:03}") for n in range(number)]
    for n, device in enumerate(devices):
        target = (
            {"connectedRegistry": None, "site": "plant"}
            if by_site
            else {"connectedRegistry": PLANTS[n // PLACES].name}
        )
        await harness.ask(device.device_id, **target)
    return devices


def arm_reads(calls: list[str]) -> int:
    """How many requests these calls send to Azure Resource Manager to read."""
    return sum(call.startswith(prefix) for call in calls for prefix in _ARM_READS)


async def deliver_to_many(*, by_site: bool, processes: int = 1) -> tuple[Harness, list[str]]:
    """A burst that fills the site, until all are delivered to; and its calls."""
    harness = site_of_eight(processes=processes)
    harness.devices_answer = False
    devices = await ask_for_many(harness, PLACES * len(PLANTS), by_site=by_site)
    begun = len(harness.cloud.calls)
    assert await harness.run_until(
        lambda: all(harness.state(device) is State.DELIVERED for device in devices),
        timedelta(minutes=5),
    )
    harness.check_promises()
    return harness, harness.cloud.calls[begun:]


async def test_a_burst_by_site_costs_as_much_as_by_name_and_reads_four_times_a_device() -> None:
    (_, by_name), (harness, by_site) = (
        await deliver_to_many(by_site=False),
        await deliver_to_many(by_site=True),
    )
    devices = len(harness.cloud.records)
    assert arm_reads(by_site) <= 4 * devices
    assert arm_reads(by_site) <= 1.1 * arm_reads(by_name)
    assert len(by_site) <= 1.1 * len(by_name)  # a ledger of the site is not read by each device
    assert Counter(by_site)["hubs.generation_id"] <= 1.1 * devices  # nearly nobody began again
    assert {ref.name: len(harness.cloud.clients(ref)) for ref in PLANTS} == {
        ref.name: PLACES for ref in PLANTS
    }


async def test_two_processes_fill_a_site_and_no_connected_registry_takes_too_many() -> None:
    harness, _ = await deliver_to_many(by_site=True, processes=2)
    assert max(harness.cloud.list_sizes) <= PLACES


async def test_the_first_connected_registry_with_room_is_the_last_that_is_looked_at() -> None:
    harness = site_of_eight()
    read: list[str] = []

    def note(_: int, operation: str) -> None:
        if operation == "ledgers.get" or "connected_registr" in operation:
            read.append(operation)

    harness.register()
    harness.cloud.before_call = note
    await harness.ask(connectedRegistry=None, site="plant")
    await harness.run_until_quiet()
    assert Counter(read)["registries.list_connected_registries"] == 0
    # One look, one under the lease; the passes after the delivery, the login and two minutes.
    assert Counter(read)["registries.get_connected_registry"] <= 5


async def test_devices_that_wait_for_room_share_one_look() -> None:
    harness = site_of_eight(places=1)
    for ref in PLANTS:
        harness.cloud.add_foreign_client(ref, f"foreign-at-{ref.name}")
    devices = await ask_for_many(harness, 60, by_site=True)
    await harness.run_until(
        lambda: all(harness.reason(device) is Reason.SITE_FULL for device in devices),
        timedelta(minutes=1),
    )
    begun, since = len(harness.cloud.calls), harness.clock.now()
    await harness.run_for(timedelta(minutes=30))
    looks = Counter(harness.cloud.calls[begun:])
    assert looks["hubs.twin"] >= 2 * len(devices)  # each looked again, more than once
    minutes = (harness.clock.now() - since) / timedelta(minutes=1)
    assert arm_reads(harness.cloud.calls[begun:]) <= 3 * minutes  # not eight for each device


async def test_room_that_one_of_ours_has_left_is_free_at_once() -> None:
    """A shared look does not count a client that has left since as somebody else's."""
    harness = site_of_eight(places=1, processes=2)
    first = await harness.make_ready("press-1", connectedRegistry=PLANTS[0].name)
    second = harness.register("press-2")
    await harness.ask("press-2", connectedRegistry=PLANTS[0].name)
    await harness.run_until(
        lambda: harness.reason(second) is Reason.CONNECTED_REGISTRY_FULL, timedelta(minutes=1)
    )
    for process in harness.processes:  # both have just looked
        await process.application.worker.observer.shared.look_at(PLANTS[0])
    await harness.revoke(first)
    await harness.run_until(lambda: harness.state(first) is State.REVOKED, timedelta(seconds=4))
    for process in harness.processes:
        look = await process.application.worker.observer.shared.look_at(PLANTS[0])
        there = look.with_ledger(harness.cloud.ledger(PLANTS[0]))
        assert there is not None
        assert there.client_token_ids == ()


async def test_a_foreign_client_that_came_since_the_shared_look_takes_its_place() -> None:
    """Who gets one of the last places looks again, before anything else is made."""
    harness = site_of_eight(places=1)
    device = harness.register()
    (process,) = harness.processes
    await process.application.worker.observer.shared.look_at(PLANTS[0])
    harness.cloud.add_foreign_client(PLANTS[0], "foreign")
    await harness.ask(connectedRegistry=None, site="plant")
    await harness.run_until_quiet()
    grant = harness.cloud.record(device).status.grant
    assert grant is not None
    assert grant.ref == PLANTS[1]


async def test_a_burst_takes_no_place_that_a_foreign_client_took_since_the_shared_look() -> None:
    harness = site_of_eight(places=4)
    (process,) = harness.processes
    await process.application.worker.observer.shared.look_at(PLANTS[0])
    harness.cloud.add_foreign_client(PLANTS[0], "foreign")
    reserved: list[int] = []
    harness.cloud.after_write = lambda: reserved.append(
        len(harness.cloud.ledger(PLANTS[0]).entries)
    )
    await ask_for_many(harness, 4, by_site=False)
    await harness.run_for(timedelta(seconds=30))
    assert max(reserved) == 3


async def test_a_dry_run_keeps_nobody_from_a_place() -> None:
    harness = site_of_eight(places=1)
    (process,) = harness.processes
    device, other = harness.register(), harness.register("press-2")
    target = {"connectedRegistry": None, "site": "plant"}
    asked = harness.request(other.device_id, **target)
    proposed = await process.application.onboarding.propose(asked, requested_by="a test")
    await process.application.dry_run.plan_for(proposed)
    await harness.ask(device.device_id, **target)
    await harness.run_until_quiet()
    grant = harness.cloud.record(device).status.grant
    assert grant is not None
    assert grant.ref == PLANTS[0]


async def test_a_throttled_look_changes_no_delivered_device() -> None:
    harness = Harness()
    ready = await harness.make_ready("press-1")
    harness.devices_answer = False
    delivered = harness.register("press-2")
    await harness.ask("press-2")
    await harness.run_until(
        lambda: harness.state(delivered) is State.DELIVERED, timedelta(minutes=1)
    )
    before = {device: harness.cloud.record(device).status for device in (ready, delivered)}
    with harness.cloud.unavailable("registries."):
        await harness.run_for(timedelta(minutes=10))
        for device, status in before.items():
            await harness.reconcile(device)
            record = harness.cloud.record(device)
            assert record.status.condition == status.condition
            assert record.schedule.attempts > 0
    await harness.run_for(timedelta(minutes=10))
    assert harness.cloud.record(ready).schedule.attempts == 0


async def test_a_throttled_look_at_a_converged_device_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The alert on throttling counts these events."""
    harness = Harness()
    device = await harness.make_ready()
    caplog.clear()
    with caplog.at_level("INFO"), harness.cloud.unavailable("registries."):
        harness.clock.advance(timedelta(minutes=5))
        await harness.reconcile(device)
    assert any(
        line.startswith("device.reconcile.converging") and "ServiceUnavailable" in line
        for line in caplog.messages
    )
