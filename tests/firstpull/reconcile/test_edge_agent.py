"""Deliveries to the IoT Edge runtime, by its rules."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.reasons import Reason
from local_azure.iot_hub.models import EDGE_AGENT
from local_azure.iot_hub.twins import Json, JsonObject
from tests.firstpull.harness import HUB, PLANT_ONE, PLANT_TWO, VALIDITY, Harness
from tests.world.calls import Fault
from tests.world.edge import DEPLOYMENT, Edge

ELSEWHERE = ["agentImageElsewhere"]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class _World:
    """One Edge device with firstpull."""

    def __init__(self, *, deployed: bool = True, sync_every: timedelta | None = MINUTE) -> None:
        self.harness = Harness(sync_every=sync_every)
        self.cloud = self.harness.cloud
        self.key = DeviceKey(hub=HUB, device_id="edge-1")
        self.edge = Edge(self.cloud, self.key, deployed=deployed)

    async def ask(self, **changes: object) -> None:
        await self.harness.ask("edge-1", **({"delivery": "edgeAgent"} | changes))

    async def play(self, minutes: int = 8) -> None:
        """Let minutes pass."""
        await self.harness.run_for(minutes * MINUTE)

    @property
    def record(self) -> DeviceRecord:
        return self.cloud.record(self.key)

    @property
    def state(self) -> tuple[State, Reason]:
        condition = self.record.status.condition
        return condition.state, condition.reason

    @property
    def ours(self) -> dict[str, JsonObject]:
        """The entries of firstpull's."""
        return {k: v for k, v in self.edge.credentials.items() if k.startswith("firstpull-")}

    def entry(self) -> JsonObject:
        (entry,) = self.ours.values()
        return entry

    def pulls(self, ref: ConnectedRegistryRef = PLANT_ONE) -> bool:
        return self.edge.pulls(ref, f"{ref.name}.site.example:8000")


READY = (State.READY, Reason.ACKNOWLEDGED)


async def _ready(**changes: object) -> _World:
    world = _World()
    await world.ask(**changes)
    await world.play()
    assert world.state == READY
    assert world.pulls()
    return world


async def test_edge_agent_gets_its_own_entry_alone_and_the_rest_of_its_twin_stays() -> None:
    world = _World()
    foreign: JsonObject = {"address": "other.example", "username": "u", "password": "p"}
    world.edge.put_credential("theirs", foreign)
    await world.ask()
    await world.play()
    assert world.state == READY
    assert world.edge.credentials["theirs"] == foreign
    (name,) = world.ours
    assert name.startswith("firstpull-plantone-2026")
    assert "." not in name
    assert world.entry().keys() == {"address", "username", "password"}
    assert world.entry()["address"] == "plantone.site.example:8000"
    assert not world.cloud.twin_entry(world.key, PLANT_ONE)
    assert world.pulls()


async def test_what_edge_agent_took_counts_after_one_more_sync() -> None:
    world = _World(sync_every=None)
    await world.ask()
    await world.play()
    assert world.state == (State.DELIVERED, Reason.AWAITING_SYNC)
    assert not world.pulls()
    world.cloud.sync(PLANT_ONE)
    await world.play()
    assert world.state == READY
    assert world.pulls()


async def test_a_later_version_that_edge_agent_refused_is_no_acknowledgement() -> None:
    world = _World()
    world.edge.deploy({"schemaVersion": None})
    await world.ask()
    await world.play()
    assert world.state == (State.DELIVERED, Reason.DEVICE_REPORTS_FAILURE)
    assert "ConfigFormatError" in world.record.status.condition.message
    world.edge.deploy(DEPLOYMENT)
    await world.play(20)
    assert world.state == READY


async def test_what_edge_agent_took_in_the_end_counts_at_the_first_sync_after_it() -> None:
    world = _World(sync_every=3 * SECOND)
    world.edge.deploy({"schemaVersion": None})
    await world.ask()
    await world.harness.run_for(5 * SECOND)
    assert world.state == (State.DELIVERED, Reason.DEVICE_REPORTS_FAILURE)
    world.edge.deploy(DEPLOYMENT)
    await world.harness.run_for(12 * SECOND)
    assert world.state == READY


async def test_a_deployment_after_the_login_needs_no_other_sync() -> None:
    world = await _ready()
    world.harness._sync_every = None
    world.edge.deploy({"modules": {"app": {"type": "docker"}}})
    await world.play()
    await world.harness.run_for(DAY)
    assert world.state == READY


