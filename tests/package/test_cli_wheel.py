"""The command `firstpull` as its users get it: a wheel, installed with its pins alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.fake_service import fake_service

from .conftest import ROOT, python_of, run

UV = Path(sys.executable).with_name("uv")
PYTHONS = ("3.11", "3.13")
"""The oldest that it promises, and this project's."""
HEAVY = {"requests", "azure.identity", "rich.console", "rich.markdown", "urllib3"}
"""What `--help` does not need. Its time below 0.5 s depends on it: 0.3 s of CPU without these."""
_EVERY_MODULE = """
import importlib, pkgutil, azure.identity, firstpull_cli
for module in pkgutil.walk_packages(firstpull_cli.__path__, "firstpull_cli."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(firstpull_cli.__file__)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=PYTHONS)
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, as `pipx install ./cli` makes one, but with the pins."""
    python = python_of(request.param)
    if python is None:
        pytest.skip(f"this machine has no Python {request.param}")
    folder = tmp_path_factory.mktemp("cli")
    environment = folder / "environment"
    install = (UV, "pip", "install", "--quiet", "--python", environment / "bin/python")
    build = (UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable)
    for command in (
        (*build, "--out-dir", folder, ROOT / "cli"),
        (UV, "venv", "--quiet", "--python", python, environment),
        (*install, "--require-hashes", "-r", ROOT / "cli/requirements.txt"),
        (*install, "--no-deps", "--no-index", "--find-links", folder, "firstpull-cli"),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    return environment / "bin"


def test_the_command_needs_its_pins_alone(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "python", "-I", "-c", _EVERY_MODULE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed.parent))
    with fake_service((200, {}, {"devices": []})) as service:
        variables = {"FIRSTPULL_URL": service.url, "FIRSTPULL_KEY": "sesame", "HOME": str(tmp_path)}
        listed = run(installed / "firstpull", "devices", "--json", **variables)
    assert json.loads(listed.stdout) == {"devices": [], "unreadable": []}


def test_help_imports_nothing_that_takes_long(installed: Path) -> None:
    done = run(installed / "python", "-X", "importtime", installed / "firstpull", "--help")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "onboard" in done.stdout
    assert "typer" in imported
    assert not imported & HEAVY
