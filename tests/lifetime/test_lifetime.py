"""Whatever happens to devices, the promises hold, and in the end everything is as it has to be."""

from __future__ import annotations

import pytest

from firstpull.model.reasons import Reason
from tests.lifetime.external_actor import ToDevice
from tests.lifetime.machine import Lifetime, device_key
from tests.lifetime.reached import REACHED
from tests.lifetime.scenario import EVERY_DAY
from tests.lifetime.short_scenarios import run

TestLifetime = pytest.mark.timeout(600)(Lifetime.TestCase)  # half a minute on an idle machine
TestLifetime.settings = EVERY_DAY

_OCCASIONS = (
    *("Acknowledged", "Adopted", "ConnectedRegistryFull", "DeviceDisabled"),
    *("DeviceNotRegistered", "DeviceReportsFailure", "Revoked"),
    *("a device moves", "a list is full", "a list is full of ours"),
    *("a rotation was asked for", "a token has two passwords"),
)
"""Those that come by the dozen. Which courses are drawn depends on what is imported, too."""


def test_the_scenarios_came_by_what_the_promises_are_about() -> None:
    if not REACHED:
        pytest.skip("the courses did not run before")
    assert [occasion for occasion in _OCCASIONS if not REACHED[occasion]] == []


def test_a_device_whose_slots_are_both_somebodys_waits_and_goes_on_when_one_has_ended() -> None:
    def scenario(life: Lifetime) -> None:
        life.some_are_there(["press-1"], "plantone")
        life.meddle("press-1", ToDevice.MAKES_BOTH_PASSWORDS, 0)
        life.sweep(approve=False)
        life.play(1)
        found = life.world.record(device_key("press-1"))
        assert found is not None
        assert found.status.condition.reason is Reason.NO_FREE_SLOT

    run(scenario)  # in whose end the device is ready
