"""Decisions: what is to be done for a connected registry, how long to wait, which login to use."""

from __future__ import annotations

import random

import pytest
from firstpull_agent.applied import Applied
from firstpull_agent.backoff import delay_seconds
from firstpull_agent.deliveries import Rejected
from firstpull_agent.images import CannotPull, Image, login_for
from firstpull_agent.planning import (
    Check,
    LogIn,
    Refuse,
    Withdraw,
    next_step,
    to_settle,
)
from firstpull_agent.reports import Reason

from .deliveries import delivery

WANTED = delivery()
REJECTED = Rejected("site1", None, Reason.INVALID_DELIVERY, "why")
DIGEST = "sha256:" + "0" * 64


def test_a_new_delivery_is_logged_in_with() -> None:
    assert next_step("site1", WANTED, in_place=False) == LogIn(WANTED)


def test_a_delivery_that_is_in_place_is_only_checked() -> None:
    assert next_step("site1", WANTED, in_place=True) == Check(WANTED)


def test_a_rejected_delivery_is_refused() -> None:
    assert next_step("site1", REJECTED, in_place=False) == Refuse(REJECTED)


def test_what_is_no_longer_wanted_is_withdrawn() -> None:
    assert next_step("site1", None, in_place=False) == Withdraw("site1")


def test_withdrawals_come_before_logins() -> None:
    settle = to_settle({"a": WANTED}, known={"b", "a", "c"})

    assert list(settle.items()) == [("b", None), ("c", None), ("a", WANTED)]


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(1, 0.6, 1), (2, 1.3, 2), (3, 2.6, 4), (6, 20, 30), (500, 20, 30)],
)
def test_retries_begin_within_a_second_and_end_at_the_cap(
    failures: int, least: float, most: float
) -> None:
    for seed in range(50):
        delay = delay_seconds(failures, cap_seconds=30, rng=random.Random(seed))  # noqa: S311
        assert least <= delay <= most


@pytest.mark.parametrize(
    ("text", "image", "full"),
    [
        ("hello-world", Image("hello-world", "latest"), "r:1/hello-world:latest"),
        ("samples/a/b:v1.0", Image("samples/a/b", "v1.0"), "r:1/samples/a/b:v1.0"),
        (f"hello@{DIGEST}", Image("hello", DIGEST), f"r:1/hello@{DIGEST}"),
    ],
)
def test_image_references_are_read(text: str, image: Image, full: str) -> None:
    assert Image.parse(text) == image
    assert image.at("r:1") == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":v1",
        "Upper",
        "a/../b",
        "-x",
        "a:b:c",
        "a@sha256:00",
        "a@md5:00",
        "a b",
        "10.0.0.4:80/a",
    ],
)
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(CannotPull, match="is not REPOSITORY"):
        Image.parse(text)


def _applied(address: str, *repositories: str) -> Applied:
    return Applied("delivery-1", address, "device-1", repositories, has_ca=False, insecure=False)


LOGINS = {
    "site1": _applied("a:1", "hello-world"),
    "site2": _applied("b:1", "samples/*"),
}


@pytest.mark.parametrize(
    ("repository", "registry", "address"),
    [
        ("hello-world", None, "a:1"),
        ("samples/x/y", None, "b:1"),
        ("hello-world", "site2", "b:1"),
        ("other", "a:1", "a:1"),
    ],
)
def test_the_login_that_reaches_the_repository_is_taken_unless_one_is_named(
    repository: str, registry: str | None, address: str
) -> None:
    assert login_for(Image(repository, "v1"), LOGINS, registry=registry).address == address


@pytest.mark.parametrize(
    ("logins", "registry", "says"),
    [
        ({}, None, "no login has been delivered"),
        (LOGINS, None, "they reach: hello-world, samples/*"),
        (LOGINS, "site3", "no login for site3"),
    ],
)
def test_it_is_said_plainly_when_no_login_reaches_an_image(
    logins: dict[str, Applied], registry: str | None, says: str
) -> None:
    with pytest.raises(CannotPull) as refused:
        login_for(Image("other", "v1"), logins, registry=registry)
    assert says in str(refused.value)
