from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from azure.iot.hub.models import QuerySpecification

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import DeviceSettings, DeviceStatus
from local_azure.iot_hub.management_routes import IotHubRoutes
from local_azure.iot_hub.queries import MAX_CHARACTERS, MAX_ROWS
from local_azure.iot_hub.twins import TwinPatch
from local_azure.kernel import Kernel
from local_azure.kernel.clock import Clock
from local_azure.management import create_management_application

from .hub_stack import HubHttp

ALL = "SELECT * FROM devices"
OPTED_IN = f"{ALL} WHERE is_defined(tags.firstpull) OR is_defined(properties.desired.firstpull)"


@pytest.fixture
def fleet(hub: IotHub) -> IotHub:
    """Devices a to e, of which a has a tag, b a desired and c a reported property."""
    for device_id in "abcde":
        hub.create_device(DeviceSettings(device_id))
    hub.patch_twin("a", TwinPatch(tags={"firstpull": {"site": None}}), etag=None)
    hub.patch_twin("b", TwinPatch(desired={"firstpull": {"state": "x"}}), etag=None)
    hub.report("c", {"firstpull": {"state": "Applied"}})
    return hub


def found(hub: IotHub, text: str = ALL) -> list[Any]:
    return [row["deviceId"] for row in hub.query(text).rows]


@pytest.mark.parametrize(
    ("condition", "devices"),
    [
        ("", "abcde"),
        (" WHERE is_defined(tags.firstpull)", "a"),
        (" where Is_Defined( tags.firstpull ) or is_defined(properties.desired.firstpull)", "ab"),
        (" WHERE is_defined(properties.desired.firstpull.state)", "b"),
        (" WHERE is_defined(properties.desired.firstpull.state.x)", ""),
        (" WHERE is_defined(properties.reported.$version)", "abcde"),
        (" WHERE is_defined(tags.FirstPull)", ""),
        (f" WHERE deviceId IN {json.dumps(['b', 'e', 'x'])}", "be"),
        (" WHERE deviceId IN [] OR is_defined(tags.firstpull)", "a"),
    ],
)
def test_a_query_returns_the_devices_that_match_a_condition(
    fleet: IotHub, condition: str, devices: str
) -> None:
    assert found(fleet, ALL + condition) == list(devices)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT deviceId FROM devices",
        "SELECT COUNT() AS n FROM devices",
        "SELECT * FROM devices.jobs",
        f"{ALL} is_defined(tags.a)",
        f"{ALL} WHERE",
        f"{ALL};",
        f"{ALL} GROUP BY status",
        f"{ALL} WHERE tags.site = 'one'",
        f"{ALL} WHERE is_defined(tags.a) AND is_defined(tags.b)",
        f"{ALL} WHERE is_defined(tags.a) OR",
        f"{ALL} WHERE is_defined(tags.a) is_defined(tags.b)",
        f"{ALL} WHERE is_defined(status)",
        f"{ALL} WHERE deviceId IN ['a']",
        f"{ALL} WHERE deviceId IN ('a')",
        f"{ALL} WHERE deviceId IN {json.dumps(['x' * MAX_CHARACTERS])}",
    ],
)
def test_any_other_query_is_refused(fleet: IotHub, text: str) -> None:
    with pytest.raises(IotHubError) as caught:
        fleet.query(text)
    assert (caught.value.kind.status, caught.value.kind.code) == (400, "ArgumentInvalid")


async def ask(http: HubHttp, ca_file: str, query: str, **paging: str | None) -> Any:  # noqa: ANN401
    """Microsoft's client, in a thread because it blocks."""
    manager = http.manager(ca_file)
    return await asyncio.to_thread(manager.query_iot_hub, QuerySpecification(query=query), **paging)


@pytest.mark.usefixtures("fleet")
async def test_the_sdk_gets_whole_twins_page_by_page(http: HubHttp, ca_file: str) -> None:
    seen, token = [], None
    for _ in range(3):
        result = await ask(http, ca_file, ALL, continuation_token=token, max_item_count="2")
        assert result.type == "Twin"
        seen.append([twin.device_id for twin in result.items])
        token = result.continuation_token
    assert (seen, token) == ([["a", "b"], ["c", "d"], ["e"]], None)
    (first, _) = (await ask(http, ca_file, OPTED_IN)).items
    read = await asyncio.to_thread(http.manager(ca_file).get_twin, "a")
    assert first.as_dict() == read.as_dict()


