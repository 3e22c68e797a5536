"""Whatever happens to devices, the promises hold, and in the end everything is as it has to be."""

from __future__ import annotations

import pytest

from tests.lifetime.course import EVERY_DAY
from tests.lifetime.machine import Lifetime
from tests.lifetime.reached import REACHED

TestLifetime = pytest.mark.timeout(600)(Lifetime.TestCase)  # half a minute on an idle machine
TestLifetime.settings = EVERY_DAY

_OCCASIONS = (
    *("Acknowledged", "Adopted", "AwaitingSync", "ConnectedRegistryFull", "DeviceDisabled"),
    *("DeviceNotRegistered", "DeviceReportsFailure", "NoFreeSlot", "Revoked", "Throttled"),
    *("a device moves", "a list is full", "a list is full of ours"),
    *("a rotation was asked for", "a token has two passwords"),
)


def test_the_courses_came_by_what_the_promises_are_about() -> None:
    if not REACHED:
        pytest.skip("the courses did not run before")
    assert {occasion: REACHED[occasion] for occasion in _OCCASIONS if REACHED[occasion] < 5} == {}
