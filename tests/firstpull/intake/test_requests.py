from __future__ import annotations

import json
from typing import Any

import pytest

from firstpull.intake.requests import read_request
from firstpull.model.errors import Invalid

GOOD: dict[str, Any] = {
    "deviceId": "press-1",
    "connectedRegistry": "plantone",
    "repositories": ["plant/app"],
}
MOST_BYTES = 64 * 1024
"""What a storage queue message holds."""
MARK = "QZ"
"""Put into wrong values: must not come back in a message."""


def body(**changes: Any) -> bytes:  # noqa: ANN401 - JSON
    """A good body with changes; `...` takes a field out."""
    document = {**GOOD, **changes}
    return json.dumps({k: v for k, v in document.items() if v is not ...}).encode()


def refused(text: bytes, *, device_id: str | None = None) -> Invalid:
    with pytest.raises(Invalid) as raised:
        read_request(text, device_id=device_id)
    return raised.value


BAD_FIELDS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("no device", {"deviceId": ...}, {"/deviceId"}),
    ("an empty device", {"deviceId": ""}, {"/deviceId"}),
    ("a device of null", {"deviceId": None}, {"/deviceId"}),
    ("a device that is a number", {"deviceId": 7}, {"/deviceId"}),
    ("a device that is a list", {"deviceId": [MARK]}, {"/deviceId"}),
    ("a device with a space", {"deviceId": f"{MARK} 1"}, {"/deviceId"}),
    ("a device with a slash", {"deviceId": f"{MARK}/1"}, {"/deviceId"}),
    ("a device with a line end", {"deviceId": f"{MARK}\n"}, {"/deviceId"}),
    ("a device with a zero", {"deviceId": f"{MARK}\x00"}, {"/deviceId"}),
    ("a device with an umlaut", {"deviceId": f"{MARK}ä"}, {"/deviceId"}),
    ("a device that is too long", {"deviceId": MARK * 65}, {"/deviceId"}),
    ("neither target", {"connectedRegistry": ...}, {""}),
    ("a target of null", {"connectedRegistry": None}, {""}),
    ("both targets", {"site": MARK}, {""}),
    ("an empty connected registry", {"connectedRegistry": ""}, {"/connectedRegistry"}),
    ("a connected registry number", {"connectedRegistry": 1}, {"/connectedRegistry"}),
    ("too long a connected registry", {"connectedRegistry": MARK * 65}, {"/connectedRegistry"}),
    ("an empty site", {"connectedRegistry": ..., "site": ""}, {"/site"}),
    ("a site that is an object", {"connectedRegistry": ..., "site": {"a": MARK}}, {"/site"}),
    ("no repositories", {"repositories": ...}, {"/repositories"}),
    ("an empty list of repositories", {"repositories": []}, {"/repositories"}),
    ("repositories of null", {"repositories": None}, {"/repositories"}),
    ("repositories as a text", {"repositories": f"plant/{MARK}"}, {"/repositories"}),
    ("repositories as an object", {"repositories": {"0": MARK}}, {"/repositories"}),
    ("a repository number", {"repositories": ["a", 5]}, {"/repositories/1"}),
    ("a repository of null", {"repositories": ["a", None]}, {"/repositories/1"}),
    ("a repository in upper case", {"repositories": ["a", MARK]}, {"/repositories/1"}),
    ("an empty repository", {"repositories": ["", "a"]}, {"/repositories/0"}),
    ("a repository with a tag", {"repositories": ["a", "b:latest"]}, {"/repositories/1"}),
    ("a repository with a host", {"repositories": ["a", f"{MARK}:8000/b"]}, {"/repositories/1"}),
    ("a wildcard in the middle", {"repositories": ["a", "b/*/c"]}, {"/repositories/1"}),
    ("half a wildcard", {"repositories": ["b*", "a"]}, {"/repositories/0"}),
    ("too long a repository", {"repositories": ["a", "b" * 257]}, {"/repositories/1"}),
    ("a repository twice", {"repositories": ["a", "a"]}, {"/repositories"}),
    ("too many repositories", {"repositories": [f"r{n}" for n in range(101)]}, {"/repositories"}),
    ("several wrong", {"repositories": ["A", "a", "b//c"]}, {"/repositories/0", "/repositories/2"}),
    ("an empty list of actions", {"actions": []}, {"/actions"}),
    ("actions as a text", {"actions": "content/read"}, {"/actions"}),
    ("an unknown action", {"actions": ["content/read", MARK]}, {"/actions/1"}),
    ("an action number", {"actions": ["content/read", 1]}, {"/actions/1"}),
    ("an action twice", {"actions": ["content/read", "content/read"]}, {"/actions"}),
    ("an empty hub", {"hub": ""}, {"/hub"}),
    ("a hub number", {"hub": 1}, {"/hub"}),
    ("an empty container registry", {"containerRegistry": ""}, {"/containerRegistry"}),
    ("a truth for a name", {"containerRegistry": True}, {"/containerRegistry"}),
    ("an unknown field", {"password": MARK}, {"/password"}),
    ("the snake case name", {"device_id": MARK}, {"/device_id"}),
    ("another case", {"DeviceId": MARK}, {"/DeviceId"}),
    ("a field with special characters", {"a/b~c": MARK}, {"/a~1b~0c"}),
    (
        "everything wrong at once",
        {"deviceId": "", "repositories": [], "actions": [], "hub": 1, "x": 1},
        {"/deviceId", "/repositories", "/actions", "/hub", "/x"},
    ),
]


