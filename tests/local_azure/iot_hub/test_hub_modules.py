"""Modules and their twins, with Microsoft's service SDK."""

from __future__ import annotations

import asyncio

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.models import EDGE_AGENT, EDGE_HUB

from .hub_stack import HubHttp


async def test_an_edge_device_has_the_runtimes_modules_and_another_device_none(
    http: HubHttp, ca_file: str
) -> None:
    http.hub.create_device(DeviceSettings("gateway", iot_edge=True))
    http.hub.create_device(DeviceSettings("sensor"))

    def read(manager: IoTHubRegistryManager) -> None:
        modules = manager.get_modules("gateway")
        assert [m.module_id for m in modules] == [EDGE_AGENT, EDGE_HUB]
        assert {m.managed_by for m in modules} == {"iotEdge"}
        assert manager.get_modules("sensor") == []
        with pytest.raises(HttpOperationError, match="Not Found") as caught:
            manager.get_module_twin("sensor", EDGE_AGENT)
        assert caught.value.response.headers["iothub-errorcode"] == "DeviceNotFound"

    await asyncio.to_thread(read, http.manager(ca_file))


async def test_a_module_twin_is_patched_under_its_etag_and_apart_from_the_devices(
    http: HubHttp, ca_file: str
) -> None:
    http.hub.create_device(DeviceSettings("gateway", iot_edge=True))

    def patch(manager: IoTHubRegistryManager) -> None:
        before = manager.get_module_twin("gateway", EDGE_AGENT)
        change = Twin(properties=TwinProperties(desired={"runtime": {"type": "docker"}}))
        after = manager.update_module_twin("gateway", EDGE_AGENT, change, before.etag)
        assert after.properties.desired["runtime"] == {"type": "docker"}
        stamps = after.properties.desired["$metadata"]["runtime"]["type"]
        assert stamps["$lastUpdatedVersion"] == after.properties.desired["$version"] == 2
        with pytest.raises(HttpOperationError) as caught:
            manager.update_module_twin("gateway", EDGE_AGENT, change, before.etag)
        assert caught.value.response.status_code == 412
        assert "runtime" not in manager.get_twin("gateway").properties.desired

    await asyncio.to_thread(patch, http.manager(ca_file))


async def test_a_query_finds_the_modules_of_a_name_with_their_deployments(
    http: HubHttp, ca_file: str
) -> None:
    for name in ("one", "two"):
        http.hub.create_device(DeviceSettings(name, iot_edge=True))
    http.hub.deploy("two", "fleet-base")

    def query(manager: IoTHubRegistryManager) -> None:
        text = 'SELECT * FROM devices.modules WHERE moduleId IN ["$edgeAgent"]'
        first = manager.query_iot_hub(QuerySpecification(query=text), None, "1")
        rest = manager.query_iot_hub(QuerySpecification(query=text), first.continuation_token, "1")
        found = [*first.items, *rest.items]
        assert [(twin.device_id, twin.module_id) for twin in found] == [
            ("one", EDGE_AGENT),
            ("two", EDGE_AGENT),
        ]
        extra = found[1].additional_properties
        assert extra["configurations"] == {"fleet-base": {"status": "Applied"}}

    await asyncio.to_thread(query, http.manager(ca_file))


async def test_a_module_is_added_and_goes_with_its_device(http: HubHttp, ca_file: str) -> None:
    http.hub.create_device(DeviceSettings("gateway"))

    def change(manager: IoTHubRegistryManager) -> None:
        made = manager.create_module_with_sas("gateway", "filter", "", None, None)
        assert made.authentication.symmetric_key.primary_key
        with pytest.raises(HttpOperationError, match="Conflict"):
            manager.create_module_with_sas("gateway", "filter", "", None, None)
        manager.delete_module("gateway", "filter")
        manager.create_module_with_sas("gateway", "other", "", None, None)
        manager.delete_device("gateway")

    await asyncio.to_thread(change, http.manager(ca_file))
    assert not http.hub.has_module("gateway", "other")
