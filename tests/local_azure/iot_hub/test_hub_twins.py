from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import Any

import pytest
from msrest.exceptions import HttpOperationError

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.models import DesiredPropertiesChanged, HubEvent
from local_azure.iot_hub.twins import JsonObject, TwinPatch, merge_tags, size_of
from local_azure.kernel.clock import Clock

from .hub_stack import HubHttp


@pytest.fixture
def device(model: IotHub) -> IotHub:
    """A hub with one device, `d`."""
    model.create_device(DeviceSettings("d"))
    return model


def nested(levels: int) -> JsonObject:
    """A scalar inside this many objects."""
    return {"k": nested(levels - 1) if levels > 1 else 1}


def text_document(total: int) -> JsonObject:
    """A document that counts `total` bytes, in values of at most 4096."""
    document: JsonObject = {}
    while total:
        length = min(total, 4096)
        document[f"{len(document):02}"] = "x" * (length - 2)
        total -= length
    return document


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": None, "b": None}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": [1]}, {"a": [1]}),
        ({"a": 1}, {"a": {"b": 2, "c": None}}, {"a": {"b": 2}}),
    ],
)
def test_a_patch_is_merged_as_rfc_7386_says(
    before: JsonObject, patch: JsonObject, after: JsonObject
) -> None:
    original = dict(before)
    assert merge_tags(before, patch) == after
    assert before == original


DOCUMENT_LIMITS: list[tuple[str, JsonObject, bool]] = [
    ("a string value of 4096 bytes", {"k": "x" * 4096}, True),
    ("a string value of 4097 bytes", {"k": "x" * 4097}, False),
    ("a string value of 4098 bytes in 2049 characters", {"k": "ä" * 2049}, False),
    ("a string of 4097 bytes in an array", {"k": ["x" * 4097]}, False),
    ("a key of 1024 bytes", {"k" * 1024: 1}, True),
    ("a key of 1026 bytes in 513 characters", {"ä" * 513: 1}, False),
    ("a key with a dot", {"10.0.0.4:8080": 1}, False),
    ("a key with a dollar", {"$k": 1}, False),
    ("a key with a hash", {"a#": 1}, False),
    ("a key with a space", {"a b": 1}, False),
    ("a key with a control character", {"a\x80": 1}, False),
    ("a bad key deep inside", {"a": {"b": [{"c.d": 1}]}}, False),
    ("a bad key that is to be deleted", {"a.b": None}, False),
    ("an object 10 levels deep", nested(11), True),
    ("an object 11 levels deep", nested(12), False),
    ("an object 11 levels deep in an array", {"k": [nested(11)]}, False),
    ("the largest and the smallest integer", {"k": 2**52 - 1, "l": -(2**52)}, True),
    ("an integer too large", {"k": 2**52}, False),
    ("an integer too small", {"k": -(2**52) - 1}, False),
    ("a floating point number beyond the integers", {"k": 1e300}, True),
    ("null in an array", {"k": [[None]]}, False),
    ("null in an object in an array", {"k": [{"a": None}]}, True),
    ("half of a surrogate pair", {"k": "\ud800"}, False),
]


def expect_refused(hub: IotHub, section: str, document: JsonObject) -> None:
    before = hub.twin("d")
    with pytest.raises(IotHubError) as caught:
        write(hub, section, document)
    assert (caught.value.kind.status, caught.value.kind.code) == (400, "ArgumentInvalid")
    assert hub.twin("d") == before


def write(hub: IotHub, section: str, document: JsonObject) -> None:
    match section:
        case "tags":
            hub.patch_twin("d", TwinPatch(tags=document), etag=None)
        case "desired":
            hub.patch_twin("d", TwinPatch(desired=document), etag=None)
        case _:
            hub.report("d", document)


@pytest.mark.parametrize(
    ("document", "fits"),
    [(document, fits) for _, document, fits in DOCUMENT_LIMITS],
    ids=[name for name, _, _ in DOCUMENT_LIMITS],
)
def test_a_document_is_taken_within_the_limits_and_refused_beyond(
    device: IotHub, document: JsonObject, *, fits: bool
) -> None:
    if fits:
        write(device, "desired", document)
        assert device.twin("d").version == 3
    else:
        expect_refused(device, "desired", document)


@pytest.mark.parametrize(
    ("section", "size"), [("tags", 8 * 1024), ("desired", 32 * 1024), ("reported", 32 * 1024)]
)
def test_each_section_has_its_limit_of_size_and_the_same_rules(
    device: IotHub, section: str, size: int
) -> None:
    write(device, section, text_document(size))
    expect_refused(device, section, {"99": "x"})
    expect_refused(device, section, {"00": None, "a.b": 1})
    write(device, section, {"00": None, "99": "x"})


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"ab": "xyz"}, 5),
        ({"ä": "ä"}, 4),
        ({"a": 1}, 9),
        ({"a": True}, 5),
        ({"a": "x\ny\x80"}, 3),
        ({"a": [1.5, "x"]}, 10),
        ({"a": {"b": {}}}, 2),
    ],
)
def test_sizes_are_counted_as_iot_hub_does(value: JsonObject, size: int) -> None:
    assert size_of(value) == size


def test_half_a_patch_never_takes_effect(device: IotHub) -> None:
    before = device.twin("d")
    with pytest.raises(IotHubError):
        device.patch_twin("d", TwinPatch(tags={"a": 1}, desired={"b.c": 1}), etag=None)
    assert device.twin("d") == before


