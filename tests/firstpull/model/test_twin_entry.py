from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstpull.model.secret import Secret
from firstpull.model.twin_entry import Acknowledgement, read_acknowledgement, read_entry
from tests.firstpull.builders import (
    ADDRESS,
    MADE,
    NAMES,
    PASSWORD,
    contents,
    desired,
    edited,
    reported,
)
from tests.firstpull.fakes import merged
from tests.firstpull.harness import VALIDITY

LOGGED_IN = Acknowledgement(delivery_id="a", logged_in=True, reason=None)
NOT_LOGGED_IN = Acknowledgement(delivery_id="a", logged_in=False, reason=None)
UNAUTHORIZED = Acknowledgement(delivery_id="a", logged_in=False, reason="Unauthorized")
CA = "-----BEGIN CERTIFICATE-----\n" + "A" * 9000 + "\n-----END CERTIFICATE-----\n"


def test_the_entry_has_the_words_of_the_edge_agent() -> None:
    entry = desired()["firstpull"]["registryCredentials"]["plantone"]
    assert entry == {
        "address": ADDRESS,
        "username": NAMES.token,
        "password": PASSWORD.reveal(),
        "deliveryId": contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY),
        "expiresOn": "2026-07-29T12:00:00Z",
        "repositories": ["plant/app"],
    }


def test_what_was_delivered_is_read_back_whole() -> None:
    entry = read_entry(desired(), "plantone")
    assert entry is not None
    assert entry.id == contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY)
    assert entry.fields == contents().without_password(MADE + VALIDITY)
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
        {"added": {"deep": [1, 2.5, None]}},
        {"deliveryId": "0" * 32},
    ],
)
def test_an_edit_of_any_field_shows(change: dict[str, Any]) -> None:
    entry = read_entry(edited(**change), "plantone")
    assert entry is not None
    assert not entry.intact


@pytest.mark.parametrize(
    "change",
    [
        {"address": "other"},
        {"username": "other"},
        {"repositories": ("other",)},
        {"ca": CA},
        {"insecure": True},
    ],
)
def test_different_contents_are_different_deliveries(change: dict[str, Any]) -> None:
    assert contents(**change).delivery_id(
        PASSWORD, expires_at=MADE + VALIDITY
    ) != contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY)


def test_another_password_is_another_delivery() -> None:
    assert contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY) != contents().delivery_id(
        Secret("=pw/second"), expires_at=MADE + VALIDITY
    )


def test_another_expiry_is_another_delivery() -> None:
    ends = (MADE + VALIDITY, MADE + VALIDITY + timedelta(seconds=1))
    assert len({contents().delivery_id(PASSWORD, expires_at=end) for end in ends}) == 2


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
def test_what_cannot_be_read_is_no_entry(properties: dict[str, Any]) -> None:
    assert read_entry(properties, "plantone") is None


@pytest.mark.parametrize("length", [1, 3999, 4000, 4001, 12_000, 12_001])
def test_a_certificate_is_cut_into_strings_that_a_twin_takes(length: int) -> None:
    pem = "A" * length
    chunks = contents(ca=pem).without_password(MADE + VALIDITY)["ca"]
    assert "".join(chunks) == pem
    assert all(0 < len(chunk) < 4096 for chunk in chunks)


def test_plain_http_is_said_and_https_is_not() -> None:
    assert contents(insecure=True).without_password(MADE + VALIDITY)["insecure"] is True
    assert "insecure" not in contents().without_password(MADE + VALIDITY)


def test_fields_that_do_not_belong_are_taken_out_by_the_patch() -> None:
    before = edited(added=1, ca=["old"], insecure=True)
    entry = read_entry(before, "plantone")
    assert entry is not None
    patch = contents().patch(
        "plantone", PASSWORD, expires_at=MADE + VALIDITY, replaces=frozenset(entry.fields)
    )
    assert merged(before, patch) == desired()


def test_the_patch_leaves_everything_else_of_the_twin_alone() -> None:
    before = {
        "site": "north",
        "firstpull": {"registryCredentials": {"planttwo": {"password": "x"}}, "more": 1},
    }
    after = merged(
        before, contents().patch("plantone", PASSWORD, expires_at=MADE + VALIDITY, replaces=())
    )
    assert after["site"] == "north"
    assert after["firstpull"]["more"] == 1
    assert after["firstpull"]["registryCredentials"]["planttwo"] == {"password": "x"}


def test_the_patch_hides_the_password_until_it_is_sent() -> None:
    assert PASSWORD.reveal() not in repr(
        contents().patch("plantone", PASSWORD, expires_at=MADE + VALIDITY, replaces=())
    )


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"deliveryId": "a", "state": "LoggedIn"}, LOGGED_IN),
        (
            {"deliveryId": "a", "state": "Failed", "reason": "Unauthorized"},
            UNAUTHORIZED,
        ),
        ({"deliveryId": "a"}, NOT_LOGGED_IN),
        ({"deliveryId": "a", "state": "loggedin"}, NOT_LOGGED_IN),
        ({"deliveryId": "a", "state": True}, NOT_LOGGED_IN),
        ({"deliveryId": "a", "reason": "x" * 65}, NOT_LOGGED_IN),
        ({"deliveryId": "a", "reason": "a b"}, NOT_LOGGED_IN),
        ({"deliveryId": "a", "reason": "<script>"}, NOT_LOGGED_IN),
        ({"deliveryId": "a", "reason": "line\nline"}, NOT_LOGGED_IN),
        ({"deliveryId": "a", "reason": {"a": 1}}, NOT_LOGGED_IN),
        ({"deliveryId": 7, "state": "LoggedIn"}, None),
        ({"deliveryId": None, "state": "LoggedIn"}, None),
        ({"state": "LoggedIn"}, None),
        ({}, None),
    ],
)
def test_a_device_is_believed_only_what_has_the_right_form(
    fields: dict[str, Any], answer: Acknowledgement | None
) -> None:
    assert read_acknowledgement(reported(**fields), "plantone") == answer


texts = st.text('ab é{}"\n', max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names_of_fields = st.sampled_from(["deliveryId", "password", "state", "reason", "x"])


@given(st.dictionaries(names_of_fields, json_values))
def test_nothing_in_a_twin_makes_reading_it_fail(fields: dict[str, Any]) -> None:
    read_entry(reported(**fields), "plantone")
    answer = read_acknowledgement(reported(**fields), "plantone")
    assert answer is None or answer.delivery_id == fields["deliveryId"]
