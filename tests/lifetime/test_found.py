"""What the machine has found, as short courses of events: each stays mended."""

from __future__ import annotations

import pytest

from tests.lifetime.external_actor import ToDevice, ToList
from tests.lifetime.line import Mishap
from tests.lifetime.machine import Lifetime
from tests.lifetime.short_scenarios import Scenario, run


def _a_revoke_before_anything_was_made(life: Lifetime) -> None:
    """With nothing to take away, `must_go_first` is empty, and the device is onboarded."""
    life.register("press-1", tagged=False)
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.revoke("press-1", meanwhile=False)
    life.deliver()


def _coming_back_with_an_adopted_token(life: Lifetime) -> None:
    """The claim drops what is leaving by its place alone: the device's token is forgotten."""
    life.some_are_there(["press-1"], "plantone")
    life.ask("press-1", "planttwo", ["plant/app"], meanwhile=False)
    life.adopt("press-1", "plantone", registers=False)
    life.play(1)


def _coming_back_after_an_adoption(life: Lifetime) -> None:
    """Likewise: the adopted token is forgotten, with its password."""
    life.adopt("press-1", "plantone", registers=True)
    life.play(7)
    life.ask("press-1", "planttwo", ["plant/app"], meanwhile=False)
    life.deliver()
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.play(1)


def _registered_anew_after_a_crash_at_its_delivery(life: Lifetime) -> None:
    """The identity is noted at the end of the pass; the new one is given the old one's password."""
    life.register("press-1", tagged=False)
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.have(Mishap.CRASH_AFTER, "hubs.patch_desired")
    life.deliver()
    life.delete("press-1", announced=False, comes_back=True)
    life.play(7)


def _a_crash_at_the_delivery_to_who_was_registered_anew(life: Lifetime) -> None:
    """It is still taken for another device: the password that it uses by now is removed."""
    life.some_are_there(["press-1"], "plantone")
    life.delete("press-1", announced=False, comes_back=True)
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.have(Mishap.CRASH_AFTER, "hubs.patch_desired")
    life.deliver()
    life.sync("plantone", goes_offline=False)
    life.device_acts("press-1", away=False)
    life.play(7)


def _a_revoke_of_who_was_registered_anew(life: Lifetime) -> None:
    """The tombstone knows the identity of before: the sweep lets the new one in by its tag."""
    life.some_are_there(["press-1"], "plantone")
    life.delete("press-1", announced=False, comes_back=False)
    life.register("press-1", tagged=True)
    life.revoke("press-1", meanwhile=False)


def _members_whose_room_somebody_took(life: Lifetime) -> None:
    """Who looks first is refused, and the other member is put back beyond the limit."""
    life.some_are_there(["press-1", "press-2"], "plantone")
    for what in (ToList.CLEARS_IT, ToList.ADDS_A_TOKEN, ToList.ADDS_A_TOKEN):
        life.change_list("plantone", what, at=0)
    life.ask_again("press-1")
    life.play(1)


def _revoked_again(life: Lifetime) -> None:
    """Late messages are held against the first revoke, and not against the last."""
    life.some_are_there(["press-1"], "plantone")
    life.revoke("press-1", meanwhile=False)
    life.leap(3)
    life.revoke("press-1", meanwhile=False)
    life.ask_late("press-1", "plantone", age=1)


def _adopted_after_it_was_blocked(life: Lifetime) -> None:
    """The slot that was asked for of another token counts as lost: its password is overwritten."""
    devices = ["press-1", "press-2", "press-3"]
    life.some_are_there(devices, "plantone")
    for device in devices:
        life.adopt(device, "planttwo", registers=False)
    life.play(1)
    for device in devices:
        life.rotate(device, immediately=False, meanwhile=False)
    life.play(1)


def _room_lost_on_the_way_to_another_registry(life: Lifetime) -> None:
    """The new token has the name of the old one elsewhere: it is taken for that, and forgotten."""
    life.some_are_there(["press-1"], "plantone")
    life.ask("press-1", "portone", ["plant/app"], meanwhile=False)
    for _ in range(2):
        life.change_list("portone", ToList.ADDS_A_TOKEN, at="registries.create_token")
    life.play(7)


def _registered_anew_while_its_move_is_blocked(life: Lifetime) -> None:
    """What the device of before has at the old place it keeps, for as long as the block lasts."""
    life.some_are_there(["press-1"], "plantone")
    for _ in range(2):
        life.change_list("portone", ToList.ADDS_A_TOKEN, at=0)
    life.ask("press-1", "portone", ["plant/app"], meanwhile=False)
    life.play(1)
    life.delete("press-1", announced=False, comes_back=True)


def _a_new_token_deleted_before_the_old_one_ends(life: Lifetime) -> None:
    """No client can prevent it, and it is mended: the watch took it for a lost password."""
    life.some_are_there(["press-3"], "portone")
    life.ask("press-3", "plantone", ["plant/app"], meanwhile=False)
    life.leap(16)
    life.deliver()
    life.meddle("press-3", ToDevice.DELETES_THE_TOKEN, "registries.disable_token")
    life.play(1)


FOUND = (
    _a_new_token_deleted_before_the_old_one_ends,
    _registered_anew_while_its_move_is_blocked,
    _revoked_again,
    _adopted_after_it_was_blocked,
    _room_lost_on_the_way_to_another_registry,
    _members_whose_room_somebody_took,
    _registered_anew_after_a_crash_at_its_delivery,
    _a_crash_at_the_delivery_to_who_was_registered_anew,
    _a_revoke_before_anything_was_made,
    _coming_back_with_an_adopted_token,
    _coming_back_after_an_adoption,
    _a_revoke_of_who_was_registered_anew,
)


@pytest.mark.parametrize("scenario", FOUND, ids=lambda scenario: scenario.__name__.strip("_"))
def test_what_the_machine_has_found_stays_mended(scenario: Scenario) -> None:
    run(scenario)
