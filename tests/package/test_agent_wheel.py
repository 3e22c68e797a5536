"""The agent as its users get it: a wheel, installed with its pins where nothing else is."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import firstpull_agent
import pytest

from tests.device_agent.deliveries import PASSWORD, USERNAME, desired, entry_for
from tests.device_agent.fake_registry import FakeRegistry

from .conftest import ROOT, python_of, run

AGENT = ROOT / "device_agent"
UV = Path(sys.executable).with_name("uv")
PYTHONS = ("3.11", "3.12", "3.13")

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("agent wheel")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(
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
    python = python_of(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version}")
    venv = tmp_path / "venv"
    _succeeds(UV, "venv", "--quiet", "--python", python, venv)
    install = (UV, "pip", "install", "--quiet", "--python", venv / "bin/python")
    _succeeds(*install, "--require-hashes", "-r", AGENT / "requirements.txt")
    _succeeds(*install, "--no-deps", wheel)

    agent = venv / "bin/firstpull-agent"
    assert run(agent, "--version").stdout == f"{firstpull_agent.__version__}\n"
    modules = "firstpull_agent.hub, firstpull_agent.service, firstpull_agent.engines.choice"
    _succeeds(venv / "bin/python", "-c", f"import {modules}")
    key = run(agent, "key", "--state-dir", tmp_path / "state")
    assert json.loads(key.stdout)["kty"] == "EC", key.stderr
    _logs_in_and_answers(venv, tmp_path)


def _succeeds(*command: str | Path) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stderr


def _logs_in_and_answers(venv: Path, folder: Path) -> None:
    """It applies a delivery over TLS, and its credential helper gives the login."""
    state = folder / "state"
    with FakeRegistry().listening() as registry:
        registry.accept(USERNAME, PASSWORD, "hello-world")
        wanted = json.dumps(desired(site1=entry_for(registry)))
        options: Sequence[str | Path] = ("--engine", "oci", "--state-dir", state)
        applied = run(venv / "bin/firstpull-agent", "apply", *options, stdin=wanted)
        assert applied.returncode == 0, applied.stderr
        assert json.loads(applied.stdout)["firstpull"]["registryCredentials"]["site1"]["state"] == (
            "LoggedIn"
        )
        given = run(
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
