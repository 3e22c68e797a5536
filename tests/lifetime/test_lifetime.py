"""Whatever happens to devices, the promises hold, and in the end everything is in order."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from firstpull.model.reasons import Reason
from tests.lifetime.external_actor import DeviceChange
from tests.lifetime.machine import Lifetime, device_key
from tests.lifetime.profiles import FEW, MANY
from tests.lifetime.reached import REACHED
from tests.lifetime.short_scenarios import run

_SITUATIONS = (
    *("Acknowledged", "Adopted", "ConnectedRegistryFull", "DeviceDisabled"),
    *("DeviceNotRegistered", "Revoked"),
    *("a device moves", "a list is full", "a list is full of ours"),
    *("a rotation was asked for", "a token has two passwords"),
)
"""Those that are reached by the dozen. Which scenarios are drawn depends on imports, too."""


def test_the_promises_hold_in_a_few_scenarios() -> None:
    run_state_machine_as_test(Lifetime, settings=FEW)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_promises_hold_in_many_scenarios_that_reach_what_they_are_about() -> None:
    REACHED.clear()
    run_state_machine_as_test(Lifetime, settings=MANY)
    assert [situation for situation in _SITUATIONS if not REACHED[situation]] == []


def test_a_device_waits_for_a_slot_while_somebody_uses_both_passwords() -> None:
    def scenario(life: Lifetime) -> None:
        life.some_are_there(["press-1"], "plantone")
        life.change_device("press-1", DeviceChange.GENERATE_BOTH_PASSWORDS, 0)
        life.sweep(approve=False)
        life.run_for(1)
        found = life.world.record(device_key("press-1"))
        assert found is not None
        assert found.status.condition.reason is Reason.NO_FREE_SLOT

    run(scenario)  # at its end the device has to be ready
