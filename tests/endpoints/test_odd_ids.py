"""Ids with characters that addresses give a meaning: by every way in they are one device."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from .documents import Document, allocation, device_event, request
from .endpoints import EVENTS, ONBOARDING, Endpoints
from .ways_in import TARGET

_ODD = [
    *("odd%id", "odd%2Fid", "odd%2fid", "odd%25id", "%2e%2e", "%2E", "%"),
    *("odd+id", "odd?id", "odd#id", "odd?a=b", "odd..id", "...", "odd:rotate", "odd,id"),
]
_TARGET: Document = {**TARGET, "connectedRegistry": "doorapart"}
_ONBOARDED = ["odd%2Fid", "%2e%2e", "%", "odd+id", "odd?a=b"]
_IN_PATHS = [device_id for device_id in _ODD if "%" not in device_id]
_PATHS = [
    *(("GET", ""), ("PUT", "?dryRun=true"), ("DELETE", "?dryRun=true")),
    *(("POST", "/rotate?dryRun=true"), ("GET", "/operations/1")),
]
_BY_PARAMETER = [
    *(("GET", "devices?"), ("PUT", "devices?dryRun=true&"), ("DELETE", "devices?dryRun=true&")),
    *(("POST", "devices:rotate?dryRun=true&"), ("GET", "devices:operation?generation=1&")),
]


def _quoted(device_id: str) -> str:
    return quote(device_id, safe="")


async def _call(endpoints: Endpoints, method: str, path: str) -> tuple[int, Document]:
    answer = await endpoints.call(method, path, _TARGET if method == "PUT" else None)
    return answer.status, answer.document


async def _until_delivered(endpoints: Endpoints, device_ids: list[str]) -> None:
    """Wait until each of these is delivered, by the only address that carries every id."""
    for device_id in device_ids:

        async def is_delivered(path: str = f"devices?deviceId={_quoted(device_id)}") -> bool:
            _, found = await _call(endpoints, "GET", path)
            return [device["state"] for device in found["devices"]] == ["Delivered"]

        await endpoints.until(is_delivered)


async def test_an_odd_id_is_one_device_by_path_parameter_and_body(endpoints: Endpoints) -> None:
    for device_id in _ONBOARDED:
        endpoints.register(device_id)
        answer = await endpoints.call("POST", "devices", request(device_id, **_TARGET))
        assert (answer.status, answer.document["deviceId"]) == (202, device_id)
    await _until_delivered(endpoints, _ONBOARDED)
    for device_id in _ONBOARDED:
        for method, path in _BY_PARAMETER:
            status, found = await _call(endpoints, method, f"{path}deviceId={_quoted(device_id)}")
            (view,) = found.get("devices", [found])
            assert (status, view["deviceId"]) == (200, device_id), (method, path)
    rows = [request(device_id, **_TARGET) for device_id in _ONBOARDED]
    batch = await endpoints.call("POST", "devices:batch?dryRun=true", {"devices": rows})
    assert [row["deviceId"] for row in batch.document["rows"]] == _ONBOARDED
    again = await asyncio.gather(*(endpoints.signed_webhook(row) for row in rows))
    assert [(a.status, a.document["deviceId"]) for a in again] == [(200, i) for i in _ONBOARDED]


@pytest.mark.parametrize("device_id", _ODD)
async def test_a_path_carries_an_odd_id_as_it_is_or_says_where_it_goes_instead(
    endpoints: Endpoints, device_id: str
) -> None:
    for method, rest in _PATHS:
        status, found = await _call(endpoints, method, f"devices/{_quoted(device_id)}{rest}")
        if device_id in _IN_PATHS:
            is_new = status == 404 and found["reason"] == "DeviceNotKnown"
            assert is_new or found["deviceId"] == device_id, (method, rest)
        else:
            assert status == 400, (method, rest)
            assert [error["path"] for error in found["errors"]] == ["deviceId"]
            assert "/api/devices?deviceId=" in found["detail"]


async def test_an_odd_id_is_one_device_by_message_event_and_allocation(
    endpoints: Endpoints,
) -> None:
    hubs = [endpoints.stack.iot_hub_host_name]
    device_ids = []
    for device_id in _ONBOARDED[:3]:
        by_message, by_event, allocated = (f"{device_id}-{way}" for way in "qep")
        endpoints.register(by_message)
        endpoints.register(by_event, tag=_TARGET)
        await endpoints.put_message(ONBOARDING, request(by_message, **_TARGET))
        await endpoints.put_message(EVENTS, device_event(by_event))
        answer = await endpoints.call("POST", "provisioning", allocation(allocated, hubs=hubs))
        assert answer.status == 200, answer.text
        endpoints.register(allocated)
        device_ids += [by_message, by_event, allocated]
    await _until_delivered(endpoints, device_ids)
