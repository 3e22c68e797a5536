from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msrest.exceptions import HttpOperationError

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.models import DesiredPropertiesChanged, HubEvent
from local_azure.iot_hub.twins import (
    JsonObject,
    TwinPatch,
    merge_tags,
    replacement,
    size_of,
)
from local_azure.kernel.clock import Clock

from .hub_stack import HubHttp


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
        ({"a": 1}, {"a": None}, {}),
        ({"a": 1}, {"b": None}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
        ({}, {"a": {"b": None}}, {"a": {}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": [1]}, {"a": [1]}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": 1}, {"a": 1.0}, {"a": 1.0}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_a_patch_is_merged_as_rfc_7386_says(
    before: JsonObject, patch: JsonObject, after: JsonObject
) -> None:
    original = dict(before)
    assert merge_tags(before, patch) == after
    assert before == original


json_documents = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.integers(0, 3) | st.text("xy", max_size=2) | st.lists(st.integers(0, 3), max_size=2),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


@given(json_documents, json_documents)
def test_the_patch_of_a_replacement_leads_to_the_wanted_document(
    current: JsonObject, wanted: JsonObject
) -> None:
    assert merge_tags(current, replacement(current, wanted)) == wanted


DOCUMENT_LIMITS: list[tuple[str, JsonObject, bool]] = [
    ("a string value of 4096 bytes", {"k": "x" * 4096}, True),
    ("a string value of 4097 bytes", {"k": "x" * 4097}, False),
    ("a string value of 4098 bytes in 2049 characters", {"k": "ä" * 2049}, False),
    ("a string of 4097 bytes in an array", {"k": ["x" * 4097]}, False),
    ("a key of 1024 bytes", {"k" * 1024: 1}, True),
    ("a key of 1025 bytes", {"k" * 1025: 1}, False),
    ("a key of 1026 bytes in 513 characters", {"ä" * 513: 1}, False),
    ("an empty key", {"": 1}, True),
    ("a key with a dot", {"10.0.0.4:8080": 1}, False),
    ("a key with a dollar", {"$k": 1}, False),
    ("a key with a hash", {"a#": 1}, False),
    ("a key with a space", {"a b": 1}, False),
    ("a key with a control character", {"a\x1f": 1}, False),
    ("a key with a C1 control character", {"a\x80": 1}, False),
    ("a bad key deep inside", {"a": {"b": [{"c.d": 1}]}}, False),
    ("a bad key that is to be deleted", {"a.b": None}, False),
    ("an object 10 levels deep", nested(11), True),
    ("an object 11 levels deep", nested(12), False),
    ("an object 11 levels deep in an array", {"k": [nested(11)]}, False),
    ("the largest integer", {"k": 2**52 - 1}, True),
    ("the smallest integer", {"k": -(2**52)}, True),
    ("an integer too large", {"k": 2**52}, False),
    ("an integer too small", {"k": -(2**52) - 1}, False),
    ("a floating point number beyond the integers", {"k": 1e300}, True),
    ("a boolean", {"k": True}, True),
    ("null in an array", {"k": [None]}, False),
    ("null in an array in an array", {"k": [[None]]}, False),
    ("null in an object in an array", {"k": [{"a": None}]}, True),
    ("half of a surrogate pair", {"k": "\ud800"}, False),
    ("half of a surrogate pair in a key", {"\ud800": 1}, False),
]


def cases(*, fit: bool) -> pytest.MarkDecorator:
    chosen = [(name, document) for name, document, fits in DOCUMENT_LIMITS if fits is fit]
    return pytest.mark.parametrize(
        "document", [document for _, document in chosen], ids=[name for name, _ in chosen]
    )


def write(model: IotHub, section: str, document: JsonObject) -> None:
    match section:
        case "tags":
            model.patch_twin("d", TwinPatch(tags=document), etag=None)
        case "desired":
            model.patch_twin("d", TwinPatch(desired=document), etag=None)
        case _:
            model.report("d", document)


def expect_refused(model: IotHub, section: str, document: JsonObject) -> None:
    before = model.twin("d")
    with pytest.raises(IotHubError) as caught:
        write(model, section, document)
    assert (caught.value.kind.status, caught.value.kind.code) == (400, "ArgumentInvalid")
    assert model.twin("d") == before


every_section = pytest.mark.parametrize("section", ["tags", "desired", "reported"])


@every_section
@cases(fit=True)
def test_every_section_takes_what_is_within_the_limits(
    model: IotHub, section: str, document: JsonObject
) -> None:
    model.create_device(DeviceSettings("d"))
    write(model, section, document)
    assert model.twin("d").version == 3


@every_section
@cases(fit=False)
def test_every_section_refuses_what_is_beyond_the_limits(
    model: IotHub, section: str, document: JsonObject
) -> None:
    model.create_device(DeviceSettings("d"))
    expect_refused(model, section, document)


@pytest.mark.parametrize(
    ("section", "size"), [("tags", 8 * 1024), ("desired", 32 * 1024), ("reported", 32 * 1024)]
)
def test_every_section_keeps_its_size(model: IotHub, section: str, size: int) -> None:
    model.create_device(DeviceSettings("d"))
    write(model, section, text_document(size))
    expect_refused(model, section, {"99": "x"})
    write(model, section, {"00": None, "99": "x"})


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"ab": "xyz"}, 5),
        ({"ä": "ä"}, 4),
        ({"a": 1}, 9),
        ({"a": 1.5}, 9),
        ({"a": True}, 5),
        ({"a": "x\ny\x80"}, 3),
        ({"a": [1, "x"]}, 10),
        ({"a": {"b": {}}}, 2),
    ],
)
def test_sizes_are_counted_as_iot_hub_does(value: JsonObject, size: int) -> None:
    assert size_of(value) == size


