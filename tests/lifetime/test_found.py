"""Bugs that the state machine has found, as short scenarios: each stays fixed."""

from __future__ import annotations

import pytest

from tests.lifetime.external_actor import DeviceChange, ListChange
from tests.lifetime.machine import Lifetime
from tests.lifetime.short_scenarios import Scenario, run
from tests.world.calls import Fault


def _a_revoke_before_anything_was_made(life: Lifetime) -> None:
    """There was no grant to tear down, and the device was onboarded."""
    life.register("press-1", tagged=False)
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.revoke("press-1", meanwhile=False)
    life.deliver()


def _coming_back_with_an_adopted_token(life: Lifetime) -> None:
    """A retiring grant was dropped by its connected registry alone: its token was forgotten."""
    life.some_are_there(["press-1"], "plantone")
    life.ask("press-1", "planttwo", ["plant/app"], meanwhile=False)
    life.adopt("press-1", "plantone", registers=False)
    life.run_for(1)


def _coming_back_after_an_adoption(life: Lifetime) -> None:
    """Likewise: the adopted token was forgotten, with its password."""
    life.adopt("press-1", "plantone", registers=True)
    life.run_for(7)
    life.ask("press-1", "planttwo", ["plant/app"], meanwhile=False)
    life.deliver()
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.run_for(1)


def _registered_again_after_a_crash_at_its_delivery(life: Lifetime) -> None:
    """The identity was noted at the end of a pass: the new device got the old one's password."""
    life.register("press-1", tagged=False)
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.inject(Fault.CRASH_AFTER, "hubs.patch_desired")
    life.deliver()
    life.delete("press-1", announced=False, comes_back=True)
    life.run_for(7)


def _a_crash_at_the_delivery_to_a_device_registered_again(life: Lifetime) -> None:
    """It was still taken for another device: the password that it used by then was removed."""
    life.some_are_there(["press-1"], "plantone")
    life.delete("press-1", announced=False, comes_back=True)
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.inject(Fault.CRASH_AFTER, "hubs.patch_desired")
    life.deliver()
    life.sync("plantone", goes_offline=False)
    life.act("press-1", away=False)
    life.run_for(7)


def _a_revoke_of_a_device_registered_again(life: Lifetime) -> None:
    """The tombstone had the old identity: the sweep onboarded the new device by its tag."""
    life.some_are_there(["press-1"], "plantone")
    life.delete("press-1", announced=False, comes_back=False)
    life.register("press-1", tagged=True)
    life.revoke("press-1", meanwhile=False)


def _members_whose_room_somebody_took(life: Lifetime) -> None:
    """The first pass was refused, and the other member was listed again beyond the limit."""
    life.some_are_there(["press-1", "press-2"], "plantone")
    for change in (ListChange.CLEAR, ListChange.ADD_TOKEN, ListChange.ADD_TOKEN):
        life.change_list("plantone", change, at=0)
    life.ask_again("press-1")
    life.run_for(1)


def _revoked_again(life: Lifetime) -> None:
    """Late messages were compared with the first revoke, not with the last."""
    life.some_are_there(["press-1"], "plantone")
    life.revoke("press-1", meanwhile=False)
    life.pass_time(3)
    life.revoke("press-1", meanwhile=False)
    life.ask_late("press-1", "plantone", age=1)


def _adopted_after_it_was_blocked(life: Lifetime) -> None:
    """A slot requested of another token counted as lost: its password was overwritten."""
    devices = ["press-1", "press-2", "press-3"]
    life.some_are_there(devices, "plantone")
    for device in devices:
        life.adopt(device, "planttwo", registers=False)
    life.run_for(1)
    for device in devices:
        life.rotate(device, immediately=False, meanwhile=False)
    life.run_for(1)


def _room_lost_on_the_way_to_another_registry(life: Lifetime) -> None:
    """The new token has the old one's name in another registry: it was forgotten."""
    life.some_are_there(["press-1"], "plantone")
    life.ask("press-1", "portone", ["plant/app"], meanwhile=False)
    for _ in range(2):
        life.change_list("portone", ListChange.ADD_TOKEN, at="registries.create_token")
    life.run_for(7)


def _registered_again_while_its_move_is_blocked(life: Lifetime) -> None:
    """The deleted device kept its old access for as long as the move was blocked."""
    life.some_are_there(["press-1"], "plantone")
    for _ in range(2):
        life.change_list("portone", ListChange.ADD_TOKEN, at=0)
    life.ask("press-1", "portone", ["plant/app"], meanwhile=False)
    life.run_for(1)
    life.delete("press-1", announced=False, comes_back=True)


def _a_new_token_deleted_before_the_old_one_ends(life: Lifetime) -> None:
    """No client can prevent it, and it is repaired: the watch noted a lost password."""
    life.some_are_there(["press-3"], "portone")
    life.ask("press-3", "plantone", ["plant/app"], meanwhile=False)
    life.pass_time(16)
    life.deliver()
    life.change_device("press-3", DeviceChange.DELETE_TOKEN, "registries.disable_token")
    life.run_for(1)


FOUND = (
    _a_new_token_deleted_before_the_old_one_ends,
    _registered_again_while_its_move_is_blocked,
    _revoked_again,
    _adopted_after_it_was_blocked,
    _room_lost_on_the_way_to_another_registry,
    _members_whose_room_somebody_took,
    _registered_again_after_a_crash_at_its_delivery,
    _a_crash_at_the_delivery_to_a_device_registered_again,
    _a_revoke_before_anything_was_made,
    _coming_back_with_an_adopted_token,
    _coming_back_after_an_adoption,
    _a_revoke_of_a_device_registered_again,
)


@pytest.mark.parametrize("scenario", FOUND, ids=lambda scenario: scenario.__name__.strip("_"))
def test_a_bug_that_was_found_stays_fixed(scenario: Scenario) -> None:
    run(scenario)
