from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from azure.iot.hub.models import QuerySpecification
from hypothesis import given
from hypothesis import strategies as st
from msrest.exceptions import HttpOperationError

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import DeviceSettings, DeviceStatus
from local_azure.iot_hub.management_routes import IotHubRoutes
from local_azure.iot_hub.models import DeviceCreated, DeviceDeleted, HubEvent
from local_azure.iot_hub.queries import MOST_CHARACTERS, Query
from local_azure.iot_hub.query_pages import MOST_ROWS
from local_azure.iot_hub.twins import JsonObject, TwinPatch
from local_azure.kernel import Kernel
from local_azure.kernel.clock import Clock
from local_azure.management import create_management_application

from .hub_stack import HubHttp

ALL = "SELECT * FROM devices"
TWIN: JsonObject = {
    "deviceId": "o'brien",
    "etag": "AAAAAAAAAAE=",
    "status": "enabled",
    "statusReason": None,
    "version": 2,
    "tags": {
        "site": "plant-one",
        "ring": 3,
        "ratio": 0.5,
        "live": True,
        "group": "a",
        "a-b": {"c.d": 1},
        "list": [1],
        "utf": "ä",
    },
    "properties": {
        "desired": {"firstpull": {"registryCredentials": {"p": {"deliveryId": "7"}}}},
        "reported": {"$version": 4, "firstpull": {"state": "Applied", "ring": 3}},
    },
    "capabilities": {"iotEdge": False},
}
HOLDING = [
    "status = 'enabled'",
    'status = "enabled"',
    "STATUS = 'enabled'",
    "devices.status = 'enabled'",
    r"deviceId = 'o\'brien'",
    'deviceId = "o\'brien"',
    r"tags.utf = '\u00e4'",
    "status != 'disabled'",
    "status <> 'disabled'",
    "'enabled' = status",
    "tags.ring = 3",
    "tags.ring = 3.0",
    "tags.ring > 2.5",
    "tags.ring >= 3 and tags.ring <= 3",
    "tags.ring < 3e1",
    "tags.ring > -1",
    "tags.ring = properties.reported.firstpull.ring",
    "tags.site < 'plant-two'",
    "tags.live = true",
    "tags.live != 1",
    "tags.ring != '3'",
    "capabilities.iotEdge != true",
    "capabilities.iotEdge = FALSE",
    "statusReason = null",
    "status != null",
    "tags.[[group]] = 'a'",
    "tags.[[a-b]].[[c.d]] = 1",
    "properties.reported.$version = 4",
    "properties.desired.firstpull.registryCredentials.p.deliveryId = '7'",
    "deviceId IN ['a', \"o'brien\"]",
    "deviceId nin ['a', 'b']",
    "tags.ring in [1, 2, 3]",
    "is_defined(tags.site)",
    "IS_DEFINED(statusReason)",
    "is_defined(properties.desired.firstpull)",
    "NOT is_defined(tags.nothing)",
    "NOT is_defined(tags.site.inner)",
    "STARTSWITH(deviceId, 'o')",
    "startswith(tags.site, 'plant')",
    "not startsWith(tags.site, 'Plant')",
    "NOT tags.ring = 4",
    "NOT NOT tags.ring = 3",
    "tags.ring = 4 AND tags.ring = 4 OR tags.ring = 3",
    "tags.ring = 3 OR tags.ring = 4 AND tags.ring = 4",
    "(tags.ring = 4 OR tags.ring = 3) AND (tags.live = true)",
    "tags.nothing = 1 OR tags.ring = 3",
    "NOT (tags.nothing = 1 AND tags.ring = 4)",
]
NOT_HOLDING = [
    "status = 'Enabled'",
    "status = 'disabled'",
    "tags.Site = 'plant-one'",
    "tags.ring = '3'",
    "tags.live = 1",
    "tags.ring = 4 AND (tags.ring = 4 OR tags.ring = 3)",
    "deviceId IN ['a']",
    "deviceId NIN ['o\\'brien']",
    "NOT is_defined(tags.site)",
    "is_defined(tags.site.inner)",
    "tags.ring > '2'",
    "tags.live > false",
    "STARTSWITH(tags.ring, '3')",
    "NOT STARTSWITH(tags.ring, '3')",
    "tags.nothing = 1",
    "tags.nothing != 1",
    "tags.nothing = null",
    "NOT tags.nothing = 1",
    "tags.nothing IN [1]",
    "tags.nothing NIN [1]",
    "NOT (tags.nothing = 1 OR tags.ring = 4)",
    "tags.list != 1",
    "properties.desired = properties.desired",
]