async def test_a_rotation_replaces_the_entry_in_place_and_the_old_slot_waits_for_its_expiry() -> (
    None
):
    world = await _ready()
    first = world.entry()
    await world.harness.rotate(world.key)
    await world.play()
    assert (world.state, world.pulls()) == (READY, True)
    assert world.entry()["password"] != first["password"]
    token = str(first["username"])
    assert len(world.cloud.accepted(token)) == 2
    await world.harness.rotate(world.key)
    await world.play()
    assert world.state == (State.WAITING, Reason.NO_FREE_SLOT)
    assert "neither" not in world.record.status.condition.message
    assert first["password"] in world.cloud.accepted(token)


async def test_a_rotation_that_waits_for_an_expiry_is_looked_at_once_an_hour() -> None:
    world = await _ready()
    for _ in range(2):
        await world.harness.rotate(world.key)
        await world.play()
    await world.harness.run_for(2 * DAY)
    before = len(world.cloud.calls)
    await world.harness.run_for(DAY)
    looked = [call for call in world.cloud.calls[before:] if call == "registries.get_token"]
    assert 0 < len(looked) <= 24


async def test_with_the_agents_image_from_elsewhere_the_old_slot_goes() -> None:
    world = await _ready(deliveryOptions=ELSEWHERE)
    first = world.entry()
    for _ in range(3):
        await world.harness.rotate(world.key)
        await world.play()
        assert (world.state, world.pulls()) == (READY, True)
        assert world.cloud.accepted(str(first["username"])) == {world.entry()["password"]}


@pytest.mark.parametrize("options", [pytest.param(None, marks=pytest.mark.slow), ELSEWHERE])
async def test_renewals_never_let_the_password_expire(options: list[str] | None) -> None:
    world = await _ready(deliveryOptions=options)
    for _ in range(50):
        await world.harness.run_for(5 * DAY)
        await world.play(3)
        assert world.pulls()
        delivery = world.record.delivery
        assert delivery is not None
        assert delivery.expires_at - world.harness.clock.now() > VALIDITY / 3
        assert world.record.status.warnings == ()


@pytest.mark.parametrize(
    "apart", [MINUTE, *(pytest.param(n * DAY, marks=pytest.mark.slow) for n in (20, 40))]
)
async def test_after_a_rotation_at_any_time_a_private_image_can_always_be_pulled(
    apart: timedelta,
) -> None:
    """A person writes each password into config.toml within ten days; a site syncs once a day."""
    world = _World(sync_every=DAY)
    await world.ask()
    await world.harness.run_for(2 * DAY)
    ours = world.entry()
    await world.harness.run_for(apart)
    await world.harness.rotate(world.key)
    await world.harness.run_for(2 * DAY)
    assert world.entry()["password"] != ours["password"]
    seen = world.entry()
    written_at = world.harness.clock.now() + 10 * DAY
    for _ in range(300):
        await world.harness.run_for(DAY)
        if world.entry() != seen:
            seen, written_at = world.entry(), world.harness.clock.now() + 10 * DAY
        if world.harness.clock.now() >= written_at:
            ours = seen
        assert world.pulls(), "a module's image"
        login = str(ours["username"]), str(ours["password"])
        assert world.cloud.site_accepts(PLANT_ONE, *login), "edgeAgent's own image"


async def test_a_move_makes_before_it_breaks() -> None:
    world = await _ready()
    world.harness.devices_answer = False
    await world.ask(connectedRegistry="planttwo")
    await world.play()
    assert {name.split("-")[1] for name in world.ours} == {"plantone", "planttwo"}
    assert world.pulls(PLANT_ONE)
    world.harness.devices_answer = True
    await world.play()
    assert (world.state, world.pulls(PLANT_TWO)) == (READY, True)
    assert {name.split("-")[1] for name in world.ours} == {"planttwo"}
    assert world.cloud.clients(PLANT_ONE) == []


async def test_a_revoke_takes_the_entry_away_and_no_other() -> None:
    world = await _ready()
    foreign: JsonObject = {"address": "other.example", "username": "u", "password": "p"}
    world.edge.put_credential("theirs", foreign)
    await world.harness.revoke(world.key)
    await world.play()
    assert world.state == (State.REVOKED, Reason.REVOKED)
    assert world.edge.credentials == {"theirs": foreign}
    assert not world.pulls()
    assert world.cloud.violations == []


