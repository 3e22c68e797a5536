"""Two deliveries for one address, for which an engine keeps one login only."""

from __future__ import annotations

import pytest

from .deliveries import entry
from .device import CA, LATER, LOGIN, NEW, NEW_LOGIN, OTHER, SITE, Device


@pytest.mark.parametrize("together", [True, False])
def test_the_newest_is_the_login_and_both_are_acknowledged(
    device: Device, *, together: bool
) -> None:
    if not together:
        device.want(site1=entry(SITE))
    device.want(site1=entry(SITE), site2=entry(SITE, **LATER))

    assert device.login(SITE) == NEW_LOGIN
    assert device.report() == {
        "site1": ("delivery-1", "LoggedIn", None),
        "site2": ("delivery-2", "LoggedIn", None),
    }


def test_a_restart_changes_nothing(device: Device) -> None:
    both = {"site1": entry(SITE), "site2": entry(SITE, **LATER)}
    device.want(**both)
    device.report()
    calls = list(device.engine.calls)
    device.restart()
    device.want(**both)

    assert device.engine.calls == calls
    assert device.report() == {}


def test_taking_the_older_away_leaves_the_login_of_the_newer(device: Device) -> None:
    newer = entry(SITE, ca=CA, **LATER)
    device.want(site1=entry(SITE, ca=CA))
    device.want(site1=entry(SITE, ca=CA), site2=newer)
    device.report()
    device.want(site2=newer)

    assert device.login(SITE) == NEW_LOGIN
    assert device.engine.ca_files.read(SITE) == CA
    assert f"logout {SITE}" not in device.engine.calls
    assert device.report() == {"site1": None}


@pytest.mark.parametrize("together", [True, False])
def test_taking_the_newer_away_brings_the_older_back_without_a_gap(
    device: Device, *, together: bool
) -> None:
    if not together:
        device.want(site1=entry(SITE))
    device.want(site1=entry(SITE), site2=entry(SITE, **LATER))
    device.report()
    device.want(site1=entry(SITE))

    assert device.login(SITE) == LOGIN
    assert f"logout {SITE}" not in device.engine.calls
    assert device.report() == {"site2": None}


def test_a_newer_login_that_is_taken_away_goes_even_when_the_older_does_not_work(
    device: Device,
) -> None:
    device.want(site1=entry(SITE), site2=entry(SITE, **LATER))
    device.check.accepted = set()
    device.want(site1=entry(SITE))
    assert device.login(SITE) is None

    device.check.accepted = {"delivery-1"}
    device.time.sleep(30)
    device.work()
    assert device.login(SITE) == LOGIN


def test_the_older_stays_until_the_newer_works(device: Device) -> None:
    device.check.accepted = {"delivery-1"}
    device.want(site1=entry(SITE), site2=entry(SITE, **LATER))
    assert device.login(SITE) == LOGIN

    device.check.accepted = {"delivery-1", "delivery-2"}
    device.time.sleep(30)
    device.work()
    assert device.login(SITE) == NEW_LOGIN


def test_an_address_that_moved_is_logged_in_for_its_new_place_without_a_gap(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.want(site2=entry(SITE, **LATER))

    assert device.login(SITE) == NEW_LOGIN
    assert f"logout {SITE}" not in device.engine.calls


def test_a_renewal_of_the_older_leaves_the_login_of_the_newer(device: Device) -> None:
    device.check.accepted.add("delivery-3")
    newer = entry(SITE, **LATER)
    device.want(site1=entry(SITE), site2=newer)
    device.report()
    device.want(
        site1=entry(SITE, **{**NEW, "deliveryId": "delivery-3", "password": "third"}),
        site2=newer,
    )

    assert device.login(SITE) == NEW_LOGIN
    assert device.report() == {"site1": ("delivery-3", "LoggedIn", None)}


def test_the_one_that_keeps_the_address_is_logged_in_again_when_the_other_leaves_it(
    device: Device,
) -> None:
    device.want(site1=entry(SITE), site2=entry(SITE, **LATER))
    device.want(site1=entry(SITE), site2=entry(OTHER, **LATER))

    assert (device.login(SITE), device.login(OTHER)) == (LOGIN, NEW_LOGIN)