@pytest.mark.parametrize("condition", HOLDING)
def test_a_condition_that_holds_finds_the_twin(condition: str) -> None:
    assert Query.parse(f"{ALL} WHERE {condition}").finds(TWIN)


@pytest.mark.parametrize("condition", NOT_HOLDING)
def test_a_condition_that_is_false_or_speaks_of_what_is_missing_finds_nothing(
    condition: str,
) -> None:
    assert not Query.parse(f"{ALL} WHERE {condition}").finds(TWIN)


REFUSED = [
    ("", "SELECT"),
    ("SELECT", "name"),
    ("SELEC nonsense", "SELECT"),
    ("SELECT *", "FROM"),
    ("SELECT * FROM", "name"),
    ("SELECT * FROM devices WHERE", "name"),
    ("SELECT * FROM devices;", "character 22"),
    ("SELECT * FROM devices d", "stands at character 23"),
    ("SELECT * FROM devices.modules", "FROM devices.modules"),
    ("SELECT * FROM devices.jobs", "FROM devices.jobs"),
    ("SELECT TOP 5 * FROM devices", "TOP"),
    ("SELECT *, deviceId FROM devices", "FROM"),
    ("SELECT deviceId, * FROM devices", "name"),
    ("SELECT deviceId AS FROM devices", "FROM"),
    ("SELECT COUNT() FROM devices", "AS"),
    ("SELECT COUNT(deviceId) AS n FROM devices", r"\)"),
    ("SELECT COUNT() AS n, deviceId FROM devices", "FROM"),
    ("SELECT avg(tags.a) AS a FROM devices", r"AVG\(\)"),
    ("SELECT status AS a, COUNT() AS n FROM devices GROUP BY status", "property"),
    ("SELECT tags.a, properties.desired.a FROM devices", "same name"),
    ("SELECT serial FROM devices", "serial at character 8"),
    (f"{ALL} GROUP BY status", "GROUP"),
    (f"{ALL} WHERE", "name"),
    (f"{ALL} WHERE tags.a", "comparison"),
    (f"{ALL} WHERE true", "comparison"),
    (f"{ALL} WHERE tags.a =", "name"),
    (f"{ALL} WHERE tags.a == 1", "name"),
    (f"{ALL} WHERE tags.a + 1 = 2", "character 36"),
    (f"{ALL} WHERE tags.a = 0x1F", "character 38"),
    (f"{ALL} WHERE tags.a = 'open", "character 38"),
    (f"{ALL} WHERE tags.a = 'a\\n'", "character 38"),
    (f"{ALL} WHERE tags.a = '\\ud800'", "character 38"),
    (f"{ALL} WHERE tags.a = undefined", "UNDEFINED"),
    (f"{ALL} WHERE tags.group = 'a'", "GROUP"),
    (f"{ALL} WHERE tags['a'] = 'a'", r"\["),
    (f"{ALL} WHERE tags.[[]] = 'a'", r"\["),
    (f"{ALL} WHERE status = enabled", "enabled at character"),
    (f"{ALL} WHERE properties.Desired.a = 1", "properties.Desired.a"),
    (f"{ALL} WHERE deviceId.a = 1", "deviceId.a"),
    (f"{ALL} WHERE capabilities.iotEdge.a = 1", "capabilities.iotEdge.a"),
    (f"{ALL} WHERE devices = 1", "devices at character"),
    (f"{ALL} WHERE deviceId IN ('a')", r"\["),
    (f"{ALL} WHERE deviceId IN []", "literal"),
    (f"{ALL} WHERE deviceId NOT IN ['a']", "NOT"),
    (f"{ALL} WHERE STARTS_WITH(deviceId, 'a')", r"STARTS_WITH\(\)"),
    (f"{ALL} WHERE STARTSWITH(deviceId)", ","),
    (f"{ALL} WHERE is_defined('a')", "name"),
    (f"{ALL} WHERE (status = 'a'", r"\)"),
    (f"{ALL} WHERE status = 'a')", "end"),
    (f"{ALL} WHERE status = 'a' status = 'b'", "end"),
    (f"{ALL} WHERE {'NOT ' * 51}status = 'a'", "nested"),
    (f"{ALL} WHERE deviceId = '{'x' * MOST_CHARACTERS}'", "8192"),
]