async def test_a_change_of_kind_moves_the_delivery_from_the_device_twin_to_edge_agent() -> None:
    world = _World()
    await world.harness.ask("edge-1")
    await world.play()
    entry = world.cloud.twin_entry(world.key, PLANT_ONE)
    world.harness.devices_answer = False
    await world.ask()
    await world.play()
    assert world.cloud.twin_entry(world.key, PLANT_ONE) == entry
    world.harness.devices_answer = True
    await world.play()
    assert world.state == READY
    assert not world.cloud.twin_entry(world.key, PLANT_ONE)
    assert world.entry()["password"] == entry["password"]


MALFORMED: dict[str, Json] = {
    "no password": {"address": "other.example", "username": "u"},
    "blank user name": {"address": "other.example", "username": " ", "password": "p"},
    "no object": "other.example",
}


@pytest.mark.parametrize("entry", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_entry_of_somebody_else_blocks_before_anything_is_made(
    entry: Json,
) -> None:
    world = _World()
    world.edge.put_credential("theirs", entry)
    await world.ask()
    await world.play()
    assert world.state == (State.BLOCKED, Reason.EDGE_CREDENTIALS_MALFORMED)
    assert "theirs" in world.record.status.condition.message
    assert world.cloud.passwords_made == []
    world.edge.put_credential("theirs", None)
    await world.play(12)
    assert world.state == READY


@pytest.mark.parametrize("address", ["plantone.site.example:8000", "PLANTONE.site.example:8000"])
async def test_another_entry_for_the_address_blocks(address: str) -> None:
    world = _World()
    world.edge.put_credential("theirs", {"address": address, "username": "u", "password": "p"})
    await world.ask()
    await world.play()
    assert world.state == (State.BLOCKED, Reason.TWIN_ENTRY_NOT_OURS)
    world.edge.put_credential("theirs", None)
    await world.play(12)
    assert world.state == READY


async def test_without_a_deployment_the_device_waits_for_one() -> None:
    world = _World(deployed=False)
    await world.ask()
    await world.play()
    assert world.state == (State.WAITING, Reason.EDGE_RUNTIME_NOT_READY)
    assert world.edge.credentials == {}
    world.edge.deploy(DEPLOYMENT)
    await world.play()
    assert world.state == READY


async def test_another_runtime_than_docker_blocks() -> None:
    world = _World()
    world.edge.deploy({"runtime": {"type": "kubernetes"}})
    await world.ask()
    await world.play()
    assert world.state == (State.BLOCKED, Reason.EDGE_RUNTIME_NOT_READY)


async def test_a_device_without_the_runtime_is_refused_with_the_remedy() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask(delivery="edgeAgent")
    await harness.run_for(MINUTE)
    condition = harness.cloud.record(device).status.condition
    assert (condition.state, condition.reason) == (State.BLOCKED, Reason.NOT_AN_EDGE_DEVICE)


async def test_under_an_automatic_deployment_firstpull_prints_the_layer_and_takes_it() -> None:
    world = _World()
    world.cloud.hub.deploy("edge-1", "fleet-base")
    await world.ask()
    await world.play()
    assert world.state == (State.BLOCKED, Reason.AUTOMATIC_DEPLOYMENT)
    assert world.ours == {}
    remedy = world.record.status.condition.remedy or ""
    layer = json.loads(remedy[remedy.index("{") :])
    assert layer["targetCondition"] == "deviceId='edge-1'"
    (path, entry), *others = layer["content"]["modulesContent"][EDGE_AGENT].items()
    assert not others
    prefix, name = path.rsplit(".", 1)
    assert prefix == "properties.desired.runtime.settings.registryCredentials"
    (password,) = world.cloud.passwords_made
    assert password not in remedy
    ((secret, (version,)),) = world.cloud.secrets.items()
    assert f" secrets/{secret}/{version.version}: " in remedy

    world.edge.put_credential(name, entry | {"password": "not the password"})
    await world.play()
    assert world.state == (State.BLOCKED, Reason.AUTOMATIC_DEPLOYMENT)
    assert "another password" in world.record.status.condition.message
    world.edge.put_credential(name, entry | {"password": password})
    await world.play(15)
    assert (world.state, world.pulls()) == (READY, True)
    assert world.cloud.passwords_made == [password]


async def test_an_edge_device_that_does_not_answer_to_its_twin_gets_a_warning_with_the_kind() -> (
    None
):
    world = _World()
    world.harness.devices_answer = False
    await world.harness.ask("edge-1")
    await world.harness.run_for(2 * HOUR)
    (warning,) = world.record.status.warnings
    assert warning.reason is Reason.DELIVERY_NOT_READ
    assert "`delivery: edgeAgent`" in warning.message
    world.harness.devices_answer = True
    await world.harness.run_for(2 * HOUR)
    assert world.record.status.warnings == ()


async def test_the_last_third_of_a_life_is_worth_a_warning() -> None:
    world = await _ready()
    world.cloud.hub.deploy("edge-1", "fleet-base")  # nothing is replaced any more
    delivery = world.record.delivery
    assert delivery is not None
    life = delivery.expires_at - world.harness.clock.now()
    await world.harness.run_after(0.6 * life)
    assert Reason.PASSWORD_EXPIRES_SOON not in {w.reason for w in world.record.status.warnings}
    await world.harness.run_after(0.07 * life)
    assert Reason.PASSWORD_EXPIRES_SOON in {w.reason for w in world.record.status.warnings}


async def test_an_edited_entry_is_written_again() -> None:
    world = await _ready()
    (name, entry), *_ = world.ours.items()
    world.edge.put_credential(name, {"password": "edited"})
    await world.harness.sweep()
    await world.play()
    assert world.ours == {name: entry}
    world.edge.put_credential(name, None)
    await world.harness.sweep()
    await world.play()
    assert world.ours == {name: entry}


@pytest.mark.parametrize("fault", [Fault.CRASH_AFTER, Fault.ANSWER_LOST])
@pytest.mark.parametrize("immediately", [False, True], ids=["rotation", "immediate rotation"])
async def test_a_fault_at_the_delivery_leaves_one_entry_that_works(
    fault: Fault, *, immediately: bool
) -> None:
    world = _World()
    world.cloud.inject(fault, at="hubs.patch_desired")
    await world.ask()
    await world.play(12)
    assert (world.state, world.pulls(), len(world.ours)) == (READY, True, 1)
    world.cloud.inject(fault, at="hubs.patch_desired")
    await world.harness.rotate(world.key, immediately=immediately)
    await world.play(12)
    assert (world.state, world.pulls(), len(world.ours)) == (READY, True, 1)
    assert len(world.cloud.passwords_made) == 2
    assert world.cloud.violations == []


async def test_who_writes_to_the_twin_meanwhile_loses_nothing() -> None:
    world = _World()
    foreign: JsonObject = {"address": "other.example", "username": "u", "password": "p"}
    world.cloud.act(lambda: world.edge.put_credential("theirs", foreign), at="hubs.patch_desired")
    await world.ask()
    await world.play()
    assert world.cloud.calls.count("hubs.patch_desired") == 2
    assert (world.state, world.edge.credentials["theirs"]) == (READY, foreign)


async def test_a_lost_record_of_an_edge_device_comes_back() -> None:
    world = await _ready()
    entries = world.ours
    world.cloud.lose_record(world.key)
    await world.ask()
    await world.play(12)
    assert (world.state, world.ours) == (READY, entries)
    world.cloud.lose_record(world.key)
    await world.harness.revoke(world.key)
    await world.play()
    assert world.ours == {}


async def test_lost_records_of_edge_devices_come_back_by_pages_with_what_was_delivered() -> None:
    world = await _ready()
    entries, delivery = world.ours, world.record.status.delivery
    world.harness._sync_every = None
    await world.harness.rotate(world.key)
    await world.play()
    assert len(world.cloud.passwords_made) == 2
    world.cloud.lose_record(world.key)
    rebuilding = world.harness.processes[0].application.rebuilding
    await rebuilding.page(after=None, size=10, dry_run=False)
    found = world.record.status.delivery
    assert (found and found.id) == (delivery and delivery.id)
    await world.play()
    assert world.ours == entries, "the newest password was delivered before the sync"


async def test_the_sweep_asks_for_modules_where_a_device_has_its_delivery_there() -> None:
    world = await _ready()
    await world.harness.sweep()
    assert world.cloud.calls.count("hubs.list_modules") == 1
    other = Harness()
    await other.make_ready()
    await other.sweep()
    assert other.cloud.calls.count("hubs.list_modules") == 0
    assert other.cloud.calls.count("hubs.module_twin") == 0
