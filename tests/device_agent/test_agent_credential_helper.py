"""`docker-credential-firstpull`: the protocol, and container tools that speak it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from firstpull_agent import __version__
from firstpull_agent.credential_helper import main
from firstpull_agent.secret import Secret

from .conftest import Agent
from .deliveries import PASSWORD, USERNAME, desired, entry_for
from .device import Device
from .fake_registry import FakeRegistry

NOT_FOUND = "credentials not found in native keychain\n"


class Helper:
    """The helper of a device, called as container tools call it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = main(arguments)
        out, err = self._capsys.readouterr()
        assert err == ""
        return status, out


@pytest.fixture
def helper(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Helper:
    monkeypatch.setenv("FIRSTPULL_AGENT_STATE_DIR", str(agent.folder / "state"))
    return Helper(monkeypatch, capsys)


@pytest.mark.parametrize("spelled", ["{}", "https://{}", "https://{}/v2/", "{}/samples/web\n"])
def test_it_gives_the_delivered_login_however_a_client_spells_the_address(
    agent: Agent, registry: FakeRegistry, helper: Helper, spelled: str
) -> None:
    agent.log_in(registry)
    asked = spelled.format(registry.address)

    status, said = helper("get", stdin=asked)

    assert status == 0
    assert json.loads(said) == {
        "ServerURL": asked.strip(),
        "Username": USERNAME,
        "Secret": PASSWORD,
    }


def test_another_address_has_no_login(agent: Agent, registry: FakeRegistry, helper: Helper) -> None:
    agent.log_in(registry)

    assert helper("get", stdin="127.0.0.1:1\n") == (1, NOT_FOUND)
    assert helper("get") == (1, "no credentials server URL\n")


def test_before_the_first_delivery_there_is_nothing(helper: Helper) -> None:
    assert helper("get", stdin="10.0.0.4:8080") == (1, NOT_FOUND)
    assert helper("list") == (0, "{}\n")


def test_the_list_names_users_and_no_passwords(
    agent: Agent, registry: FakeRegistry, helper: Helper
) -> None:
    agent.log_in(registry)

    status, said = helper("list")

    assert status == 0
    assert json.loads(said) == {registry.address: USERNAME}


def test_a_withdrawn_login_is_given_no_more(
    agent: Agent, registry: FakeRegistry, helper: Helper
) -> None:
    agent.log_in(registry)
    agent.apply(desired())

    assert helper("get", stdin=registry.address) == (1, NOT_FOUND)


def test_a_persons_login_in_that_place_is_not_given(
    device: Device, monkeypatch: pytest.MonkeyPatch, helper: Helper
) -> None:
    device.want(site1=entry_for(FakeRegistry(address="10.0.0.4:8080", secure=False)))
    monkeypatch.setenv("FIRSTPULL_AGENT_STATE_DIR", str(device.state_file.parent))
    assert helper("get", stdin="10.0.0.4:8080")[0] == 0

    device.log_in_by_hand("10.0.0.4:8080", ("somebody", Secret("their own")))
    assert helper("get", stdin="10.0.0.4:8080") == (1, NOT_FOUND)


@pytest.mark.parametrize(
    ("action", "advice"), [("store", "--engine oci"), ("erase", "delivery is withdrawn")]
)
def test_it_keeps_nothing_for_others_and_says_what_to_do(
    agent: Agent, registry: FakeRegistry, helper: Helper, action: str, advice: str
) -> None:
    agent.log_in(registry)
    before = agent.auth_file.read_bytes()

    status, said = helper(action, stdin=registry.address)

    assert status == 1
    assert advice in said
    assert agent.auth_file.read_bytes() == before


def test_it_tells_its_version_and_its_usage(helper: Helper) -> None:
    assert helper("version") == (0, f"docker-credential-firstpull {__version__}\n")
    assert "get|list|version" in helper("--help")[1]
    assert helper()[0] == helper("unknown")[0] == 1


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    with FakeRegistry(secure=False).listening() as registry:
        registry.accept(USERNAME, PASSWORD, "hello-world")
        registry.add_image("hello-world", "latest")
        yield registry


@pytest.mark.parametrize("tool", ["skopeo", "podman"])
def test_a_container_tool_pulls_with_it(
    agent: Agent, plain: FakeRegistry, tmp_path: Path, tool: str
) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    agent.log_in(plain)
    helpers = tmp_path / "bin"
    helpers.mkdir()
    command = helpers / "docker-credential-firstpull"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -m firstpull_agent.credential_helper $1")
    command.chmod(0o755)
    auth_file = tmp_path / "auth-of-the-tool.json"
    auth_file.write_text(json.dumps({"credHelpers": {plain.address: "firstpull"}}))
    environment = {
        "PATH": f"{helpers}:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(tmp_path),
        "REGISTRY_AUTH_FILE": str(auth_file),
        "FIRSTPULL_AGENT_STATE_DIR": str(tmp_path / "state"),
    }
    image = f"docker://{plain.address}/hello-world:latest"
    calls = {
        "skopeo": ["skopeo", "inspect", "--raw", "--tls-verify=false", image],
        # Asks for the login as `podman pull` does, and needs no storage.
        "podman": ["podman", "login", "--get-login", plain.address],
    }

    done = subprocess.run(  # noqa: S603 - fixed commands
        calls[tool], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    if tool == "skopeo":
        assert plain.passwords_seen()[-1] == f"{USERNAME}:{PASSWORD}"
        assert json.loads(done.stdout)["layers"]
    else:
        assert done.stdout.strip() == USERNAME
