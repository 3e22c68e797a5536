"""P10: bad input gets a clear answer and loses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from firstpull.intake.requests import read_request
from firstpull.model.errors import Invalid
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import Harness
from tests.firstpull.test_requests import BAD_FIELDS, body

FORBIDDEN: list[dict[str, Any]] = [
    {"hub": "stranger"},
    {"site": "stranger", "connectedRegistry": None},
    {"connectedRegistry": "stranger"},
    {"containerRegistry": "stranger"},
    {"actions": ["content/write"]},
]


async def test_what_is_refused_leaves_a_ready_device_as_it_was() -> None:
    harness = Harness()
    device = await harness.make_ready()
    want, record = end_state(harness.cloud, device), harness.cloud.records[device]
    writes = harness.cloud.writes()
    for _, changes, _ in BAD_FIELDS:
        with pytest.raises(Invalid):
            read_request(body(**changes))
    for forbidden in FORBIDDEN:
        with pytest.raises(Invalid):
            await harness.ask(**forbidden)
    assert harness.cloud.records[device] == record
    assert not harness.cloud.queue
    await harness.reconcile(device)
    assert end_state(harness.cloud, device) == want
    assert harness.cloud.writes() == writes


async def test_a_reconcile_request_for_no_device_harms_nobody() -> None:
    harness = Harness()
    device = await harness.make_ready()
    want = end_state(harness.cloud, device)
    stranger = harness.register("stranger")
    await harness.processes[0].worker.reconcile(stranger)
    assert stranger not in harness.cloud.records
    assert harness.cloud.devices[stranger].desired == {}
    assert end_state(harness.cloud, device) == want


@pytest.mark.parametrize(
    "edit",
    [
        {"firstpull": 7},
        {"firstpull": {"registryCredentials": []}},
        {"firstpull": {"registryCredentials": {"plantone": "x"}}},
        {"firstpull": {"registryCredentials": {"plantone": {"deliveryId": {}, "state": []}}}},
    ],
)
async def test_nonsense_that_a_device_reports_does_not_stop_it(edit: dict[str, object]) -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.devices_answer = False
    harness.cloud.devices[device].reported = edit
    await harness.reconcile(device)
    assert harness.cloud.record(device).is_converged
    harness.cloud.devices[device].reported = {}
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert harness.cloud.record(device).is_converged


@pytest.mark.parametrize(
    "edit",
    [
        {"firstpull": 7},
        {"firstpull": {"registryCredentials": "x"}},
        {"firstpull": {"registryCredentials": {"plantone": ["x"]}}},
        {"firstpull": {"registryCredentials": {"plantone": {"password": 7, "x": {"y": 1}}}}},
        {"firstpull": {"registryCredentials": {"plantone": {"repositories": {"a": "b"}}}}},
    ],
)
async def test_nonsense_in_the_desired_properties_is_replaced(edit: dict[str, object]) -> None:
    harness = Harness()
    device = await harness.make_ready()
    want = end_state(harness.cloud, device)
    harness.cloud.devices[device].desired = dict(edit)
    harness.cloud.devices[device].twin_version += 1
    harness.devices_answer = False
    await harness.reconcile(device)
    await harness.reconcile(device)
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert end_state(harness.cloud, device) == want
