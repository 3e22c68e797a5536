"""A delivery kind that the core has never seen is plugged in through the registry alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from firstpull.model.azure_resources import Twin
from firstpull.model.delivery_kinds import KINDS, Problem, Wanted
from firstpull.model.delivery_kinds.kind import DeliveryKind
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.secret import Secret
from firstpull.model.twin_entry import Acknowledgement, Contents, DeliveredEntry, wire_expiry
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, Harness

MODULE = "toy"
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class ToyKind:
    """A module's twin has one text for each connected registry, which the module echoes.

    The text is `<address>|<username>|<password>|<expiry>`.
    """

    name: str = "toy"
    place: str = "toy"
    module: str | None = MODULE
    options: frozenset[str] = frozenset({"loud"})
    seals: bool = False
    last_share: float = 0.5

    def may_be_at(self, twin: Twin) -> bool:
        return bool(twin)

    def _texts(self, twin: Twin, side: str) -> dict[str, str]:
        there = twin.modules.get(MODULE)
        section = getattr(there, side) if there is not None else {}
        return {k: v for k, v in section.items() if isinstance(v, str) and v.count("|") == 3}

    def entry(self, twin: Twin, connected_registry: str) -> DeliveredEntry | None:
        return self.entries(twin).get(connected_registry)

    def entries(self, twin: Twin) -> dict[str, DeliveredEntry]:
        found = {}
        for key, text in self._texts(twin, "desired").items():
            address, username, _, expires = text.split("|")
            fields = {"address": address, "username": username, "expiresOn": expires}
            found[key] = DeliveredEntry(id=f"{hash(text)}", fields=fields, intact=True)
        return found

    def keys(self, twin: Twin, connected_registry: str) -> tuple[str, ...]:
        return (connected_registry,) if self.entry(twin, connected_registry) else ()

    def problem(self, twin: Twin, wanted: Wanted) -> Problem | None:
        del twin, wanted
        return None

    def withheld(
        self, twin: Twin, wanted: Wanted, *, secret: str, expires_at: datetime | None
    ) -> Problem | None:
        del twin, wanted, secret, expires_at
        return None

    def if_silent(self, twin: Twin) -> str | None:
        del twin
        return None

    def fields(self, contents: Contents, expires_at: datetime) -> Mapping[str, Any]:
        return {
            "address": contents.address,
            "username": contents.username,
            "expiresOn": wire_expiry(expires_at),
        }

    def _text(self, contents: Contents, password: Secret, expires_at: datetime) -> str:
        texts = (contents.address, contents.username, password.reveal(), wire_expiry(expires_at))
        return "|".join(texts)

    def delivery_id(self, contents: Contents, password: Secret, *, expires_at: datetime) -> str:
        return f"{hash(self._text(contents, password, expires_at))}"

    def patch(
        self,
        contents: Contents,
        connected_registry: str,
        password: Secret,
        *,
        expires_at: datetime,
        replaces: Collection[str],
    ) -> dict[str, Any]:
        assert not replaces
        return {connected_registry: self._text(contents, password, expires_at)}

    def replaced(self, twin: Twin, connected_registry: str) -> frozenset[str]:
        del twin, connected_registry
        return frozenset()

    def removal(self, keys: Collection[str]) -> dict[str, Any]:
        return dict.fromkeys(keys)

    def acknowledgement(
        self, twin: Twin, connected_registry: str, *, synced_at: datetime | None
    ) -> Acknowledgement | None:
        del synced_at
        text = self._texts(twin, "reported").get(connected_registry)
        if text is None:
            return None
        return Acknowledgement(delivery_id=f"{hash(text)}", logged_in=True, reason=None)

    def frees_old_slot(self, options: Collection[str]) -> bool:
        del options
        return True


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    kind: DeliveryKind = ToyKind()
    monkeypatch.setitem(KINDS, kind.name, kind)


class _World:
    """A device with a toy module, which logs in with what its twin has."""

    def __init__(self) -> None:
        self.harness = Harness()
        self.device = self.harness.register()
        self.cloud = self.harness.cloud
        self.cloud.hub.create_module(self.device.device_id, MODULE)

    def delivered(self) -> dict[str, str]:
        """What the module's twin has."""
        values = self.cloud.hub.module_twin(self.device.device_id, MODULE).desired.values
        return {key: str(value) for key, value in values.items()}

    async def play(self) -> None:
        """Let a few minutes pass in which the module logs in."""
        for _ in range(6):
            await self.harness.run_for(MINUTE)
            found = self.delivered()
            for name, text in found.items():
                _, username, password, _ = text.split("|")
                ref = PLANT_ONE if name == "plantone" else PLANT_TWO
                if self.cloud.site_accepts(ref, username, password):
                    self.cloud.hub.report(self.device.device_id, {name: text}, module_id=MODULE)

    @property
    def state(self) -> State:
        return self.harness.state(self.device)


