"""A twin may hold any JSON at any place that firstpull reads; it stops nobody else (P11)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

import pytest

from firstpull.reconcile.checks import Difference
from local_azure.iot_hub.twins import Json, JsonObject, TwinPatch
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import PLANT_ONE, Harness

ODD = json.loads(
    """[7, -1, 0.5, true, false, "", "x", "plantone", {}, {"plantone": 7}, {"": {"": ""}},
    [], [7], ["plantone"], [{}], [{"plantone": {}}], [[["plantone"]]]]"""
)
FIELDS = (
    *("address", "username", "password", "deliveryId", "expiresOn", "repositories"),
    *("ca", "insecure", "state", "reason"),
)
PLACES = [
    ("firstpull",),
    ("firstpull", "registryCredentials"),
    ("firstpull", "registryCredentials", "plantone"),
    *(("firstpull", "registryCredentials", "plantone", field) for field in FIELDS),
]


def odd_properties() -> Iterator[JsonObject]:
    """Properties with one odd value in the place of what firstpull or an agent writes."""
    for place in PLACES:
        for value in ODD:
            found: Json = value
            for name in reversed(place):
                found = {name: found}
            assert isinstance(found, dict)
            yield found


@pytest.mark.parametrize("section", ["desired", "reported", "tags"])
async def test_a_sweep_reports_on_all_devices_whatever_one_twin_holds(section: str) -> None:
    harness = Harness()
    ready = await harness.make_ready()
    for number, properties in enumerate(odd_properties()):
        device = harness.register(f"odd-{number}")
        if section == "reported":
            harness.cloud.patch_twin(device, desired={"firstpull": {}})  # the sweep reads its twin
            harness.cloud.hub.report(device.device_id, properties)
        else:
            change = TwinPatch(**{section: properties})
            harness.cloud.hub.patch_twin(device.device_id, change, etag=None)
    harness.cloud.edit_entry(ready, PLANT_ONE, {"address": "elsewhere"})
    report = await harness.sweep()
    assert report.drifted == {Difference.ENTRY_CHANGED: 1}
    assert report.devices == 1
    assert not report.unread or section == "tags"
    assert not any("defect" in line for line in report.unread)
    assert harness.cloud.queue


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
async def test_a_device_gets_its_delivery_back_whatever_its_twin_held(every: int) -> None:
    harness = Harness()
    device = await harness.make_ready()
    want = end_state(harness.cloud, device)
    for properties in islice(odd_properties(), 0, None, every):
        harness.cloud.patch_twin(device, desired=properties)
        await harness.sweep()
        await harness.run_until_quiet()
        assert end_state(harness.cloud, device) == want, properties
