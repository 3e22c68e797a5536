from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstpull.model.secret import Secret
from firstpull.model.twin_entry import Acknowledgement, Contents, read_acknowledgement, read_entry
from local_azure.iot_hub.twins import size_of
from tests.firstpull.builders import (
    ADDRESS,
    MADE,
    NAMES,
    PASSWORD,
    contents,
    desired,
    edited,
    merged,
    reported,
)
from tests.firstpull.harness import VALIDITY
from tests.world.ports import revealed

ENDS = MADE + VALIDITY
ID = contents().delivery_id(PASSWORD, expires_at=ENDS)
CA = "-----BEGIN CERTIFICATE-----\n" + "A" * 9000 + "\n-----END CERTIFICATE-----\n"


def patch(*, replaces: frozenset[str] = frozenset()) -> dict[str, Any]:
    return contents().patch("plantone", PASSWORD, expires_at=ENDS, replaces=replaces)


def test_the_entry_has_the_words_of_the_edge_agent() -> None:
    assert desired()["firstpull"]["registryCredentials"]["plantone"] == {
        "address": ADDRESS,
        "username": NAMES.token,
        "password": PASSWORD.reveal(),
        "deliveryId": ID,
        "expiresOn": "2026-07-29T12:00:00Z",
        "repositories": ["plant/app"],
    }


def test_a_delivered_entry_is_read_back_whole() -> None:
    entry = read_entry(desired(), "plantone")
    assert entry is not None
    assert entry.id == ID
    assert entry.fields == contents().without_password(ENDS)
    assert entry.expires == "2026-07-29T12:00:00Z"
    assert entry.intact


@pytest.mark.parametrize(
    "change",
    [
        {"address": "stranger.example:8000"},
        {"username": "another"},
        {"password": "another"},
        {"expiresOn": "2036-07-29T12:00:00Z"},
        {"repositories": ["plant/app", "other"]},
        {"repositories": None},
        {"insecure": True},
        {"ca": ["another"]},
        {"added": {"deep": [1, 2.5, True]}},
        {"deliveryId": "0" * 32},
    ],
)
def test_an_edit_of_any_field_shows(change: dict[str, Any]) -> None:
    entry = read_entry(edited(**change), "plantone")
    assert entry is not None
    assert not entry.intact


@pytest.mark.parametrize(
    ("other", "password", "ends"),
    [
        (contents(address="other"), PASSWORD, ENDS),
        (contents(username="other"), PASSWORD, ENDS),
        (contents(repositories=("other",)), PASSWORD, ENDS),
        (contents(ca=CA), PASSWORD, ENDS),
        (contents(insecure=True), PASSWORD, ENDS),
        (contents(), Secret("=pw/second"), ENDS),
        (contents(), PASSWORD, ENDS + timedelta(seconds=1)),
    ],
)
def test_a_delivery_id_is_a_digest_of_everything(
    other: Contents, password: Secret, ends: datetime
) -> None:
    assert other.delivery_id(password, expires_at=ends) != ID


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"firstpull": None},
        {"firstpull": 7},
        {"firstpull": {"registryCredentials": "x"}},
        {"firstpull": {"registryCredentials": {}}},
        {"firstpull": {"registryCredentials": {"plantone": []}}},
        {"firstpull": {"registryCredentials": {"Plantone": {"deliveryId": "a", "password": "b"}}}},
        edited(password=None),
        edited(password=""),
        edited(password=7),
        edited(deliveryId=None),
        edited(deliveryId=["a"]),
    ],
)
def test_properties_of_another_form_have_no_entry(properties: dict[str, Any]) -> None:
    assert read_entry(properties, "plantone") is None


@pytest.mark.parametrize("length", [1, 3999, 4000, 4001, 12_000, 12_001])
def test_a_certificate_is_cut_into_strings_that_a_twin_takes(length: int) -> None:
    pem = "A" * length
    chunks = contents(ca=pem).without_password(ENDS)["ca"]
    assert "".join(chunks) == pem
    assert all(0 < len(chunk) < 4096 for chunk in chunks)


