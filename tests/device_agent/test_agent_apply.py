"""`firstpull-agent apply`, for devices whose application owns the hub connection."""

from __future__ import annotations

import json
import stat
from base64 import b64decode

import pytest

from .conftest import Agent
from .deliveries import PASSWORD, USERNAME, desired, entry_for
from .fake_registry import FakeRegistry
from .fakes import ManualTime

LOGGED_IN = {"deliveryId": "delivery-1", "state": "LoggedIn", "reason": None}


def test_a_delivery_is_applied_and_the_patch_to_report_is_printed(
    agent: Agent, registry: FakeRegistry
) -> None:
    done = agent("apply", stdin=json.dumps(desired(site1=entry_for(registry))))

    assert done.status == 0
    reported = json.loads(done.out)["firstpull"]["registryCredentials"]["site1"]
    assert reported.pop("at").endswith("Z")
    assert reported == LOGGED_IN
    assert stat.S_IMODE(agent.auth_file.stat().st_mode) == 0o600
    assert registry.address in json.loads(agent.auth_file.read_text())["auths"]


def test_only_the_section_of_firstpull_is_needed(agent: Agent, registry: FakeRegistry) -> None:
    section = {"firstpull": desired(site1=entry_for(registry))["firstpull"]}

    assert agent.apply(section) == (0, {"site1": LOGGED_IN})


def test_it_fails_while_one_of_the_deliveries_fails(agent: Agent, registry: FakeRegistry) -> None:
    status, reported = agent.apply(
        desired(site1=entry_for(registry), site2=entry_for(registry, username="other"))
    )

    assert status == 1
    assert reported["site1"] == LOGGED_IN
    assert reported["site2"]["reason"] == "CredentialsNotAccepted"


class _TimeUntilKnown(ManualTime):
    """Time in which the registry learns of the credential while the agent waits."""

    def __init__(self, registry: FakeRegistry) -> None:
        super().__init__()
        self._registry = registry

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if len(self.waits) == 3:
            self._registry.accept(USERNAME, PASSWORD)


@pytest.mark.parametrize(("wait", "status"), [("60", 0), ("2", 1)])
def test_it_waits_as_long_as_asked_for_the_registry_to_know_the_credential(
    agent: Agent, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, wait: str, status: int
) -> None:
    registry.accepted.clear()
    time = _TimeUntilKnown(registry)
    monkeypatch.setattr("firstpull_agent.cli.MachineTime", lambda: time)

    assert agent.apply(desired(site1=entry_for(registry)), "--wait", wait)[0] == status
    assert sum(time.waits) <= float(wait)


def test_without_waiting_it_tries_once(agent: Agent, registry: FakeRegistry) -> None:
    registry.accepted.clear()

    assert agent.apply(desired(site1=entry_for(registry)))[0] == 1
    assert len(registry.passwords_seen()) == 1


def test_what_is_no_longer_desired_is_logged_out(agent: Agent, registry: FakeRegistry) -> None:
    agent.log_in(registry)

    assert agent.apply(desired()) == (0, {"site1": None})
    assert json.loads(agent.auth_file.read_text())["auths"] == {}


def test_two_deliveries_for_one_address_are_both_applied(
    agent: Agent, registry: FakeRegistry
) -> None:
    registry.accept("device-1-anew", PASSWORD)
    newer = entry_for(registry, username="device-1-anew", expiresOn="2027-05-21T10:00:00Z")
    both = desired(site1=newer, site2=entry_for(registry))

    assert agent.apply(both) == (0, {"site1": LOGGED_IN, "site2": LOGGED_IN})
    (login,) = json.loads(agent.auth_file.read_text())["auths"].values()
    assert b64decode(login["auth"]).decode() == f"device-1-anew:{PASSWORD}"


def test_nothing_desired_is_nothing_to_do(agent: Agent) -> None:
    assert agent.apply({"$version": 1}) == (0, {})


@pytest.mark.parametrize("stdin", ["", "{", '{"firstpull": "x"}', "[]"])
def test_what_cannot_be_read_is_refused_and_changes_nothing(
    agent: Agent, registry: FakeRegistry, stdin: str
) -> None:
    agent.log_in(registry)
    before = agent.auth_file.read_text()
    done = agent("apply", stdin=stdin)

    assert (done.status, done.out) == (2, "")
    assert agent.auth_file.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "FIRSTPULL_DEVICE_CONNECTION_STRING"),
        (("--hub", "h", "--device-id", "d"), "X.509 needs"),
        (("--connection-string-file", "/does/not/exist"), "/does/not/exist"),
    ],
)
def test_run_says_what_is_missing_to_connect(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.delenv("FIRSTPULL_DEVICE_CONNECTION_STRING", raising=False)
    done = agent("run", *arguments)

    assert done.status == 2
    assert says in done.err


def test_a_state_folder_that_cannot_be_used_is_named(agent: Agent) -> None:
    (agent.folder / "state").write_text("in the way")
    done = agent("apply", stdin="{}")

    assert done.status == 2
    assert str(agent.folder / "state") in done.err


def test_a_malformed_connection_string_is_not_repeated(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "FIRSTPULL_DEVICE_CONNECTION_STRING", "HostName=h;SharedAccessKey=secret-key"
    )
    done = agent("run")

    assert done.status == 2
    assert "secret-key" not in done.err


def test_a_login_stays_however_the_place_of_the_file_is_spelled(
    agent: Agent, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = desired(site1=entry_for(registry))
    assert agent.apply(wanted) == (0, {"site1": LOGGED_IN})

    monkeypatch.chdir(agent.folder)
    assert agent.apply(wanted, "--auth-file=auth.json") == (0, {"site1": LOGGED_IN})
    assert registry.address in json.loads(agent.auth_file.read_text())["auths"]