def test_only_writes_of_the_service_side_move_the_etag(device: IotHub) -> None:
    twin = device.twin("d")
    assert (twin.etag, twin.version) == ("AAAAAAAAAAE=", 2)
    assert twin.desired.version == twin.reported.version == 1
    device.report("d", {"a": 1})
    device.set_connected("d", connected=True)
    device.update_device(DeviceSettings("d"), etag=None)
    assert device.twin("d").writes == 1
    twin = device.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    assert base64.b64decode(twin.etag) == b"\0\0\0\0\0\0\0\x02"
    twin = device.patch_twin("d", TwinPatch(tags={"b": 1}, desired={"c": 1}), etag=twin.etag)
    assert (twin.writes, twin.desired.version, twin.reported.version) == (3, 2, 2)


def test_a_patch_moves_the_versions_of_the_sections_it_names_even_if_nothing_changes(
    device: IotHub,
) -> None:
    before = device.twin("d")
    assert device.patch_twin("d", TwinPatch(), etag=None) == before
    device.patch_twin("d", TwinPatch(desired={"a": 1}), etag=None)
    assert device.patch_twin("d", TwinPatch(desired={"a": 1}), etag=None).desired.version == 3


def test_metadata_has_the_time_of_each_property_and_for_desired_its_version(
    device: IotHub, clock: Clock
) -> None:
    device.patch_twin("d", TwinPatch(desired={"a": {"b": 1, "c": 1}, "e": [1]}), etag=None)
    clock.advance(timedelta(seconds=1))
    twin = device.patch_twin("d", TwinPatch(desired={"a": {"b": 2}, "e": None}), etag=None)
    first = {"$lastUpdated": "2026-01-01T00:00:00.0000000Z", "$lastUpdatedVersion": 2}
    second = {"$lastUpdated": "2026-01-01T00:00:01.0000000Z", "$lastUpdatedVersion": 3}
    assert twin.desired.metadata == {**second, "a": {**second, "b": second, "c": first}}
    stamp = {"$lastUpdated": "2026-01-01T00:00:01.0000000Z"}
    assert device.report("d", {"a": 1}).metadata == {**stamp, "a": stamp}


def test_listeners_are_called_with_desired_properties_as_they_were_patched(
    device: IotHub,
) -> None:
    events: list[HubEvent] = []
    device.subscribe(events.append)
    device.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    device.patch_twin("d", TwinPatch(desired={"a": {"b": None}}), etag=None)
    device.report("d", {"a": 1})
    assert events == [DesiredPropertiesChanged("d", {"a": {"b": None}}, 2)]


async def test_the_sdk_reads_and_patches_twins(http: HubHttp, ca_file: str) -> None:
    http.hub.create_device(DeviceSettings("d#1"))
    manager = http.manager(ca_file)

    def work() -> None:
        twin = manager.get_twin("d#1")
        assert (twin.tags, twin.version, twin.etag) == (None, 2, "AAAAAAAAAAE=")
        patch: Any = {"tags": {"site": "north"}, "properties": {"desired": {"a": 1, "b": 2}}}
        updated = manager.update_twin("d#1", patch, twin.etag)
        assert updated.properties.desired["b"] == 2
        with pytest.raises(HttpOperationError) as caught:
            manager.update_twin("d#1", {"properties": {"desired": {"a": 9}}}, twin.etag)
        assert caught.value.response.headers["iothub-errorcode"] == "PreconditionFailed"
        updated = manager.update_twin("d#1", {"properties": {"desired": {"b": None}}})
        assert "b" not in updated.properties.desired
        updated.properties.desired["a"] = 5
        updated = manager.update_twin("d#1", updated, updated.etag)
        assert (updated.properties.desired["a"], updated.properties.desired["$version"]) == (5, 4)

    await asyncio.to_thread(work)


async def test_a_twin_has_the_fields_that_iot_hub_answers(http: HubHttp) -> None:
    identity = http.hub.create_device(DeviceSettings("d", iot_edge=True))
    answer = await http.request("GET", "/twins/d")
    assert set(answer.body) == {
        "deviceId", "etag", "deviceEtag", "status", "statusUpdateTime", "connectionState",
        "lastActivityTime", "cloudToDeviceMessageCount", "authenticationType", "x509Thumbprint",
        "version", "properties", "capabilities", "deviceScope",
    }  # fmt: skip
    assert "ETag" not in answer.headers
    assert answer.body["deviceEtag"] == identity.etag
    assert answer.body["statusUpdateTime"] == "0001-01-01T00:00:00Z"
    assert answer.body["connectionState"] == "Disconnected"


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_twin_of_no_device_is_not_found(http: HubHttp, method: str) -> None:
    answer = await http.request(method, "/twins/d", json={} if method == "PATCH" else None)
    assert (answer.status, answer.code) == (404, "DeviceNotFound")


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"AAAAAAAAAAI="', 200),
        ('"AAAAAAAAAAE="', 412),
        ('"*"', 200),
        ("*", 200),
        ("AAAAAAAAAAE=", 200),  # outdated, but ignored without quotes
    ],
)
async def test_twins_heed_etags_in_quotes_only(http: HubHttp, if_match: str, status: int) -> None:
    http.hub.create_device(DeviceSettings("d"))
    http.hub.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    answer = await http.request(
        "PATCH", "/twins/d", json={"tags": {"a": 2}}, headers={"If-Match": if_match}
    )
    assert answer.status == status


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"colour": "red"},
        {"desired": {}},
        {"properties": {"desired": []}},
        {"tags": "x"},
        {"deviceId": "other"},
        {"properties": {"desired": {"10.0.0.4": {"password": "hunter2"}}}},
    ],
)
async def test_a_document_that_iot_hub_does_not_take_is_refused_without_its_values(
    http: HubHttp, body: object
) -> None:
    http.hub.create_device(DeviceSettings("d"))
    answer = await http.request("PATCH", "/twins/d", json=body)
    assert answer.status == 400
    assert "hunter2" not in answer.body["Message"]
    assert http.hub.twin("d").writes == 1
