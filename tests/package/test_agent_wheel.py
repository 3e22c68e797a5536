"""The agent as its users get it: a wheel, installed with its pins where nothing else is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import firstpull_agent
import pytest

from tests.device_agent.deliveries import PASSWORD, USERNAME, desired, entry_for
from tests.device_agent.fake_registry import FakeRegistry

from .conftest import ROOT

AGENT = ROOT / "device_agent"
UV = Path(sys.executable).with_name("uv")
PYTHONS = ("3.11", "3.12", "3.13")

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("agent wheel")]


def _run(
    *command: str | Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    # uv and pip trust what the machine trusts, and not the session's own authority.
    unset = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(  # noqa: S603 - fixed commands
        [str(part) for part in command],
        input=stdin,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _python(version: str) -> str | None:
    """An interpreter of this version on this machine, None if there is none."""
    places = [shutil.which(f"python{version}"), f"/usr/bin/python{version}"]
    places += map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    asks = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for place in places:
        if place and Path(place).exists() and _run(place, "-c", asks).stdout.strip() == version:
            return place
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = _run(
        *(UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable),
        *("--out-dir", folder, AGENT),
    )
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


def test_it_has_its_own_version_its_service_and_no_tests(wheel: Path) -> None:
    version = firstpull_agent.__version__
    assert wheel.name == f"firstpull_agent-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"firstpull_agent-{version}.dist-info/METADATA").decode()
    assert "Requires-Python: >=3.11\n" in metadata
    data = f"firstpull_agent-{version}.data/data/share/"
    assert f"{data}firstpull-agent/firstpull-agent.service" in names
    assert f"{data}doc/firstpull-agent/README.md" in names
    assert [name for name in names if "test" in name or "local_azure" in name] == []


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_it_works_with_its_pins_alone(wheel: Path, tmp_path: Path, version: str) -> None:
    python = _python(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version}")
    venv = tmp_path / "venv"
    _succeeds(UV, "venv", "--quiet", "--python", python, venv)
    install = (UV, "pip", "install", "--quiet", "--python", venv / "bin/python")
    _succeeds(*install, "--require-hashes", "-r", AGENT / "requirements.txt")
    _succeeds(*install, "--no-deps", wheel)

    agent = venv / "bin/firstpull-agent"
    assert _run(agent, "--version").stdout == f"{firstpull_agent.__version__}\n"
    modules = "firstpull_agent.hub, firstpull_agent.service, firstpull_agent.engines.choice"
    _succeeds(venv / "bin/python", "-c", f"import {modules}")
    key = _run(agent, "key", "--state-dir", tmp_path / "state")
    assert json.loads(key.stdout)["kty"] == "EC", key.stderr
    _logs_in_and_answers(venv, tmp_path)


def _succeeds(*command: str | Path) -> None:
    done = _run(*command)
    assert done.returncode == 0, done.stderr


def _logs_in_and_answers(venv: Path, folder: Path) -> None:
    """It applies a delivery over TLS, and its credential helper gives the login."""
    state = folder / "state"
    with FakeRegistry().listening() as registry:
        registry.accept(USERNAME, PASSWORD, "hello-world")
        wanted = json.dumps(desired(site1=entry_for(registry)))
        options: Sequence[str | Path] = ("--engine", "oci", "--state-dir", state)
        applied = _run(venv / "bin/firstpull-agent", "apply", *options, stdin=wanted)
        assert applied.returncode == 0, applied.stderr
        assert json.loads(applied.stdout)["firstpull"]["registryCredentials"]["site1"]["state"] == (
            "LoggedIn"
        )
        given = _run(
            venv / "bin/docker-credential-firstpull",
            "get",
            stdin=registry.address,
            FIRSTPULL_AGENT_STATE_DIR=str(state),
        )
    assert json.loads(given.stdout)["Secret"] == PASSWORD


def test_the_checks_hold_it_to_its_oldest_python() -> None:
    """ruff judges the agent's syntax and library by the oldest version that it promises."""
    text = (AGENT / "pyproject.toml").read_text()
    promised = re.search(r'requires-python = ">=3\.(\d+)"', text)
    checked = re.search(r'target-version = "py3(\d+)"', text)
    assert promised is not None
    assert checked is not None
    assert promised[1] == checked[1] == PYTHONS[0].partition(".")[2]
