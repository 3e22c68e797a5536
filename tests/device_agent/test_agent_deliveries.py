"""What the agent makes of the desired properties."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from firstpull_agent.deliveries import (
    Delivery,
    MalformedDesired,
    Rejected,
    read_deliveries,
)
from firstpull_agent.reports import Reason
from firstpull_agent.secret import Secret

from .deliveries import PASSWORD, delivery, desired, entry
from .fake_registry import AUTHORITY


def test_a_delivery_is_read_with_its_certificate_chunks_in_order() -> None:
    pem = AUTHORITY.ca_pem
    read = read_deliveries(desired(site1=entry("10.0.0.4:8080", ca=[pem[:100], pem[100:]])))

    assert read == {
        "site1": Delivery(
            name="site1",
            delivery_id="delivery-1",
            address="10.0.0.4:8080",
            username="device-1",
            password=Secret(PASSWORD),
            repositories=("samples/*", "hello-world"),
            ca=pem,
            expires_on=datetime(2027, 2, 21, 10, 0, tzinfo=UTC),
        )
    }


def test_fields_of_a_newer_cloud_are_ignored() -> None:
    assert delivery(colour="blue", site={"a": 1}) == delivery()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"$version": 3},
        {"firstpull": None},
        {"firstpull": {}},
        {"firstpull": {"registryCredentials": None}},
        {"firstpull": {"registryCredentials": {}}},
        {"firstpull": {"registryCredentials": {"site1": None}}},
        {"firstpull": {"registryCredentials": {"site1": {}}}},
    ],
)
def test_what_is_absent_null_or_empty_holds_no_delivery(given: object) -> None:
    assert read_deliveries(given) == {}


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "text",
        {"firstpull": 5},
        {"firstpull": 0},
        {"firstpull": ""},
        {"firstpull": False},
        {"firstpull": []},
        {"firstpull": {"registryCredentials": ["x"]}},
        {"firstpull": {"registryCredentials": []}},
    ],
)
def test_a_section_that_is_no_object_withdraws_nothing(given: object) -> None:
    with pytest.raises(MalformedDesired):
        read_deliveries(given)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"address": None}, "address is missing"),
        ({"username": None}, "username is missing"),
        ({"password": None}, "password is missing"),
        ({"password": "  "}, "password is missing or empty"),
        ({"password": 5}, "password is missing"),
        ({"password": "half a character: \ud83d"}, "password is not valid Unicode"),
        ({"username": "half a character: \ud83d"}, "username is not valid Unicode"),
        ({"repositories": ["half a character: \ud83d"]}, "repositories is not valid Unicode"),
        ({"password": "two\nlines"}, "password holds control characters"),
        ({"username": "a:b"}, "colon"),
        ({"address": "https://10.0.0.4:8080"}, "address is not host"),
        ({"address": "10.0.0.4:8080/path"}, "address is not host"),
        ({"address": "../../etc:80"}, "address is not host"),
        ({"address": "--config=x:80"}, "address is not host"),
        ({"address": "user@10.0.0.4:80"}, "address is not host"),
        ({"address": "10.0.0.4:99999"}, "address is not host"),
        ({"address": "10..4:80"}, "address is not host"),
        ({"address": "[::::]:80"}, "address is not host"),
        ({"address": "a" * 64 + ".example.com"}, "address is not host"),
        ({"address": "registry"}, "needs a port"),
        ({"repositories": "hello-world"}, "repositories is not a list"),
        ({"insecure": "yes"}, "insecure is neither"),
        ({"ca": "no certificate"}, "ca is not a certificate"),
        ({"ca": "kein Zertifikat: ä"}, "ca is not a certificate"),
        ({"ca": [1]}, "ca is not a list"),
        ({"ca": AUTHORITY.ca_pem, "insecure": True}, "exclude each other"),
    ],
)
def test_a_malformed_delivery_is_rejected_and_says_which_field(
    changes: dict[str, object], says: str
) -> None:
    rejected = read_deliveries(desired(site1=entry(**{"address": "10.0.0.4:80", **changes})))[
        "site1"
    ]

    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.INVALID_DELIVERY
    assert rejected.delivery_id == "delivery-1"
    assert says in rejected.detail


@pytest.mark.parametrize("odd", [None, "", 5, "half a character: \ud83d"])
def test_a_delivery_without_a_usable_id_is_rejected_without_one(odd: object) -> None:
    rejected = read_deliveries(desired(site1=entry("10.0.0.4:80", deliveryId=odd), site2="text"))

    assert isinstance(rejected["site1"], Rejected)
    assert rejected["site1"].delivery_id is None
    assert isinstance(rejected["site2"], Rejected)
    assert rejected["site2"].reason is Reason.INVALID_DELIVERY


def test_a_sealed_password_is_unsupported_and_not_invalid() -> None:
    sealed = entry("10.0.0.4:80", password=None, sealed="eyJhbGciOi")

    rejected = read_deliveries(desired(site1=sealed))["site1"]

    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.UNSUPPORTED_DELIVERY
    assert rejected.delivery_id == "delivery-1"


def test_a_bad_delivery_does_not_spoil_its_neighbour() -> None:
    read = read_deliveries(desired(bad=entry("x"), good=entry("10.0.0.4:80")))

    assert isinstance(read["bad"], Rejected)
    assert isinstance(read["good"], Delivery)


@pytest.mark.parametrize("address", ["[::1]:5000", "site1.example.com", "localhost:5000"])
def test_addresses_as_image_names_know_them_are_taken(address: str) -> None:
    assert delivery(address).address == address


def test_a_password_is_not_in_any_text_about_its_delivery() -> None:
    read = delivery()

    assert PASSWORD not in f"{read} {read!r} {read.password} {read.password!r:>30} {vars(read)}"
    assert read.password.reveal() == PASSWORD