@pytest.mark.parametrize(("text", "named"), REFUSED)
def test_a_query_that_is_not_of_the_language_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(IotHubError, match=named) as caught:
        Query.parse(text)
    assert (caught.value.kind.status, caught.value.kind.code) == (400, "ArgumentInvalid")


def test_a_refusal_says_nothing_of_the_values_asked_for() -> None:
    with pytest.raises(IotHubError) as caught:
        Query.parse(f"{ALL} WHERE deviceId = 'a' 'topsecret'")
    assert "topsecret" not in caught.value.message


@given(st.text(st.sampled_from("aA'\"\\[]().,*=<>!-1 \n$é") | st.characters(), max_size=40))
def test_whatever_is_asked_is_understood_or_refused(text: str) -> None:
    for query in (text, f"{ALL} WHERE {text}", " ".join(["SELECT", text, "FROM devices"])):
        with suppress(IotHubError):
            Query.parse(query).finds(TWIN)


def test_a_query_of_all_its_length_is_answered(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    part = " OR etag=1"
    condition = "deviceId = 'd'" + part * ((MOST_CHARACTERS - 50) // len(part))
    assert len(model.query(f"{ALL} WHERE {condition}").rows) == 1


@pytest.fixture
def fleet(hub: IotHub) -> IotHub:
    """Devices a to e; those before c are at site one; b is disabled, e is an edge device."""
    for device_id in "abcde":
        status = DeviceStatus.DISABLED if device_id == "b" else DeviceStatus.ENABLED
        hub.create_device(DeviceSettings(device_id, status=status, iot_edge=device_id == "e"))
        site = "one" if device_id < "c" else "two"
        hub.patch_twin(device_id, TwinPatch(tags={"site": site}), etag=None)
    hub.patch_twin("a", TwinPatch(desired={"firstpull": {"state": "x"}}), etag=None)
    hub.report("a", {"firstpull": {"state": "Applied"}})
    return hub


def ask(
    http: HubHttp, ca_file: str, query: str, *, policy: str = "service", **paging: str | None
) -> asyncio.Future[Any]:
    """Microsoft's client, in a thread because it blocks."""
    manager = http.manager(ca_file, policy=policy)
    specification = QuerySpecification(query=query)
    return asyncio.ensure_future(asyncio.to_thread(manager.query_iot_hub, specification, **paging))


@pytest.mark.usefixtures("fleet")
async def test_the_sdk_finds_whole_twins(http: HubHttp, ca_file: str) -> None:
    result = await ask(http, ca_file, f"{ALL} WHERE tags.site = 'one' AND status = 'enabled'")
    (twin,) = result.items
    read = await asyncio.to_thread(http.manager(ca_file).get_twin, "a")
    assert result.type == "Twin"
    assert result.continuation_token is None
    assert twin.as_dict() == read.as_dict()
    assert twin.properties.reported["firstpull"] == {"state": "Applied"}


@pytest.mark.usefixtures("fleet")
async def test_the_sdk_finds_what_is_selected_from_twins(http: HubHttp, ca_file: str) -> None:
    result = await ask(
        http,
        ca_file,
        "SELECT DeviceId, tags.site AS place, properties.desired.firstpull.state FROM devices"
        " WHERE deviceId IN ['a', 'c']",
    )
    assert result.type == "Raw"
    assert [(row.device_id, row.additional_properties) for row in result.items] == [
        ("a", {"place": "one", "state": "x"}),
        ("c", {"place": "two"}),
    ]


@pytest.mark.usefixtures("fleet")
async def test_the_sdk_counts_devices(http: HubHttp, ca_file: str) -> None:
    query = "SELECT COUNT() AS edgeDevices FROM devices WHERE capabilities.iotEdge = true"
    result = await ask(http, ca_file, query)
    (row,) = result.items
    assert (result.type, row.additional_properties) == ("Raw", {"edgeDevices": 1})


@pytest.mark.usefixtures("fleet")
async def test_the_sdk_goes_from_page_to_page(http: HubHttp, ca_file: str) -> None:
    seen, token = [], None
    for _ in range(3):
        result = await ask(http, ca_file, ALL, continuation_token=token, max_item_count="2")
        seen.append([twin.device_id for twin in result.items])
        token = result.continuation_token
    assert seen == [["a", "b"], ["c", "d"], ["e"]]
    assert token is None


async def test_queries_need_the_right_to_connect_as_a_service(http: HubHttp, ca_file: str) -> None:
    with pytest.raises(HttpOperationError) as caught:
        await ask(http, ca_file, ALL, policy="registryReadWrite")
    assert caught.value.response.status_code == 401


async def test_a_refused_query_reaches_the_sdk_in_the_hubs_own_words(
    http: HubHttp, ca_file: str
) -> None:
    with pytest.raises(HttpOperationError) as caught:
        await ask(http, ca_file, f"{ALL} GROUP BY status")
    answer = caught.value.response
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (400, "ArgumentInvalid")
    assert "GROUP" in answer.text


async def test_a_device_may_be_called_query(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("query"))
    answer = await http.request("GET", "/devices/query")
    assert answer.body["deviceId"] == "query"


@pytest.mark.parametrize("body", [{}, {"query": 1}, {"query": ALL, "top": 1}, [ALL]])
async def test_a_body_without_one_query_is_refused(http: HubHttp, body: object) -> None:
    answer = await http.request("POST", "/devices/query", json=body)
    assert answer.status == 400
    assert answer.code in {"ArgumentInvalid", "IotHubFormatError"}


@pytest.mark.parametrize(
    ("asked", "rows"),
    [("", 100), ("1", 1), ("100", 100), ("101", 100), ("0", 100), ("-1", 100)],
)
async def test_a_page_has_what_was_asked_for_up_to_a_hundred(
    http: HubHttp, asked: str, rows: int
) -> None:
    for number in range(MOST_ROWS + 1):
        http.hub.create_device(DeviceSettings(f"d{number}"))
    headers = {"x-ms-max-item-count": asked} if asked else {}
    answer = await http.request("POST", "/devices/query", json={"query": ALL}, headers=headers)
    assert len(answer.body) == rows
    assert answer.headers["x-ms-continuation"]


async def test_a_page_of_no_number_is_refused(http: HubHttp) -> None:
    answer = await http.request(
        "POST",
        "/devices/query",
        json={"query": ALL},
        headers={"x-ms-max-item-count": "many"},
    )
    assert (answer.status, answer.code) == (400, "ArgumentInvalid")


async def test_an_empty_continuation_is_the_first_page(http: HubHttp, fleet: IotHub) -> None:
    answer = await http.request(
        "POST", "/devices/query", json={"query": ALL}, headers={"x-ms-continuation": ""}
    )
    assert len(answer.body) == len(fleet.devices())


def test_a_continuation_leads_on_in_its_own_query_only(fleet: IotHub) -> None:
    token = fleet.query(ALL, most=2).continuation
    assert token is not None
    for other in (token[:-4], f"{token}AAAA", "", "nonsense", "é"):
        with pytest.raises(IotHubError, match="x-ms-continuation"):
            fleet.query(ALL, most=2, continuation=other)
    with pytest.raises(IotHubError, match="x-ms-continuation"):
        fleet.query("SELECT deviceId FROM devices", most=2, continuation=token)


def test_half_a_surrogate_pair_in_a_query_is_no_obstacle(fleet: IotHub) -> None:
    page = fleet.query(f"{ALL} WHERE deviceId != '\ud800'", most=2)
    assert page.continuation is not None


def pages(hub: IotHub, text: str, *, most: int) -> Iterator[list[Any]]:
    """The ids on each page; what happens between two pages is up to the caller."""
    token: str | None = None
    while True:
        page = hub.query(text, most=most, continuation=token)
        yield [row["deviceId"] for row in page.rows]
        token = page.continuation
        if token is None:
            return


def test_devices_that_come_and_go_between_pages_neither_hide_nor_repeat_others(
    fleet: IotHub,
) -> None:
    going = pages(fleet, "SELECT deviceId FROM devices", most=2)
    seen = next(going)
    fleet.delete_device("b", etag=None)
    fleet.delete_device("c", etag=None)
    fleet.create_device(DeviceSettings("f"))
    seen += [device_id for page in going for device_id in page]
    assert seen == ["a", "b", "d", "e", "f"]


def test_a_full_last_page_leads_nowhere(fleet: IotHub) -> None:
    assert [len(page) for page in pages(fleet, ALL, most=5)] == [5]


def test_nothing_found_is_an_empty_page_and_counts_as_none(model: IotHub) -> None:
    assert model.query(ALL).rows == []
    assert model.query("SELECT COUNT() AS n FROM devices").rows == [{"n": 0}]


def found(hub: IotHub, condition: str = "is_defined(deviceId)") -> list[Any]:
    rows = hub.query(f"{ALL} WHERE {condition}").rows
    return [row["deviceId"] for row in rows]


def test_without_a_lag_queries_see_every_change_at_once(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    model.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    model.report("d", {"b": 2})
    model.set_connected("d", connected=True)
    model.update_device(DeviceSettings("d", status=DeviceStatus.DISABLED), etag=None)
    assert found(
        model,
        "tags.a = 1 AND properties.reported.b = 2 AND connectionState = 'Connected'"
        " AND status = 'disabled'",
    ) == ["d"]
    model.delete_device("d", etag=None)
    assert found(model) == []


def test_a_lagging_index_shows_what_was_then(model: IotHub, clock: Clock) -> None:
    model.create_device(DeviceSettings("old"))
    model.index.lag = timedelta(minutes=10)
    model.create_device(DeviceSettings("new"))
    model.patch_twin("old", TwinPatch(tags={"a": 1}), etag=None)
    clock.advance(timedelta(minutes=5))
    model.patch_twin("old", TwinPatch(tags={"a": 2}), etag=None)
    model.delete_device("new", etag=None)
    clock.advance(timedelta(minutes=4))
    assert (found(model), found(model, "is_defined(tags.a)")) == (["old"], [])
    clock.advance(timedelta(minutes=1))
    assert (found(model), found(model, "tags.a = 1")) == (["old", "new"], ["old"])
    clock.advance(timedelta(minutes=5))
    assert (found(model), found(model, "tags.a = 2")) == (["old"], ["old"])


def test_the_ghost_of_a_deleted_device_is_found_while_its_twin_is_gone(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    model.index.lag = timedelta(minutes=25)
    model.delete_device("d", etag=None)
    assert found(model) == ["d"]
    assert model.query("SELECT COUNT() AS n FROM devices").rows == [{"n": 1}]
    with pytest.raises(IotHubError):
        model.twin("d")


def test_a_shorter_lag_shows_the_latest_and_nothing_older_comes_back(
    model: IotHub, clock: Clock
) -> None:
    model.create_device(DeviceSettings("d"))
    model.index.lag = timedelta(minutes=10)
    model.delete_device("d", etag=None)
    model.index.lag = timedelta()
    model.create_device(DeviceSettings("d"))
    model.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    assert found(model, "tags.a = 1") == ["d"]
    clock.advance(timedelta(minutes=10))
    assert found(model, "tags.a = 1") == ["d"]


def test_an_index_does_not_run_ahead(model: IotHub) -> None:
    with pytest.raises(ValueError, match="ahead"):
        model.index.lag = timedelta(seconds=-1)


def test_a_device_that_is_made_again_is_another_device_with_an_empty_twin(model: IotHub) -> None:
    events: list[HubEvent] = []
    first = model.create_device(DeviceSettings("d"))
    model.patch_twin("d", TwinPatch(tags={"a": 1}, desired={"b": 2}), etag=None)
    model.report("d", {"c": 3})
    model.subscribe(events.append)
    model.delete_device("d", etag=first.etag)
    second = model.create_device(DeviceSettings("d"))
    assert int(second.generation_id) > int(first.generation_id)
    assert events == [DeviceDeleted(first), DeviceCreated(second)]
    (row,) = model.query(ALL).rows
    twin = model.twin("d")
    assert (twin.tags, twin.desired.values, twin.reported.values) == ({}, {}, {})
    assert (row["tags"], row["deviceEtag"]) == ({}, second.etag)


async def test_the_management_port_sets_how_late_queries_are(kernel: Kernel, hub: IotHub) -> None:
    application = create_management_application(kernel, seed=1, routes=IotHubRoutes(hub).table())
    async with TestClient(TestServer(application)) as port:
        async with port.put("/iotHub/queryLag", json={"lagSeconds": 90}) as answer:
            assert (answer.status, await answer.json()) == (200, {"lagSeconds": 90})
        async with port.put("/iotHub/queryLag", json={"lagSeconds": -1}) as answer:
            assert answer.status == 400
        async with port.get("/iotHub/queryLag") as answer:
            assert await answer.json() == {"lagSeconds": 90}
    assert hub.index.lag == timedelta(seconds=90)
