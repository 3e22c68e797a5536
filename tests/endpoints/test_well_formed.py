"""What is well formed is taken: existence and room are states of the record, no refusals."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from local_azure.iot_hub.identities import DeviceSettings, DeviceStatus

from .documents import Document, request
from .endpoints import Endpoints
from .ways_in import TARGET

_ALLOWED = "-:.+%_#*?!(),=@$'"


@pytest.mark.parametrize("character", _ALLOWED)
async def test_every_character_that_a_hub_takes_is_taken(
    endpoints: Endpoints, character: str
) -> None:
    device_id = f"a{character}1"
    quoted = quote(device_id, safe="")
    query = f"?deviceId={quoted}&" if character == "%" else f"/{quoted}?"
    path = f"devices{query}dryRun=true"
    for answer in (
        await endpoints.call("PUT", path, TARGET),
        await endpoints.call("POST", "devices?dryRun=true", request(device_id)),
    ):
        assert (answer.status, answer.document["deviceId"]) == (200, device_id)


async def test_a_device_with_all_characters_that_there_are_is_onboarded(
    endpoints: Endpoints,
) -> None:
    device_id = f"All{_ALLOWED}0" + "z" * (128 - 4 - len(_ALLOWED))
    endpoints.register(device_id)
    answer = await endpoints.call("POST", "devices", request(device_id))
    assert answer.status == 202
    location = answer.headers["Location"].split("/api/", 1)[1]

    async def is_delivered() -> bool:
        (view,) = (await endpoints.call("GET", location)).document["devices"]
        assert view["deviceId"] == device_id
        return bool(view["state"] == "Delivered")

    await endpoints.until(is_delivered)
    operation = answer.headers["Operation-Location"].split("/api/", 1)[1]
    assert (await endpoints.call("GET", operation)).document["status"] == "Succeeded"


async def test_two_ids_that_differ_in_case_are_two_devices(endpoints: Endpoints) -> None:
    for device_id in ("case-1", "CASE-1"):
        endpoints.register(device_id)
        await endpoints.call("PUT", f"devices/{device_id}", TARGET)
    tokens = {
        (await endpoints.until_state(d, "Delivered"))["token"].lower() for d in ("case-1", "CASE-1")
    }
    assert len(tokens) == 2


@pytest.mark.parametrize(
    ("device_id", "changes", "state", "reason"),
    [
        ("not-there", {}, "Waiting", "DeviceNotRegistered"),
        ("disabled", {}, "Waiting", "DeviceDisabled"),
        (
            "gone",
            {"connectedRegistry": "doorgone"},
            "Blocked",
            "ConnectedRegistryNotFound",
        ),
        (
            "unsynced",
            {"connectedRegistry": "doorsynced", "repositories": ["not-synced"]},
            "Blocked",
            "RepositoriesNotSynced",
        ),
    ],
)
async def test_what_is_missing_in_azure_is_a_state_of_the_record(
    endpoints: Endpoints, device_id: str, changes: Document, state: str, reason: str
) -> None:
    if device_id == "disabled":
        settings = DeviceSettings(device_id, status=DeviceStatus.DISABLED)
        endpoints.stack.hub.create_device(settings)
    elif device_id != "not-there":
        endpoints.register(device_id)
    endpoints.stack.kernel.calls.reset()
    answer = await endpoints.call("POST", "devices", request(device_id, **changes))
    assert (answer.status, answer.document["state"]) == (202, "Pending")
    view = await endpoints.until_state(device_id, "Waiting", "Blocked")
    assert (view["state"], view["condition"]["reason"]) == (state, reason)
    assert view["condition"]["remedy"]
    assert endpoints.writes() == []


async def test_a_full_connected_registry_is_a_state_of_the_record(endpoints: Endpoints) -> None:
    for device_id in ("small-1", "small-2"):
        endpoints.register(device_id)
        wish = request(device_id, connectedRegistry="doorsmall")
        assert (await endpoints.call("POST", "devices", wish)).status == 202
        await endpoints.until_state(device_id, "Delivered", "Blocked")
    view = await endpoints.device("small-2")
    assert (view["state"], view["condition"]["reason"]) == ("Blocked", "ConnectedRegistryFull")
    assert view["condition"]["remedy"]
    operation = await endpoints.call("GET", "devices/small-2/operations/1")
    assert operation.document["status"] == "Failed"
    assert operation.document["error"]["code"] == "ConnectedRegistryFull"
    assert (await endpoints.call("GET", "devices/small-2/operations/2")).status == 404
    assert (await endpoints.call("GET", "devices/small-2/operations/0")).status == 404
    assert (await endpoints.call("GET", "devices/small-2/operations/x")).status == 404
