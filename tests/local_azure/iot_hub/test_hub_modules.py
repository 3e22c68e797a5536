from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msrest.exceptions import HttpOperationError

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.models import HubEvent
from local_azure.iot_hub.twins import TwinPatch

from .hub_stack import HubHttp

CREDENTIALS: Any = {
    "plant": {"address": "10.0.0.4:8080", "username": "camera", "password": "a password"}
}


def test_only_an_edge_device_has_module_twins_and_loses_them_with_its_capability(
    model: IotHub,
) -> None:
    model.create_device(DeviceSettings("d"))
    with pytest.raises(IotHubError):
        model.twin("d", "$edgeAgent")
    for _ in range(2):
        model.update_device(DeviceSettings("d", iot_edge=True), etag=None)
        model.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None, module_id="$edgeAgent")
    assert model.twin("d", "$edgeAgent").writes == 3
    model.update_device(DeviceSettings("d"), etag=None)
    model.update_device(DeviceSettings("d", iot_edge=True), etag=None)
    assert model.twin("d", "$edgeAgent").tags == {}
    model.delete_device("d", etag=None)
    with pytest.raises(IotHubError):
        model.twin("d", "$edgeAgent")


def test_a_write_to_a_module_changes_neither_its_device_nor_the_other_module(
    model: IotHub,
) -> None:
    model.create_device(DeviceSettings("edge", iot_edge=True))
    heard: list[HubEvent] = []
    model.subscribe(heard.append)
    before = model.twin("edge"), model.twin("edge", "$edgeHub")
    model.patch_twin("edge", TwinPatch(desired={"a": 1}), etag=None, module_id="$edgeAgent")
    model.report("edge", {"lastDesiredVersion": 2}, module_id="$edgeAgent")
    assert (model.twin("edge"), model.twin("edge", "$edgeHub")) == before
    assert heard == []
    agent = model.twin("edge", "$edgeAgent")
    assert (agent.desired.values, agent.reported.values) == ({"a": 1}, {"lastDesiredVersion": 2})


async def test_the_sdk_patches_registry_credentials_of_an_edge_agent(
    http: HubHttp, ca_file: str
) -> None:
    http.hub.create_device(DeviceSettings("edge#1", iot_edge=True))
    manager = http.manager(ca_file)

    def work() -> None:
        twin = manager.get_module_twin("edge#1", "$edgeAgent")
        assert (twin.device_id, twin.module_id) == ("edge#1", "$edgeAgent")
        settings = {"runtime": {"settings": {"registryCredentials": CREDENTIALS}}}
        patch: Any = {"properties": {"desired": settings}}
        updated = manager.update_module_twin("edge#1", "$edgeAgent", patch, twin.etag)
        assert updated.properties.desired["runtime"]["settings"] == {
            "registryCredentials": CREDENTIALS
        }
        with pytest.raises(HttpOperationError) as caught:
            manager.update_module_twin("edge#1", "$edgeAgent", patch, twin.etag)
        assert caught.value.response.headers["iothub-errorcode"] == "PreconditionFailed"
        again = manager.update_module_twin("edge#1", "$edgeAgent", updated, updated.etag)
        assert again.properties.desired["$version"] == 3

    await asyncio.to_thread(work)


@pytest.mark.parametrize("device_id", ["plain", "nobody"])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_missing_module_twin_is_reported_as_a_missing_device(
    http: HubHttp, device_id: str, method: str
) -> None:
    http.hub.create_device(DeviceSettings("plain"))
    body: Any = {} if method == "PATCH" else None
    path = f"/twins/{device_id}/modules/%24edgeAgent"
    answer = await http.request(method, path, json=body)
    assert (answer.status, answer.code) == (404, "DeviceNotFound")


async def test_a_twin_takes_no_document_of_another(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("edge", iot_edge=True))
    for path, body in (
        ("/twins/edge/modules/%24edgeAgent", {"moduleId": "$edgeHub"}),
        ("/twins/edge/modules/%24edgeAgent", {"deviceId": "other"}),
        ("/twins/edge", {"moduleId": "$edgeAgent"}),
    ):
        answer = await http.request("PATCH", path, json=body)
        assert (answer.status, answer.code) == (400, "ArgumentInvalid")
