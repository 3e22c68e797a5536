"""How logins change on a device, and what a restart finds."""

from __future__ import annotations

import stat

import pytest
from firstpull_agent.deliveries import MalformedDesired
from firstpull_agent.reports import Reason
from firstpull_agent.secret import Secret

from .deliveries import PASSWORD, USERNAME, desired, entry
from .device import LOGIN, NEW, NEW_LOGIN, OTHER, SITE, Device
from .fake_registry import AUTHORITY


def test_a_delivery_becomes_a_login_and_is_reported(device: Device) -> None:
    device.want(site1=entry(SITE))

    assert device.login(SITE) == LOGIN
    assert device.report() == {"site1": ("delivery-1", "LoggedIn", None)}
    assert device.reported["site1"]["at"] == "2026-11-23T10:00:00Z"
    assert device.agent.seconds_until_due() is None


def test_the_old_login_stays_until_the_new_one_works(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.check.accepted = {"delivery-1"}
    device.want(site1=entry(SITE, **NEW))
    assert device.login(SITE) == LOGIN

    device.check.accepted = {"delivery-2"}
    device.time.sleep(2)
    device.work()
    assert device.login(SITE) == NEW_LOGIN


def test_a_credential_that_is_not_known_yet_is_tried_again_and_reported_once(
    device: Device,
) -> None:
    device.check.accepted = set()
    device.want(site1=entry(SITE))
    assert device.report() == {"site1": ("delivery-1", "Failed", "CredentialsNotAccepted")}

    for _ in range(20):
        pause = device.agent.seconds_until_due()
        assert pause is not None
        assert 0 < pause <= 30
        device.time.sleep(pause)
        device.work()
        assert device.report() == {}
    assert device.time.waits[0] <= 1
    assert len(device.check.checked) == 21

    device.check.accepted = {"delivery-1"}
    device.time.sleep(30)
    device.work()
    assert device.report() == {"site1": ("delivery-1", "LoggedIn", None)}


def test_the_reason_is_reported_again_when_it_changes(device: Device) -> None:
    device.check.accepted = set()
    device.check.reason = Reason.REGISTRY_UNREACHABLE
    device.want(site1=entry(SITE))
    assert device.report() == {"site1": ("delivery-1", "Failed", "RegistryUnreachable")}

    device.check.reason = Reason.CERTIFICATE_NOT_TRUSTED
    device.time.sleep(30)
    device.work()
    assert device.report() == {"site1": ("delivery-1", "Failed", "CertificateNotTrusted")}


def test_a_newer_delivery_is_tried_at_once_and_the_older_never_again(device: Device) -> None:
    device.check.accepted = {"delivery-2"}
    device.want(site1=entry(SITE))
    device.want(site1=entry(SITE, **NEW))

    assert device.check.checked == ["delivery-1", "delivery-2"]
    assert device.agent.seconds_until_due() is None


def test_a_delivery_that_arrives_during_an_attempt_wins(device: Device) -> None:
    def overtaken() -> None:
        device.check.before = lambda: None
        device.agent.adopt(desired(site1=entry(SITE, **NEW)), {})

    device.check.before = overtaken
    device.want(site1=entry(SITE))

    assert device.check.checked == ["delivery-1", "delivery-2"]
    assert device.login(SITE) == NEW_LOGIN
    assert device.report() == {"site1": ("delivery-2", "LoggedIn", None)}


def test_a_withdrawal_that_arrives_during_an_attempt_wins(device: Device) -> None:
    def overtaken() -> None:
        device.check.before = lambda: None
        device.agent.adopt(desired(), {})

    device.check.before = overtaken
    device.want(site1=entry(SITE))

    assert device.login(SITE) is None
    assert device.report() == {}


def test_other_changes_of_the_twin_disturb_nothing(device: Device) -> None:
    device.check.accepted = {"delivery-1"}
    device.want(site1=entry(SITE), site2=entry(OTHER, **NEW))
    pause = device.agent.seconds_until_due()
    device.want(site1=entry(SITE), site2=entry(OTHER, **NEW))

    assert sorted(device.check.checked) == ["delivery-1", "delivery-2"]
    assert device.agent.seconds_until_due() == pause


def test_after_a_restart_a_login_in_place_is_checked_once_and_not_made_again(
    device: Device,
) -> None:
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem))
    device.report()
    device.restart()
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem))

    assert device.check.checked == ["delivery-1", "delivery-1"]
    assert device.engine.calls == [f"login {SITE} delivery-1"]
    assert device.report() == {}


@pytest.mark.parametrize("lost", ["login", "other password", "ca", "state"])
def test_after_a_restart_what_was_lost_is_made_again(device: Device, lost: str) -> None:
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem))
    match lost:
        case "login":
            device.engine.auth_file.remove(SITE)
        case "other password":
            device.engine.auth_file.put(SITE, username=USERNAME, password=Secret("else"))
        case "ca":
            device.engine.ca_files.remove(SITE)
        case "state":
            (device.folder / "state" / "applied.json").write_text("{ broken")
    device.restart()
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem))

    assert len(device.engine.calls) == 2
    assert device.login(SITE) == LOGIN
    assert device.engine.ca_files.read(SITE) == AUTHORITY.ca_pem


