"""Decisions: what is to be done for a connected registry, how long to wait, which login to use."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from firstpull_agent.applied import Applied
from firstpull_agent.backoff import delay_seconds
from firstpull_agent.deliveries import Delivery, Rejected, Wanted
from firstpull_agent.images import CannotPull, Image, login_for
from firstpull_agent.planning import (
    Keep,
    LogIn,
    Refuse,
    Step,
    Withdraw,
    lane,
    newer_rivals,
    next_step,
    to_settle,
)
from firstpull_agent.reports import Reason

from .deliveries import delivery

WANTED = delivery()
REJECTED = Rejected("site1", None, Reason.INVALID_DELIVERY, "why")
DIGEST = "sha256:" + "0" * 64


def _step(wanted: Wanted | None, *, in_place: bool = False, superseded: bool = False) -> Step:
    return next_step("site1", wanted, in_place=in_place, superseded=superseded)


def test_a_new_delivery_is_logged_in_with() -> None:
    assert _step(WANTED) == LogIn(WANTED)


def test_a_delivery_that_is_in_place_is_only_checked() -> None:
    assert _step(WANTED, in_place=True) == Keep(WANTED)


def test_a_delivery_is_only_checked_while_a_newer_one_has_its_address() -> None:
    assert _step(WANTED, superseded=True) == Keep(WANTED)


def test_a_rejected_delivery_is_refused() -> None:
    assert _step(REJECTED) == Refuse(REJECTED)


def test_what_is_no_longer_wanted_is_withdrawn() -> None:
    assert _step(None) == Withdraw("site1")


def test_withdrawals_come_before_logins() -> None:
    settle = to_settle({"a": WANTED}, known={"b", "a", "c"}, applied=())

    assert list(settle.items()) == [("b", None), ("c", None), ("a", WANTED)]


def test_a_withdrawal_comes_last_where_another_delivery_wants_the_address() -> None:
    applied = (_applied("b", WANTED.address), _applied("c", "else:1"))
    settle = to_settle({"a": WANTED}, known={"b", "c"}, applied=applied)

    assert list(settle.items()) == [("c", None), ("a", WANTED), ("b", None)]


def test_a_logout_waits_only_for_attempts_at_an_address_that_another_delivery_wants() -> None:
    applied = (_applied("b", WANTED.address), _applied("c", "else:1"))
    lanes = {
        name: lane(name, target, wanted={"a": WANTED}, applied=applied)
        for name, target in (("a", WANTED), ("b", None), ("c", None))
    }

    assert lanes["a"] == lanes["b"] != lanes["c"]


def test_the_newest_delivery_comes_first() -> None:
    wanted: dict[str, Wanted] = {
        "bad": REJECTED,
        "a": _delivery("a", "2027-03-01"),
        "b": _delivery("b", "2027-01-01"),
    }

    assert list(to_settle(wanted, known=(), applied=())) == ["a", "b", "bad"]


def test_the_newer_of_two_for_one_address_is_the_one_that_expires_later() -> None:
    old, new = _delivery("a", "2027-01-01T00:00:00Z"), _delivery("b", "2027-01-01T00:00:00.5Z")
    elsewhere = delivery("10.0.0.9:80", expiresOn="2028-01-01")
    everything: dict[str, Wanted] = {"a": old, "b": new, "c": elsewhere, "bad": REJECTED}

    assert newer_rivals(old, everything) == {new}
    assert newer_rivals(new, everything) == frozenset()
    assert newer_rivals(REJECTED, everything) == newer_rivals(None, everything) == frozenset()


@pytest.mark.parametrize("expires_on", [None, "soon", 5, "2026-01-01"])
def test_one_without_a_readable_expiry_is_the_older(expires_on: object) -> None:
    odd, new = _delivery("b", expires_on), _delivery("a", "2027-01-01T00:00:00Z")

    assert newer_rivals(odd, {"a": new, "b": odd}) == {new}


def test_of_two_that_expire_together_one_is_always_the_newer() -> None:
    everything = {name: _delivery(name, "2027-01-01") for name in ("a", "b")}

    assert newer_rivals(everything["a"], everything) == {everything["b"]}
    assert newer_rivals(everything["b"], everything) == frozenset()


def _delivery(name: str, expires_on: object) -> Delivery:
    return replace(delivery(expiresOn=expires_on), name=name)


def _applied(name: str, address: str, *repositories: str) -> Applied:
    return Applied(
        name=name,
        delivery_id="delivery-1",
        address=address,
        username="device-1",
        repositories=repositories,
        insecure=False,
        auth_file="/auth.json",
        certs_dir=None,
    )


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


LOGINS = (
    _applied("site2", "b:1", "samples/*"),
    _applied("site1", "a:1", "hello-world"),
    _applied("site3", "edge.example", "x"),
)


@pytest.mark.parametrize(
    ("repository", "registry", "address"),
    [
        ("hello-world", None, "a:1"),
        ("samples/x/y", None, "b:1"),
        ("hello-world", "site2", "b:1"),
        ("other", "a:1", "a:1"),
        ("other", "edge.example:443", "edge.example"),
        ("other", "edge.example", "edge.example"),
    ],
)
def test_the_login_that_reaches_the_repository_is_taken_unless_one_is_named(
    repository: str, registry: str | None, address: str
) -> None:
    assert login_for(Image(repository, "v1"), LOGINS, registry=registry).address == address


@pytest.mark.parametrize(
    ("logins", "registry", "says"),
    [
        ((), None, "no login has been delivered"),
        (LOGINS, None, "they reach: hello-world, samples/*, x"),
        (LOGINS, "site4", "no login for site4 here; delivered are: site1, site2, site3"),
    ],
)
def test_it_is_said_plainly_when_no_login_reaches_an_image(
    logins: tuple[Applied, ...], registry: str | None, says: str
) -> None:
    with pytest.raises(CannotPull) as refused:
        login_for(Image("other", "v1"), logins, registry=registry)
    assert says in str(refused.value)