def test_only_an_insecure_entry_says_whether_it_is() -> None:
    assert contents(insecure=True).without_password(ENDS)["insecure"] is True
    assert "insecure" not in contents().without_password(ENDS)


def test_the_patch_removes_fields_that_do_not_belong() -> None:
    before = edited(added=1, ca=["old"], insecure=True)
    entry = read_entry(before, "plantone")
    assert entry is not None
    assert merged(before, patch(replaces=frozenset(entry.fields))) == desired()


def test_the_patch_leaves_the_rest_of_the_twin_alone_and_shows_no_password() -> None:
    others = {"planttwo": {"password": "x"}}
    before = {"site": "north", "firstpull": {"registryCredentials": others, "more": 1}}
    written = desired()["firstpull"]["registryCredentials"]
    assert merged(before, patch()) == {
        "site": "north",
        "firstpull": {"registryCredentials": others | written, "more": 1},
    }
    assert PASSWORD.reveal() not in repr(patch())


LONGEST_PASSWORD = Secret("x" * 84)
FULL = 32 * 1024


@pytest.mark.parametrize("has_ca", [False, True])
@pytest.mark.parametrize("others", [None, {}, {"planttwo": {"password": "x"}}])
def test_an_entry_is_too_large_exactly_where_the_hub_refuses_it(
    others: dict[str, Any] | None, *, has_ca: bool
) -> None:
    large = contents(
        ca=CA if has_ca else None, insecure=not has_ca, repositories=("plant/\u00fc", "b")
    )
    change = large.patch("plantone", LONGEST_PASSWORD, expires_at=ENDS, replaces=())
    entry = revealed(change)["firstpull"]["registryCredentials"]["plantone"]
    section = {"registryCredentials": (others or {}) | {"plantone": entry}}
    with_entry: dict[str, Any] = {"firstpull": section}
    before = {"firstpull": {"registryCredentials": others}} if others is not None else {}
    room = FULL - size_of(with_entry) - len("fill")
    hubs_own: dict[str, Any] = {"$version": 7, "$metadata": {"fill": {"$lastUpdatedVersion": 7}}}
    for beyond in (-1, 0, 1, 700):
        filled = {"fill": ["y" * (room + beyond)], **hubs_own}
        assert large.bytes_too_many(filled | before, "plantone") == max(beyond, 0)
        assert large.bytes_too_many(filled | with_entry, "plantone") == 0


@pytest.mark.parametrize(
    ("fields", "logged_in", "reason"),
    [
        ({"state": "LoggedIn"}, True, None),
        ({"state": "Failed", "reason": "Unauthorized"}, False, "Unauthorized"),
        ({}, False, None),
        ({"state": "loggedin"}, False, None),
        ({"state": True}, False, None),
        ({"reason": "x" * 65}, False, None),
        ({"reason": "a b"}, False, None),
        ({"reason": "<script>"}, False, None),
        ({"reason": "line\nline"}, False, None),
        ({"reason": {"a": 1}}, False, None),
    ],
)
def test_an_acknowledgement_has_only_fields_of_the_right_form(
    fields: dict[str, Any], *, logged_in: bool, reason: str | None
) -> None:
    found = read_acknowledgement(reported(deliveryId="a", **fields), "plantone")
    assert found == Acknowledgement(delivery_id="a", logged_in=logged_in, reason=reason)


@pytest.mark.parametrize("fields", [{"deliveryId": 7}, {"deliveryId": None}, {}])
def test_an_answer_without_a_delivery_id_is_none(fields: dict[str, Any]) -> None:
    assert read_acknowledgement(reported(state="LoggedIn", **fields), "plantone") is None


texts = st.text('ab é{}"\n', max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names_of_fields = st.sampled_from(["deliveryId", "password", "state", "reason", "x"])


@given(st.dictionaries(names_of_fields, json_values))
def test_no_fields_of_a_twin_make_reading_it_fail(fields: dict[str, Any]) -> None:
    read_entry(reported(**fields), "plantone")
    answer = read_acknowledgement(reported(**fields), "plantone")
    assert answer is None or answer.delivery_id == fields["deliveryId"]