def test_a_withdrawn_delivery_is_logged_out_and_its_report_removed(device: Device) -> None:
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem), site2=entry(OTHER))
    device.report()
    device.want(site1=None, site2=entry(OTHER))

    assert device.login(SITE) is None
    assert device.engine.ca_files.read(SITE) is None
    assert not device.engine.ca_files.folder(SITE).exists()
    assert device.login(OTHER) == LOGIN
    assert device.report() == {"site1": None}


def test_what_was_withdrawn_while_the_device_was_off_is_logged_out_at_start(
    device: Device,
) -> None:
    device.want(site1=entry(SITE))
    device.report()
    device.restart()
    device.want()

    assert device.login(SITE) is None
    assert device.report() == {"site1": None}


def test_a_report_without_a_login_is_removed_too(device: Device) -> None:
    device.reported = {"gone": {"deliveryId": "x", "state": "LoggedIn"}}
    device.want()

    assert device.engine.calls == []
    assert device.report() == {"gone": None}


def test_a_logout_that_fails_is_tried_again(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.engine.broken = True
    device.want()
    assert device.report() == {"site1": (None, "Failed", "EngineFailed")}

    device.engine.broken = False
    device.time.sleep(30)
    device.work()
    assert device.login(SITE) is None
    assert device.report() == {"site1": None}


def test_a_new_address_is_logged_in_before_the_old_one_is_logged_out(device: Device) -> None:
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem))
    device.want(site1=entry(OTHER, **NEW))

    assert device.engine.calls[1:] == [f"login {OTHER} delivery-2", f"logout {SITE}"]
    assert device.engine.ca_files.read(SITE) is None


def test_an_address_that_moved_to_another_key_stays_logged_in(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.want(site2=entry(SITE, **NEW))

    assert device.login(SITE) == NEW_LOGIN


def test_a_certificate_authority_that_is_no_longer_delivered_is_removed(device: Device) -> None:
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem))
    device.want(site1=entry(SITE, **NEW))

    assert device.engine.ca_files.read(SITE) is None


def test_an_engine_that_fails_is_tried_again(device: Device) -> None:
    device.engine.broken = True
    device.want(site1=entry(SITE))
    assert device.report() == {"site1": ("delivery-1", "Failed", "EngineFailed")}

    device.engine.broken = False
    device.time.sleep(1)
    device.work()
    assert device.report() == {"site1": ("delivery-1", "LoggedIn", None)}


def test_a_ca_file_of_somebody_elses_that_is_no_text_is_replaced(device: Device) -> None:
    folder = device.engine.ca_files.folder(SITE)
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(b"\x30\x82\xff")
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem))

    assert device.engine.ca_files.read(SITE) == AUTHORITY.ca_pem
    assert device.report() == {"site1": ("delivery-1", "LoggedIn", None)}


def test_files_that_cannot_be_written_are_a_failure_of_their_own(device: Device) -> None:
    (device.folder / "certs.d").write_text("in the way")
    device.want(site1=entry(SITE, ca=AUTHORITY.ca_pem))

    assert device.report() == {"site1": ("delivery-1", "Failed", "StorageFailed")}


def test_an_invalid_delivery_is_reported_and_leaves_the_login_alone(device: Device) -> None:
    device.want(site1=entry(SITE))
    device.report()
    device.want(site1=entry(SITE, deliveryId="delivery-2", password=None))

    assert device.login(SITE) == LOGIN
    assert device.report() == {"site1": ("delivery-2", "Failed", "InvalidDelivery")}
    assert device.agent.seconds_until_due() is None


def test_a_desired_section_that_cannot_be_read_changes_nothing(device: Device) -> None:
    device.want(site1=entry(SITE))
    with pytest.raises(MalformedDesired):
        device.agent.adopt({"firstpull": "?"}, {})

    device.work()
    assert device.login(SITE) == LOGIN


def test_the_password_is_in_the_auth_file_alone_and_that_is_private(device: Device) -> None:
    device.want(site1=entry(SITE))

    assert stat.S_IMODE(device.engine.auth_file.path.stat().st_mode) == 0o600
    state = device.folder / "state" / "applied.json"
    assert PASSWORD not in state.read_text()
    assert PASSWORD not in str(device.agent.outcomes_patch())
    everything = sorted(p.name for p in device.folder.rglob("*") if p.is_file())
    assert everything == ["applied.json", "auth.json"]


def test_logins_for_other_registries_stay_as_they_are(device: Device) -> None:
    file = device.engine.auth_file
    file.path.write_text('{"auths": {"x:1": {"auth": "YTpi"}}, "currentContext": "c"}')
    device.want(site1=entry(SITE))
    device.want()

    assert file.credentials("x:1") == ("a", Secret("b"))
    assert '"currentContext": "c"' in file.path.read_text()


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ('{"auths": {"a:1": {}}, "credsStore": "pass"}', True),
        ('{"auths": {"a:1": {}}}', False),
        ('{"auths": {"a:1": {"auth": "ZGV2aWNlLTE6", "identitytoken": "x"}}}', True),
        ('{"auths": {"a:1": {"auth": "not base 64"}}}', True),
        ('{"auths": []}', False),
        ("[]", False),
        ("broken", False),
    ],
)
def test_a_login_that_cannot_be_compared_counts_when_it_is_there(
    device: Device, *, content: str, held: bool
) -> None:
    device.engine.auth_file.path.write_text(content)
    holds = device.engine.auth_file.holds("a:1", username=USERNAME, password=Secret("p"))

    assert holds is held
