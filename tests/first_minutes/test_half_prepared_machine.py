"""`make setup` on a machine that lacks something says what, and how to get it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_azure.commands.up import main
from local_azure.kernel import addresses

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "make", "awk", "df", "uname", "mkdir", "touch", "printf", "ln")
REQUIREMENT = "firstpull-has-no-such-package==1.0 --hash=sha256:" + 64 * "0"
PYTHON = f"""
case "$*" in
"-c import ensurepip, venv") exit "${{WITHOUT_VENV:-0}}" ;;
"-m venv --clear .venv") mkdir -p .venv/bin && ln -s {sys.executable} .venv/bin/python ;;
*) exec {sys.executable} "$@" ;;
esac
"""


@dataclass
class Machine:
    """A machine with a few commands in its PATH, and a clone."""

    folder: Path

    @property
    def clone(self) -> Path:
        return self.folder / "firstpull"

    def has(self, command: str, script: str, *, folder: str = "bin") -> None:
        """Put a command into a folder of the machine."""
        path = self.folder / folder / command
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def set_up(self, **variables: str) -> str:
        """What `make setup` says on its way to a failure."""
        done = subprocess.run(  # noqa: S603 - the make of this machine
            [str(self.folder / "bin/make"), "setup"],
            cwd=self.clone,
            env={
                "PATH": str(self.folder / "bin"),
                "HOME": str(self.folder),
                # Nothing is installed anywhere but in the folder of the test, and from nowhere.
                "PIP_TARGET": str(self.folder / "packages"),
                "PIP_INDEX_URL": f"http://127.0.0.1:{closed_port()}/simple",
                "PIP_RETRIES": "0",
                "PIP_CONFIG_FILE": os.devnull,
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with all that is needed but the network."""
    machine = Machine(tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    for name in ("Makefile", "tools/setup.sh"):
        (machine.clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, machine.clone / name)
    for name in ("device_agent", "cli", "local_azure/azurite", "tools/check_kql"):
        (machine.clone / name).mkdir(parents=True)
    for name in ("device_agent/pyproject.toml", "cli/pyproject.toml"):
        (machine.clone / name).touch()
    for name in ("local_azure/azurite", "tools/check_kql"):
        (machine.clone / name / "package-lock.json").touch()
    (machine.clone / "requirements-dev.txt").write_text(REQUIREMENT)
    machine.has("python3.13", PYTHON)
    return machine


def test_without_python_3_13_it_says_three_ways_to_get_it(machine: Machine) -> None:
    (machine.folder / "bin/python3.13").unlink()
    machine.has("python3", f"""exec {sys.executable} -c 'raise SystemExit(1)'""")
    said = machine.set_up()
    assert "CPython 3.13 was not found" in said
    for way in ("uv python install 3.13", "pyenv install 3.13", "sudo apt install python3.13 "):
        assert way in said
    assert "make PYTHON=/path/to/python3.13" in said


def test_a_python_that_cannot_make_a_venv_is_told_by_its_package(machine: Machine) -> None:
    said = machine.set_up(WITHOUT_VENV="1")
    assert "bin/python3.13 cannot make virtual environments" in said
    assert "sudo apt install python3.13-venv" in said


def test_another_python_that_can_make_one_is_taken(machine: Machine) -> None:
    machine.has("python3.13", PYTHON.replace("WITHOUT_VENV:-0", "NEVER:-1"))
    machine.has("python", PYTHON)
    assert "Setting up .venv" in machine.set_up()


@pytest.mark.parametrize(
    ("system", "hardware"), [("Linux", "aarch64"), ("Darwin", "arm64"), ("Darwin", "x86_64")]
)
def test_another_kind_of_machine_is_told_of_the_container(
    machine: Machine, system: str, hardware: str
) -> None:
    machine.has("uname", f'[ "$1" = -m ] && echo {hardware} || echo {system}')
    said = machine.set_up()
    assert f"This machine is {system} {hardware}. firstpull needs x86_64 Linux" in said
    assert ".devcontainer/" in said


def test_too_little_room_is_told_with_what_is_needed(machine: Machine) -> None:
    machine.has("df", "echo Filesystem; echo /dev/vda1 9000000 8388608 611392 94% /")
    said = machine.set_up()
    assert "597 MB are free in " in said
    assert "needs 1500 MB" in said


def test_without_a_network_pip_is_told_of_proxy_and_mirror(machine: Machine) -> None:
    said = machine.set_up()
    assert "pip could not get its packages" in said
    assert "HTTPS_PROXY" in said
    assert "PIP_INDEX_URL" in said
    assert not (machine.clone / ".venv/.installed").exists()  # so that make begins again


def test_without_a_network_npm_is_told_of_proxy_and_mirror(machine: Machine) -> None:
    machine.has("python", "exit 0", folder="firstpull/.venv/bin")
    (machine.clone / ".venv/.installed").touch()
    machine.has("npm", "echo npm error code ECONNREFUSED >&2; exit 1", folder="firstpull/.venv/bin")
    said = machine.set_up()
    assert "Installing Azurite" in said
    assert "ECONNREFUSED" in said
    assert "npm could not get its packages" in said
    assert "NPM_CONFIG_REGISTRY" in said


def test_a_port_that_is_busy_everywhere_is_named_with_how_to_find_its_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As by an MQTT broker that listens on all addresses."""
    with socket.socket() as broker:
        broker.bind(("0.0.0.0", 0))  # noqa: S104 - that is the case
        broker.listen()
        port = broker.getsockname()[1]
        monkeypatch.setattr(addresses, "DEVICE_PORT", port)
        monkeypatch.setattr(sys, "argv", ["up", "--workplace", str(tmp_path)])
        assert main() == 1
    said = capsys.readouterr().err
    assert f"Port {port}" in said
    assert f"ss -ltnp 'sport = :{port}'" in said