@pytest.mark.parametrize(
    ("changes", "paths"), [row[1:] for row in BAD_FIELDS], ids=[row[0] for row in BAD_FIELDS]
)
def test_a_bad_field_is_named_by_its_path_once_and_not_repeated(
    changes: dict[str, Any], paths: set[str]
) -> None:
    error = refused(body(**changes))
    assert sorted(found.path for found in error.errors) == sorted(paths)
    assert all(found.message for found in error.errors)
    assert MARK not in error.message + repr(error) + repr(error.errors)
    assert error.__cause__ is None
    assert error.__suppress_context__


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"QZ",
        b"{",
        b'{"deviceId": "QZ"',
        b"null",
        b"[]",
        b'["QZ"]',
        b'"QZ"',
        b"7",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"deviceId": "\\ud800QZ"}',
        b'{"deviceId": "\xe4QZ"}',
        b'{"deviceId": NaN}',
        b'{"deviceId": 1' + b"0" * 5000 + b"}",
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"{'deviceId': 'QZ'}",
        b'{"deviceId": "QZ",}',
        b'{"deviceId": "QZ"} {}',
    ],
    ids=range(21),
)
def test_a_body_that_is_no_json_object_is_refused_as_a_whole(text: bytes) -> None:
    error = refused(text)
    assert error.errors == ()
    assert MARK not in str(error)


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" + b"0" * 4000])
def test_a_number_that_no_float_holds_is_one_wrong_field(number: bytes) -> None:
    error = refused(body()[:-1] + b', "hub": ' + number + b"}")
    assert {found.path for found in error.errors} == {"/hub"}


def test_a_body_that_no_queue_takes_is_refused() -> None:
    error = refused(body(hub="h" * MOST_BYTES))
    assert f"{MOST_BYTES} bytes" in error.message


def test_a_good_body_is_read() -> None:
    request = read_request(
        body(actions=["content/read", "metadata/read"], hub="h", containerRegistry="acrtest")
    )
    assert (request.device_id, request.connected_registry) == ("press-1", "plantone")
    assert request.repositories == ("plant/app",)
    assert request.actions == ("content/read", "metadata/read")
    assert (request.hub, request.container_registry, request.site) == ("h", "acrtest", None)
    assert read_request(body(connectedRegistry=..., site="plant")).site == "plant"


@pytest.mark.parametrize("device_id", ["%2F", "a'b", "-:.+%_#*?!(),=@$'", "A" * 128])
def test_every_device_id_of_iot_hub_is_taken(device_id: str) -> None:
    assert read_request(body(deviceId=device_id)).device_id == device_id


def test_the_address_names_the_device_where_the_body_does_not() -> None:
    assert read_request(body(deviceId=...), device_id="press-9").device_id == "press-9"
    assert read_request(body(), device_id="press-1").device_id == "press-1"


@pytest.mark.parametrize("in_body", ["Press-1", None, 7])
def test_the_address_and_the_body_must_name_the_same_device(in_body: Any) -> None:  # noqa: ANN401
    error = refused(body(deviceId=in_body), device_id="press-1")
    assert [found.path for found in error.errors] == ["/deviceId"]
