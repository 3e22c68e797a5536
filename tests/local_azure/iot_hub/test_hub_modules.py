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

DEPLOYMENT: Any = {
    "schemaVersion": "1.1",
    "runtime": {"type": "docker", "settings": {"registryCredentials": {}}},
}
CREDENTIALS: Any = {
    "plant": {"address": "10.0.0.4:8080", "username": "camera", "password": "a password"}
}


def test_an_edge_device_has_its_two_modules_from_the_start(model: IotHub) -> None:
    model.create_device(DeviceSettings("edge", iot_edge=True))
    model.create_device(DeviceSettings("plain"))
    assert [module.module_id for module in model.modules("edge")] == ["$edgeAgent", "$edgeHub"]
    assert model.modules("plain") == []


def test_modules_have_keys_of_their_own_that_no_text_shows(model: IotHub) -> None:
    device = model.create_device(DeviceSettings("edge", iot_edge=True))
    agent, hub = model.modules("edge")
    keys = {*device.settings.authentication.keys, *agent.authentication.keys}
    assert len(keys | {*hub.authentication.keys}) == 6
    assert agent.authentication.keys[0] not in repr(agent)


def test_a_device_that_becomes_an_edge_device_gets_modules_and_loses_them_again(
    model: IotHub,
) -> None:
    model.create_device(DeviceSettings("d"))
    model.update_device(DeviceSettings("d", iot_edge=True), etag=None)
    kept = model.modules("d")
    model.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None, module_id="$edgeAgent")
    model.update_device(DeviceSettings("d", iot_edge=True), etag=None)
    assert (model.modules("d"), model.twin("d", "$edgeAgent").tags) == (kept, {"a": 1})
    model.update_device(DeviceSettings("d"), etag=None)
    assert model.modules("d") == []
    with pytest.raises(IotHubError):
        model.twin("d", "$edgeAgent")


def test_modules_go_with_their_device_and_come_back_empty(model: IotHub) -> None:
    model.create_device(DeviceSettings("edge", iot_edge=True))
    first = model.module("edge", "$edgeAgent")
    model.patch_twin("edge", TwinPatch(desired={"a": 1}), etag=None, module_id="$edgeAgent")
    model.delete_device("edge", etag=None)
    model.create_device(DeviceSettings("edge", iot_edge=True))
    assert model.twin("edge", "$edgeAgent").desired.values == {}
    assert model.module("edge", "$edgeAgent").generation_id != first.generation_id


def test_a_write_to_a_module_stays_out_of_its_device_and_of_the_other_module(
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


async def test_the_sdk_puts_registry_credentials_into_a_deployed_edge_agent(
    http: HubHttp, ca_file: str
) -> None:
    http.hub.create_device(DeviceSettings("edge#1", iot_edge=True))
    manager = http.manager(ca_file)

    def work() -> None:
        twin = manager.get_module_twin("edge#1", "$edgeAgent")
        assert (twin.device_id, twin.module_id, twin.etag) == (
            "edge#1", "$edgeAgent", "AAAAAAAAAAE=",
        )  # fmt: skip
        replaced: Any = {"properties": {"desired": DEPLOYMENT}}
        twin = manager.replace_module_twin("edge#1", "$edgeAgent", replaced, twin.etag)
        settings = {"runtime": {"settings": {"registryCredentials": CREDENTIALS}}}
        patch: Any = {"properties": {"desired": settings}}
        twin = manager.update_module_twin("edge#1", "$edgeAgent", patch, twin.etag)
        runtime = twin.properties.desired["runtime"]
        assert (runtime["type"], runtime["settings"]["registryCredentials"]) == (
            "docker", CREDENTIALS,
        )  # fmt: skip
        with pytest.raises(HttpOperationError) as caught:
            manager.update_module_twin("edge#1", "$edgeAgent", patch, "AAAAAAAAAAE=")
        assert caught.value.response.headers["iothub-errorcode"] == "PreconditionFailed"
        gone: Any = {"runtime": {"settings": {"registryCredentials": {"plant": None}}}}
        manager.update_module_twin("edge#1", "$edgeAgent", {"properties": {"desired": gone}})
        twin = manager.get_module_twin("edge#1", "$edgeAgent")
        assert twin.properties.desired["runtime"]["settings"]["registryCredentials"] == {}

    await asyncio.to_thread(work)


async def test_the_sdk_sends_a_module_twin_back_as_it_read_it(http: HubHttp, ca_file: str) -> None:
    http.hub.create_device(DeviceSettings("edge", iot_edge=True))
    manager = http.manager(ca_file)

    def work() -> None:
        twin = manager.get_module_twin("edge", "$edgeHub")
        twin.properties.desired["routes"] = {"route": "FROM /* INTO $upstream"}
        twin = manager.update_module_twin("edge", "$edgeHub", twin, twin.etag)
        assert twin.properties.desired["$version"] == 2

    await asyncio.to_thread(work)


async def test_the_sdk_lists_the_modules(http: HubHttp, ca_file: str) -> None:
    http.hub.create_device(DeviceSettings("edge", iot_edge=True))
    manager = http.manager(ca_file)

    def work() -> None:
        modules = manager.get_modules("edge")
        assert [(m.module_id, m.managed_by) for m in modules] == [
            ("$edgeAgent", "iotEdge"),
            ("$edgeHub", "iotEdge"),
        ]
        agent = manager.get_module("edge", "$edgeAgent")
        assert agent.etag == modules[0].etag
        assert agent.authentication.symmetric_key.primary_key

    await asyncio.to_thread(work)


async def test_a_missing_module_twin_is_reported_as_a_missing_device(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("plain"))
    for device_id in ("plain", "nobody"):
        for method in ("GET", "PATCH", "PUT"):
            body: Any = {} if method != "GET" else None
            path = f"/twins/{device_id}/modules/%24edgeAgent"
            answer = await http.request(method, path, json=body)
            assert (answer.status, answer.code) == (404, "DeviceNotFound")


async def test_a_missing_module_identity_has_an_error_of_its_own(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("plain"))
    answer = await http.request("GET", "/devices/plain/modules/%24edgeAgent")
    assert (answer.status, answer.code) == (404, "ModuleNotFound")
    answer = await http.request("GET", "/devices/nobody/modules")
    assert (answer.status, answer.code) == (404, "DeviceNotFound")


async def test_a_module_twin_takes_no_document_of_another(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("edge", iot_edge=True))
    for body in ({"moduleId": "$edgeHub"}, {"deviceId": "other"}):
        answer = await http.request("PATCH", "/twins/edge/modules/%24edgeAgent", json=body)
        assert (answer.status, answer.code) == (400, "ArgumentInvalid")
    answer = await http.request("PATCH", "/twins/edge", json={"moduleId": "$edgeAgent"})
    assert answer.status == 400


async def test_module_twins_need_the_right_to_twins(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("edge", iot_edge=True))
    signed = {"Authorization": http.policy_signature("registryReadWrite")}
    answer = await http.request("GET", "/twins/edge/modules/%24edgeAgent", headers=signed)
    assert answer.status == 401
    answer = await http.request("GET", "/devices/edge/modules", headers=signed)
    assert answer.status == 200
