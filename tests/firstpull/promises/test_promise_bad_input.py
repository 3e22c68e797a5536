"""P10: bad input gets a clear answer and loses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from firstpull.model.errors import Invalid
from local_azure.iot_hub.twins import JsonObject
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import Harness

REFUSED: list[dict[str, Any]] = [
    {"repositories": ["Plant/../app"]},
    {"actions": ["content/everything"]},
    {"deviceId": "a/b"},
    {"hub": "stranger"},
    {"site": "stranger", "connectedRegistry": None},
    {"connectedRegistry": "stranger"},
    {"containerRegistry": "stranger"},
    {"actions": ["content/write"]},
]


async def test_a_refused_request_leaves_a_ready_device_as_it_was() -> None:
    harness = Harness()
    device = await harness.make_ready()
    want, record = end_state(harness.cloud, device), harness.cloud.records[device]
    writes = harness.cloud.writes()
    for refused in REFUSED:
        with pytest.raises(Invalid):
            await harness.ask(**refused)
    assert harness.cloud.records[device] == record
    assert not harness.cloud.queue
    await harness.reconcile(device)
    assert end_state(harness.cloud, device) == want
    assert harness.cloud.writes() == writes


async def test_a_reconcile_request_for_an_unknown_device_harms_nobody() -> None:
    harness = Harness()
    device = await harness.make_ready()
    want = end_state(harness.cloud, device)
    stranger = harness.register("stranger")
    await harness.processes[0].worker.reconcile(stranger)
    assert stranger not in harness.cloud.records
    assert harness.cloud.entries(stranger) == []
    assert end_state(harness.cloud, device) == want


@pytest.mark.parametrize(
    "edit",
    [
        {"firstpull": 7},
        {"firstpull": {"registryCredentials": []}},
        {"firstpull": {"registryCredentials": {"plantone": ["x"]}}},
        {"firstpull": {"registryCredentials": {"plantone": {"deliveryId": {}, "state": []}}}},
        {"firstpull": {"registryCredentials": {"plantone": {"password": 7, "x": {"y": 1}}}}},
    ],
)
@pytest.mark.parametrize("properties", ["desired", "reported"])
async def test_nonsense_in_a_twin_is_replaced(properties: str, edit: JsonObject) -> None:
    harness = Harness()
    device = await harness.make_ready()
    want = end_state(harness.cloud, device)
    harness.devices_answer = False
    if properties == "desired":
        harness.cloud.patch_twin(device, desired=edit)
    else:
        harness.cloud.hub.report(device.device_id, edit)
    await harness.reconcile(device)
    assert harness.cloud.record(device).is_converged
    harness.cloud.hub.report(device.device_id, {"firstpull": None})
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert end_state(harness.cloud, device) == want