@pytest.mark.usefixtures("_toy")
async def test_a_further_kind_is_onboarded_rotated_moved_and_revoked() -> None:
    world = _World()
    await world.harness.ask(delivery="toy", deliveryOptions=["loud"])
    await world.play()
    assert world.state is State.READY
    first = world.delivered()["plantone"]
    assert not world.cloud.twin_entry(world.device, PLANT_ONE)

    await world.harness.rotate(world.device)
    await world.play()
    second = world.delivered()["plantone"]
    assert (world.state, first == second) == (State.READY, False)
    (accepted,) = world.cloud.accepted(second.split("|")[1])
    assert accepted == second.split("|")[2]

    await world.harness.ask(delivery="toy", connectedRegistry="planttwo")
    await world.play()
    assert (world.state, set(world.delivered())) == (State.READY, {"planttwo"})

    await world.harness.revoke(world.device)
    await world.play()
    assert (world.state, world.delivered()) == (State.REVOKED, {})
    assert world.cloud.violations == []


@pytest.mark.usefixtures("_toy")
async def test_a_change_of_kind_makes_before_it_breaks_and_can_be_taken_back() -> None:
    world = _World()
    await world.harness.ask()
    await world.play()
    assert world.state is State.READY
    entry = world.cloud.twin_entry(world.device, PLANT_ONE)

    await world.harness.ask(delivery="toy")
    await world.harness.run_for(5 * MINUTE)  # the module has not logged in yet
    assert world.delivered()
    assert world.cloud.twin_entry(world.device, PLANT_ONE) == entry
    assert [g.delivery for g in world.cloud.record(world.device).grants] == ["toy", "twin"]

    await world.play()
    assert world.state is State.READY
    assert not world.cloud.twin_entry(world.device, PLANT_ONE)
    assert world.cloud.clients(PLANT_ONE) == [entry["username"]]
    assert [g.delivery for g in world.cloud.record(world.device).grants] == ["toy"]

    await world.harness.ask()
    await world.play()
    assert (world.state, world.delivered()) == (State.READY, {})
    assert world.cloud.twin_entry(world.device, PLANT_ONE)["username"] == entry["username"]
    assert world.cloud.violations == []


@pytest.mark.usefixtures("_toy")
async def test_the_other_kind_without_a_module_waits_and_the_device_keeps_what_it_has() -> None:
    world = _World()
    await world.harness.ask()
    await world.play()
    await world.harness.ask(delivery="toy")
    await world.harness.run_for(MINUTE)
    await world.harness.ask()  # before the module has logged in
    await world.play()
    assert (world.state, world.delivered()) == (State.READY, {})
    assert [g.delivery for g in world.cloud.record(world.device).grants] == ["twin"]


@pytest.mark.usefixtures("_toy")
async def test_a_lost_record_comes_back_with_its_kind() -> None:
    world = _World()
    await world.harness.ask(delivery="toy")
    await world.play()
    before = world.cloud.record(world.device)
    world.cloud.lose_record(world.device)
    _, process = world.harness._next_process()
    await process.application.rebuilding.one(world.device, dry_run=False)
    await world.play()
    after = world.cloud.record(world.device)
    assert after.status.grant == before.status.grant
    assert after.delivery is not None
    assert before.delivery is not None
    assert after.delivery.id == before.delivery.id
    assert len(world.cloud.passwords_made) == 1
    assert after.spec.intent.delivery == "toy"
    assert world.state is State.READY


@pytest.mark.usefixtures("_toy")
async def test_a_revoke_without_a_record_finds_the_delivery_of_every_kind() -> None:
    world = _World()
    await world.harness.ask(delivery="toy")
    await world.play()
    world.cloud.lose_record(world.device)
    await world.harness.revoke(world.device)
    await world.play()
    assert (world.state, world.delivered()) == (State.REVOKED, {})


async def test_between_twin_and_kubernetes_nothing_moves() -> None:
    harness = Harness()
    device = await harness.make_ready()
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    await harness.ask(delivery="kubernetes")
    await harness.run_for(5 * MINUTE)
    found = harness.cloud.record(device)
    assert [grant.delivery for grant in found.grants] == ["kubernetes"]
    assert harness.cloud.twin_entry(device, PLANT_ONE) == entry
    assert _is_ready(harness, device)


def _is_ready(harness: Harness, device: DeviceKey) -> bool:
    return harness.state(device) is State.READY