def test_half_a_patch_never_takes_effect(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    before = model.twin("d")
    with pytest.raises(IotHubError):
        model.patch_twin("d", TwinPatch(tags={"a": 1}, desired={"b.c": 1}), etag=None)
    assert model.twin("d") == before


def test_a_new_twin_has_the_first_etag(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    twin = model.twin("d")
    assert (twin.etag, twin.version) == ("AAAAAAAAAAE=", 2)
    assert twin.desired.version == twin.reported.version == 1


def test_only_writes_of_the_service_side_move_the_etag(model: IotHub) -> None:
    device_etag = model.create_device(DeviceSettings("d")).etag
    model.report("d", {"a": 1})
    model.set_connected("d", connected=True)
    model.update_device(DeviceSettings("d"), etag=device_etag)
    assert model.twin("d").writes == 1
    twin = model.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    assert base64.b64decode(twin.etag) == b"\0\0\0\0\0\0\0\x02"
    twin = model.patch_twin("d", TwinPatch(tags={"b": 1}, desired={"c": 1}), etag=twin.etag)
    assert (twin.writes, twin.desired.version, twin.reported.version) == (3, 2, 2)


def test_a_patch_with_an_old_etag_is_refused_and_changes_nothing(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    old = model.twin("d").etag
    current = model.patch_twin("d", TwinPatch(desired={"a": 1}), etag=old)
    with pytest.raises(IotHubError) as caught:
        model.patch_twin("d", TwinPatch(desired={"a": 2}), etag=old)
    assert caught.value.kind.status == 412
    assert model.twin("d") == current


def test_a_patch_that_changes_nothing_still_moves_the_version(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    model.patch_twin("d", TwinPatch(desired={"a": 1}), etag=None)
    twin = model.patch_twin("d", TwinPatch(desired={"a": 1}), etag=None)
    assert twin.desired.version == 3


def test_a_patch_that_names_no_section_changes_nothing(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    before = model.twin("d")
    assert model.patch_twin("d", TwinPatch(), etag=None) == before


def test_metadata_says_when_each_property_was_written(model: IotHub, clock: Clock) -> None:
    model.create_device(DeviceSettings("d"))
    model.patch_twin("d", TwinPatch(desired={"a": {"b": 1, "c": 1}, "e": [1]}), etag=None)
    clock.advance(timedelta(seconds=1))
    twin = model.patch_twin("d", TwinPatch(desired={"a": {"b": 2}, "e": None}), etag=None)
    first = {"$lastUpdated": "2026-01-01T00:00:00.0000000Z", "$lastUpdatedVersion": 2}
    second = {"$lastUpdated": "2026-01-01T00:00:01.0000000Z", "$lastUpdatedVersion": 3}
    assert twin.desired.metadata == {**second, "a": {**second, "b": second, "c": first}}


def test_metadata_of_reported_properties_has_no_version(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    stamp = {"$lastUpdated": "2026-01-01T00:00:00.0000000Z"}
    assert model.report("d", {"a": 1}).metadata == {**stamp, "a": stamp}


def test_listeners_hear_of_desired_properties_as_they_were_patched(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    events: list[HubEvent] = []
    model.subscribe(events.append)
    model.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    model.patch_twin("d", TwinPatch(desired={"a": {"b": None}}), etag=None)
    model.report("d", {"a": 1})
    assert events == [DesiredPropertiesChanged("d", {"a": {"b": None}}, 2)]


def test_a_replaced_twin_keeps_nothing_but_what_was_put(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    model.patch_twin(
        "d", TwinPatch(tags={"t": 1}, desired={"a": {"b": 1, "c": 1}, "e": 1}), etag=None
    )
    events: list[HubEvent] = []
    model.subscribe(events.append)
    twin = model.replace_twin("d", TwinPatch(desired={"a": {"c": 2}}), etag=None)
    assert (twin.tags, twin.desired.values) == ({}, {"a": {"c": 2}})
    assert events == [
        DesiredPropertiesChanged("d", {"a": {"b": None, "c": 2}, "e": None}, 3),
    ]


def test_a_device_that_is_made_again_has_an_empty_twin(model: IotHub) -> None:
    model.create_device(DeviceSettings("d"))
    model.patch_twin("d", TwinPatch(desired={"a": 1}), etag=None)
    model.delete_device("d", etag=None)
    model.create_device(DeviceSettings("d"))
    assert model.twin("d").desired.values == {}


async def test_the_sdk_reads_patches_and_replaces_twins(http: HubHttp, ca_file: str) -> None:
    http.hub.create_device(DeviceSettings("d#1"))
    manager = http.manager(ca_file)

    def work() -> None:
        twin = manager.get_twin("d#1")
        assert (twin.tags, twin.version, twin.etag) == ({}, 2, "AAAAAAAAAAE=")
        patch: Any = {"tags": {"site": "north"}, "properties": {"desired": {"a": 1, "b": 2}}}
        twin = manager.update_twin("d#1", patch, twin.etag)
        assert twin.properties.desired["b"] == 2
        stale = "AAAAAAAAAAE="
        with pytest.raises(HttpOperationError) as caught:
            manager.update_twin("d#1", {"properties": {"desired": {"a": 9}}}, stale)
        assert caught.value.response.headers["iothub-errorcode"] == "PreconditionFailed"
        twin = manager.update_twin("d#1", {"properties": {"desired": {"b": None}}})
        assert "b" not in twin.properties.desired
        twin.properties.desired["a"] = 5
        twin = manager.update_twin("d#1", twin, twin.etag)
        assert (twin.properties.desired["a"], twin.properties.desired["$version"]) == (5, 4)
        twin = manager.replace_twin("d#1", {"properties": {"desired": {"z": 1}}})
        assert twin.tags == {}
        assert set(twin.properties.desired) == {"z", "$metadata", "$version"}

    await asyncio.to_thread(work)


async def test_a_twin_has_the_shape_that_iot_hub_answers(http: HubHttp) -> None:
    identity = http.hub.create_device(DeviceSettings("d", iot_edge=True))
    answer = await http.request("GET", "/twins/d")
    assert set(answer.body) == {
        "deviceId", "etag", "deviceEtag", "status", "statusReason", "statusUpdateTime",
        "connectionState", "lastActivityTime", "cloudToDeviceMessageCount",
        "authenticationType", "x509Thumbprint", "modelId", "version", "tags", "properties",
        "capabilities", "deviceScope",
    }  # fmt: skip
    assert answer.body["deviceEtag"] == identity.etag
    assert answer.body["statusUpdateTime"] == "0001-01-01T00:00:00Z"
    assert answer.body["connectionState"] == "Disconnected"


async def test_a_twin_of_no_device_is_not_found(http: HubHttp) -> None:
    for method in ("GET", "PATCH", "PUT"):
        answer = await http.request(method, "/twins/d", json={} if method != "GET" else None)
        assert (answer.status, answer.code) == (404, "DeviceNotFound")


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"AAAAAAAAAAI="', 200),
        ('"AAAAAAAAAAE="', 412),
        ('"*"', 200),
        ("*", 200),
        ("AAAAAAAAAAE=", 200),  # stale, but without quotes nobody looks at it
    ],
)
async def test_twins_heed_etags_in_quotes_only(http: HubHttp, if_match: str, status: int) -> None:
    http.hub.create_device(DeviceSettings("d"))
    http.hub.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    for method in ("PATCH", "PUT"):
        http.hub.delete_device("d", etag=None)
        http.hub.create_device(DeviceSettings("d"))
        http.hub.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
        answer = await http.request(
            method, "/twins/d", json={"tags": {"a": 2}}, headers={"If-Match": if_match}
        )
        assert answer.status == status


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"colour": "red"},
        {"desired": {}},
        {"properties": {"desires": {}}},
        {"properties": {"desired": []}},
        {"tags": "x"},
        {"deviceId": "other"},
    ],
)
async def test_a_twin_document_that_iot_hub_would_not_understand_is_refused(
    http: HubHttp, body: object
) -> None:
    http.hub.create_device(DeviceSettings("d"))
    answer = await http.request("PATCH", "/twins/d", json=body)
    assert answer.status == 400
    assert http.hub.twin("d").writes == 1


async def test_a_limit_is_refused_in_iot_hubs_words(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("d"))
    body = {"properties": {"desired": {"10.0.0.4": {"password": "hunter2"}}}}
    answer = await http.request("PATCH", "/twins/d", json=body)
    assert (answer.status, answer.code) == (400, "ArgumentInvalid")
    assert answer.body["Message"].startswith("ErrorCode:ArgumentInvalid;A key holds")
    assert "hunter2" not in answer.body["Message"]
