"""A record with any one field damaged is named or harmless, and stops nobody else (P11)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.ports import Query
from functions.answers.devices import DeviceList
from tests.firstpull.harness import HUB, Harness

STORED: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "model" / "stored_record.json").read_text()
)
OTHERS: list[Any] = [
    *(None, 7, -1, 0, 10**30, 1e400, True, "x", "", "\ud800", "x" * 100_000, [], {}, [{}], [[1]]),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00"),
]


def damages(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    """A document with one value in it replaced, for every value and every replacement."""
    found = list(OTHERS)
    if isinstance(value, dict):
        for name, inner in value.items():
            found += [{**value, name: other} for other in damages(inner)]
            found.append({key: v for key, v in value.items() if key != name})
    elif isinstance(value, list) and value:
        found += [[other, *value[1:]] for other in damages(value[0])]
    return found


@pytest.mark.parametrize("name", STORED)
async def test_a_record_with_a_damaged_field_stops_nobody(name: str) -> None:
    harness = Harness()
    sound = await harness.make_ready("sound")
    harness.cloud.after_write = None  # the promises are checked by records that can be read
    for number, value in enumerate(damages(STORED[name])):
        device = DeviceKey(hub=HUB, device_id=f"damaged-{number}")
        key = {"hub": device.hub, "device_id": device.device_id}
        document = {**STORED, "device": key, "claim": None, name: value}
        harness.cloud.records[device] = json.dumps(document), number
    application = harness.processes[0].application
    page = await application.ports.records.page(Query(size=1000))
    listed = json.loads(DeviceList.of(page).to_json())
    assert "sound" in {device["deviceId"] for device in listed["devices"]}
    assert page.unreadable or name == "schema_version"
    await application.gauges.measure()
    report = await harness.sweep()
    assert not [line for line in report.unread if "defect" in line]
    named = " ".join(report.unread)
    assert all(f"the record of {device.device_id} " in named for device in page.unreadable)
    for device in page.unreadable[:20]:
        await application.worker.reconcile(device)
    assert harness.state(sound) is State.READY
