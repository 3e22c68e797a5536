"""A device's whole life: renewal, move, revoke, a new onboarding, another engine."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from .deliveries import USERNAME, entry
from .device import CA, LATER, LOGIN, NEW_LOGIN, OTHER, PERSON, SITE, Device


def test_a_new_password_takes_the_place_of_the_old_one_and_is_acknowledged(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.report()
    device.want(site1=entry(SITE, **LATER))

    assert device.login(SITE) == NEW_LOGIN
    assert device.report() == {"site1": ("delivery-2", "LoggedIn", None)}
    assert device.engine.calls == [f"login {SITE} delivery-1", f"login {SITE} delivery-2"]


def test_the_old_login_survives_restarts_until_the_new_one_works(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.check.accepted = {"delivery-1"}
    for _ in range(2):
        device.want(site1=entry(SITE, **LATER))
        assert device.login(SITE) == LOGIN
        device.restart()

    device.check.accepted = {"delivery-2"}
    device.want(site1=entry(SITE, **LATER))
    assert device.login(SITE) == NEW_LOGIN


def test_the_old_login_survives_an_engine_that_fails(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.engine.broken = True
    device.want(site1=entry(SITE, **LATER))
    assert device.login(SITE) == LOGIN

    device.engine.broken = False
    device.want(site1=None)
    assert device.login(SITE) is None


def test_both_places_are_logged_in_and_acknowledged_each_at_its_own_path(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.report()
    device.want(site1=entry(SITE), site2=entry(OTHER, **LATER))

    assert (device.login(SITE), device.login(OTHER)) == (LOGIN, NEW_LOGIN)
    assert device.report() == {"site2": ("delivery-2", "LoggedIn", None)}
    assert sorted(device.reported) == ["site1", "site2"]


def test_the_place_that_was_left_is_logged_out_and_its_report_removed(device: Device) -> None:
    device.want(site1=entry(SITE, ca=CA), site2=entry(OTHER, **LATER))
    device.report()
    device.want(site1=None, site2=entry(OTHER, **LATER))

    assert (device.login(SITE), device.login(OTHER)) == (None, NEW_LOGIN)
    assert not device.engine.ca_files.folder(SITE).exists()
    assert device.report() == {"site1": None}
    assert [login["name"] for login in device.remembered()] == ["site2"]


def test_the_same_credential_at_two_places_is_two_logins(device: Device) -> None:
    device.want(site1=entry(SITE), site2=entry(OTHER))
    device.want(site2=entry(OTHER))

    assert (device.login(SITE), device.login(OTHER)) == (None, LOGIN)


def test_a_new_place_that_does_not_answer_leaves_the_old_one_alone(device: Device) -> None:
    device.check.accepted = {"delivery-1"}
    device.want(site1=entry(SITE), site2=entry(OTHER, **LATER))

    assert (device.login(SITE), device.login(OTHER)) == (LOGIN, None)
    assert device.report() == {
        "site1": ("delivery-1", "LoggedIn", None),
        "site2": ("delivery-2", "Failed", "CredentialsNotAccepted"),
    }


def test_an_old_place_that_fails_does_not_hold_up_the_new_one(device: Device) -> None:
    device.check.accepted = {"delivery-2"}
    device.want(site1=entry(SITE), site2=entry(OTHER, **LATER))

    assert device.login(OTHER) == NEW_LOGIN
    assert device.report()["site2"] == ("delivery-2", "LoggedIn", None)


@pytest.mark.parametrize("broken", ["text", {"address": SITE}, entry("not an address"), []])
def test_a_malformed_entry_is_reported_and_does_not_hold_up_the_others(
    device: Device, broken: object
) -> None:
    device.want(site0=entry(OTHER, ca=CA))
    device.report()
    device.want(site1=broken, site2=entry(SITE, **LATER))

    assert (device.login(SITE), device.login(OTHER)) == (NEW_LOGIN, None)
    reported = device.report()
    assert (reported["site1"] or ())[1:] == ("Failed", "InvalidDelivery")
    assert reported["site2"] == ("delivery-2", "LoggedIn", None)
    assert reported["site0"] is None


@pytest.mark.parametrize(
    "after",
    [
        {"firstpull": {"registryCredentials": {"site1": None}}},
        {"firstpull": {"registryCredentials": {"site1": {}}}},
        {"firstpull": {"registryCredentials": {}}},
        {"firstpull": {}},
        {},
    ],
)
@pytest.mark.parametrize("was_off", [False, True])
def test_nothing_of_the_delivery_stays_on_the_device(
    device: Device, after: dict[str, Any], *, was_off: bool
) -> None:
    device.want(site1=entry(SITE, ca=CA))
    device.report()
    if was_off:
        device.restart()
    device.adopt(after)

    assert device.login(SITE) is None
    assert device.remembered() == []
    assert device.report() == {"site1": None}
    assert device.reported == {}
    left = "".join(path.read_text() for path in device.files())
    assert not any(trace in left for trace in (SITE, USERNAME, CA, "site1"))


def test_a_login_that_a_person_made_there_since_stays(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.report()
    device.log_in_by_hand(SITE, PERSON)
    device.want()

    assert device.login(SITE) == PERSON
    assert device.report() == {"site1": None}
    assert device.remembered() == []


def test_a_login_that_a_person_removed_already_is_no_failure(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.report()
    device.engine.auth_file.remove(SITE)
    device.want()

    assert device.report() == {"site1": None}


def test_a_login_that_cannot_be_read_is_the_agents_and_goes(device: Device) -> None:
    device.want(site1=entry(SITE))
    content = json.dumps({"auths": {SITE: {}}, "credsStore": "pass"})
    device.engine.auth_file.path.write_text(content)
    device.want()

    assert not device.engine.auth_file.has(SITE)


def test_an_identity_token_under_the_agents_name_goes_too(device: Device) -> None:
    device.want(site1=entry(SITE))
    auth = b64encode(f"{USERNAME}:".encode()).decode()
    content = json.dumps({"auths": {SITE: {"auth": auth, "identitytoken": "x"}}})
    device.engine.auth_file.path.write_text(content)
    device.want()

    assert not device.engine.auth_file.has(SITE)


def test_one_that_never_worked_is_withdrawn_all_the_same(device: Device) -> None:
    device.check.accepted = set()
    device.want(site1=entry(SITE))
    device.report()
    device.want()

    assert device.report() == {"site1": None}
    assert device.agent.seconds_until_due() is None
    assert device.engine.calls == []


@pytest.mark.parametrize("seen", [True, False])
def test_a_new_onboarding_after_it_logs_in_anew(device: Device, *, seen: bool) -> None:
    device.want(site1=entry(SITE, ca=CA))
    device.report()
    if seen:
        device.want(site1=None)
        device.report()
    device.want(site1=entry(SITE, username="device-1-anew", **LATER))

    assert device.login(SITE) == ("device-1-anew", NEW_LOGIN[1])
    assert device.engine.ca_files.read(SITE) is None
    assert device.report() == {"site1": ("delivery-2", "LoggedIn", None)}


def test_the_very_same_delivery_can_come_back(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.want()
    device.report()
    device.want(site1=entry(SITE))

    assert device.login(SITE) == LOGIN
    assert device.report() == {"site1": ("delivery-1", "LoggedIn", None)}


def test_the_login_with_the_engine_before_goes_when_the_new_one_has_it(device: Device) -> None:
    device.want(site1=entry(SITE, ca=CA))
    before = device.engine
    device.change_engine("other")
    device.check.accepted = set()
    device.want(site1=entry(SITE, ca=CA))
    assert before.auth_file.has(SITE)

    device.check.accepted = {"delivery-1"}
    device.time.sleep(30)
    device.work()
    assert device.login(SITE) == LOGIN
    assert not before.auth_file.has(SITE)
    assert before.ca_files.read(SITE) is None
    assert device.engine.ca_files.read(SITE) == CA


def test_what_is_revoked_goes_from_the_engine_before_too(device: Device) -> None:
    device.want(site1=entry(SITE, ca=CA))
    device.report()
    before = device.engine
    before.auth_file.put("x:1", username=PERSON[0], password=PERSON[1])
    device.change_engine("other")
    device.want()

    assert not before.auth_file.has(SITE)
    assert before.ca_files.read(SITE) is None
    assert before.auth_file.credentials("x:1") == PERSON
    assert device.report() == {"site1": None}


def test_a_folder_of_certificates_that_both_use_keeps_what_is_needed(device: Device) -> None:
    device.want(site1=entry(SITE, ca=CA))
    before = device.engine
    device.change_engine("other")
    device.engine.ca_files.base = before.ca_files.base
    device.want(site1=entry(SITE, ca=CA))

    assert not before.auth_file.has(SITE)
    assert before.ca_files.read(SITE) == CA
