"""Workflows, dependabot, the sample of settings and the versions agree with the project."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import firstpull_agent
import firstpull_cli
import pytest
import yaml  # type: ignore[import-untyped]

from firstpull.config.settings import Settings, read_settings
from functions.openapi import VERSION

from .conftest import ROOT

_PINNED = re.compile(r"uses: [\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
_OF_THE_HOST = {"FUNCTIONS_WORKER_RUNTIME"}
_WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", _WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_with_its_version(workflow: Path) -> None:
    lines = [line.strip().removeprefix("- ") for line in workflow.read_text().splitlines()]
    used = [line for line in lines if line.startswith("uses:")]
    assert used
    assert [line for line in used if not _PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("workflow", _WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_the_code_and_has_no_secrets(workflow: Path) -> None:
    text = workflow.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert text.count("permissions:") == 1
    assert "secrets." not in text
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")


def test_continuous_integration_runs_a_script_that_can_be_run() -> None:
    assert "run: .ci/run" in "".join(workflow.read_text() for workflow in _WORKFLOWS)
    assert os.access(ROOT / ".ci/run", os.X_OK)


@pytest.mark.parametrize(
    "name",
    [
        *("requirements.txt", "requirements-dev.txt"),
        *("device_agent/requirements.txt", "cli/requirements.txt"),
    ],
)
def test_every_requirement_is_pinned_to_a_version_and_to_hashes(name: str) -> None:
    requirements = re.split(r"\n(?=[\w.-]+==)", (ROOT / name).read_text())[1:]
    assert requirements
    assert [one for one in requirements if "--hash=sha256:" not in one] == []


def test_dependabot_looks_where_dependencies_are() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    folders = {
        (update["package-ecosystem"], folder.strip("/"))
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    assert folders == {
        *(("pip", folder) for folder in _folders_of("pyproject.toml")),
        *(("npm", folder) for folder in _folders_of("package-lock.json")),
        ("github-actions", ""),
    }


def _folders_of(name: str) -> set[str]:
    """The folders of the checkout, two levels deep, that hold a file of this name."""
    found = [path for pattern in (name, f"*/{name}", f"*/*/{name}") for path in ROOT.glob(pattern)]
    folders = {path.relative_to(ROOT).parent.as_posix() for path in found}
    return {folder.strip(".") for folder in folders if folder == "." or folder[0] != "."}


def test_the_sample_of_local_settings_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    for name in os.environ:
        if name.startswith(("FIRSTPULL_", "AzureWebJobsStorage")):
            monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    known = {
        str(field.validation_alias or f"FIRSTPULL_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    assert values.keys() - _OF_THE_HOST <= known
    policy = read_settings().policy
    assert policy is not None
    assert policy.sites == ()
    assert "Key=" not in json.dumps(values)


def test_one_version_stands_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert project["version"] == VERSION == newest[1]
    template = yaml.safe_load((ROOT / "azure.yaml").read_text())["metadata"]["template"]
    assert template == f"firstpull@{VERSION}"
    agent = tomllib.loads((ROOT / "device_agent/pyproject.toml").read_text())["project"]
    assert agent["version"] == firstpull_agent.__version__
    command = tomllib.loads((ROOT / "cli/pyproject.toml").read_text())["project"]
    assert command["version"] == firstpull_cli.__version__


@pytest.mark.parametrize("folder", ["device_agent", "cli"])
def test_a_package_is_installed_with_the_versions_that_it_is_tested_with(folder: str) -> None:
    def pins(file: str) -> set[str]:
        lines = (ROOT / file).read_text().splitlines()
        # What only Windows needs is not tested here.
        return {line.split()[0] for line in lines if "==" in line and "win32" not in line}

    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    pinned = pins(f"{folder}/requirements.txt")
    assert {re.split("[<>=]", need)[0] for need in project["dependencies"]} <= {
        pin.partition("==")[0] for pin in pinned
    }
    assert pinned <= pins("requirements-dev.txt")