@pytest.mark.parametrize(
    ("count", "rows"), [("", 100), ("1", 1), ("101", 100), ("0", 100), ("many", None)]
)
async def test_a_page_has_as_many_rows_as_requested_up_to_a_hundred(
    http: HubHttp, count: str, rows: int | None
) -> None:
    for number in range(MAX_ROWS + 1):
        http.hub.create_device(DeviceSettings(f"d{number}"))
    headers = {"x-ms-max-item-count": count} if count else {}
    answer = await http.request("POST", "/devices/query", json={"query": ALL}, headers=headers)
    if rows is None:
        assert (answer.status, answer.code) == (400, "ArgumentInvalid")
    else:
        assert len(answer.body) == rows
        assert answer.headers["x-ms-continuation"]


@pytest.mark.parametrize("body", [{}, {"query": 1}, {"query": ALL, "top": 1}, [ALL]])
async def test_a_body_without_one_query_is_refused(http: HubHttp, body: object) -> None:
    assert (await http.request("POST", "/devices/query", json=body)).status == 400


def pages(hub: IotHub, *, most: int) -> Iterator[list[Any]]:
    """The ids on each page; the caller may change devices between two pages."""
    token: str | None = None
    while True:
        page = hub.query(ALL, most=most, continuation=token)
        yield [row["deviceId"] for row in page.rows]
        token = page.continuation
        if token is None:
            return


def test_creations_and_deletions_between_pages_neither_hide_nor_repeat_devices(
    fleet: IotHub,
) -> None:
    going = pages(fleet, most=2)
    seen = next(going)
    fleet.delete_device("b", etag=None)
    fleet.delete_device("c", etag=None)
    fleet.create_device(DeviceSettings("f"))
    seen += [device_id for page in going for device_id in page]
    assert seen == ["a", "b", "d", "e", "f"]


def test_a_full_last_page_has_no_continuation(fleet: IotHub) -> None:
    assert [len(page) for page in pages(fleet, most=5)] == [5]


@pytest.mark.parametrize("token", ["nonsense", "é", "x" * 40])
def test_an_invalid_continuation_is_refused(fleet: IotHub, token: str) -> None:
    with pytest.raises(IotHubError, match="x-ms-continuation"):
        fleet.query(ALL, continuation=token)


def test_without_lag_queries_see_every_change_at_once(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    model.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    model.report("d", {"b": 2})
    model.set_connected("d", connected=True)
    model.update_device(DeviceSettings("d", status=DeviceStatus.DISABLED), etag=None)
    (row,) = model.query(ALL).rows
    assert (row["tags"], row["connectionState"], row["status"]) == (
        {"a": 1}, "Connected", "disabled",
    )  # fmt: skip
    model.delete_device("d", etag=None)
    assert found(model) == []


def test_a_lagging_index_shows_an_earlier_state_and_deleted_devices(
    model: IotHub, clock: Clock
) -> None:
    model.create_device(DeviceSettings("old"))
    model.index.lag = timedelta(minutes=10)
    model.create_device(DeviceSettings("new"))
    model.patch_twin("old", TwinPatch(tags={"a": 1}), etag=None)
    clock.advance(timedelta(minutes=5))
    model.delete_device("new", etag=None)
    clock.advance(timedelta(minutes=4))
    tagged = f"{ALL} WHERE is_defined(tags.a)"
    assert (found(model), found(model, tagged)) == (["old"], [])
    clock.advance(timedelta(minutes=1))
    assert (found(model), found(model, tagged)) == (["old", "new"], ["old"])
    with pytest.raises(IotHubError):
        model.twin("new")
    clock.advance(timedelta(minutes=5))
    assert found(model) == ["old"]


def test_a_shorter_lag_never_shows_an_older_state(model: IotHub, clock: Clock) -> None:
    model.create_device(DeviceSettings("d"))
    model.index.lag = timedelta(minutes=10)
    model.delete_device("d", etag=None)
    model.index.lag = timedelta()
    model.create_device(DeviceSettings("d"))
    assert found(model) == ["d"]
    clock.advance(timedelta(minutes=10))
    assert found(model) == ["d"]


async def test_the_management_port_sets_the_lag_of_queries(kernel: Kernel, hub: IotHub) -> None:
    application = create_management_application(kernel, seed=1, routes=IotHubRoutes(hub).table())
    async with TestClient(TestServer(application)) as port:
        async with port.put("/iotHub/queryLag", json={"lagSeconds": 90}) as answer:
            assert (answer.status, await answer.json()) == (200, {"lagSeconds": 90})
        async with port.put("/iotHub/queryLag", json={"lagSeconds": -1}) as answer:
            assert answer.status == 400
        async with port.get("/iotHub/queryLag") as answer:
            assert await answer.json() == {"lagSeconds": 90}
    assert hub.index.lag == timedelta(seconds=90)
