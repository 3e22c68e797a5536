"""What surrounds the code - workflows, hooks, the editor, samples - names only what there is."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import firstpull_agent
import pytest
import yaml  # type: ignore[import-untyped]

from firstpull.config.settings import Settings, read_settings
from functions.openapi import VERSION

from .conftest import ROOT

_PINNED = re.compile(r"uses: [\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
_OF_THE_HOST = {"FUNCTIONS_WORKER_RUNTIME"}
_WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _steps() -> Iterator[dict[str, Any]]:
    for workflow in _WORKFLOWS:
        for job in yaml.safe_load(workflow.read_text())["jobs"].values():
            yield from job["steps"]


def _hooks() -> list[dict[str, Any]]:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {repository["repo"] for repository in repositories} == {"local"}
    return [hook for repository in repositories for hook in repository["hooks"]]


def _json(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / path).read_text())
    return found


def test_every_action_is_pinned_to_a_commit_with_its_version() -> None:
    used = [
        line.strip().removeprefix("- ")
        for workflow in _WORKFLOWS
        for line in workflow.read_text().splitlines()
        if "uses:" in line
    ]
    assert used
    assert [line for line in used if not _PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("workflow", _WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_the_code_and_has_no_secrets(workflow: Path) -> None:
    text = workflow.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert text.count("permissions:") == 1
    assert "secrets." not in text
    assert "persist-credentials: false" in text


def test_workflows_check_test_and_package() -> None:
    commands = {step["run"] for step in _steps() if "run" in step}
    assert commands == {"make check", ".ci/run", "make package"}
    assert {command.split()[1] for command in commands if "make" in command} <= _targets()
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_workflows_name_files_that_exist() -> None:
    options = [step["with"] for step in _steps() if "with" in step]
    named = {
        o[n] for o in options for n in ("python-version-file", "cache-dependency-path") if n in o
    }
    hashed = {n for o in options for n in re.findall(r"hashFiles\('(.+?)'\)", o.get("key", ""))}
    assert named
    assert hashed
    assert [name for name in named | hashed if not (ROOT / name).is_file()] == []


def test_dependabot_looks_where_dependencies_are() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    folders = {
        (update["package-ecosystem"], folder.strip("/"))
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    assert {name for kind, name in folders if kind == "pip"} == {
        str(path.parent.relative_to(ROOT)).strip(".")
        for path in (ROOT / "pyproject.toml", ROOT / "device_agent/pyproject.toml")
    }
    assert all((ROOT / name).is_dir() for _, name in folders)
    assert ("github-actions", "") in folders
    assert (ROOT / "local_azure/azurite/package-lock.json").is_file()
    assert ("npm", "local_azure/azurite") in folders
    # It raises features of a container, and no image.
    has_features = '"features"' in (ROOT / ".devcontainer/devcontainer.json").read_text()
    assert (("devcontainers", "") in folders) is has_features


def test_hooks_run_what_the_environment_and_the_makefile_have() -> None:
    for hook in _hooks():
        command, target = hook["entry"].split()[:2]
        assert hook["language"] == "system"
        assert target in _targets() if command == "make" else (ROOT / command).is_file()


def test_the_editors_tasks_are_targets_of_the_makefile() -> None:
    commands = [task["command"] for task in _json(".vscode/tasks.json")["tasks"]]
    assert commands
    assert {command.removeprefix("make ") for command in commands} <= _targets()


def test_the_editor_debugs_modules_that_exist() -> None:
    modules = [
        configuration["module"]
        for configuration in _json(".vscode/launch.json")["configurations"]
        if configuration["request"] == "launch"
    ]
    assert modules
    assert [m for m in modules if not (ROOT / f"{m.replace('.', '/')}.py").is_file()] == []


def test_the_editor_has_the_rules_of_the_project() -> None:
    settings = _json(".vscode/settings.json")
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert settings["editor.rulers"] == [rules["line-length"]]
    assert "charliermarsh.ruff" in _json(".vscode/extensions.json")["recommendations"]


def test_the_sample_of_local_settings_holds_and_has_no_setting_that_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = _json("local.settings.sample.json")["Values"]
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
    assert read_settings().policy.sites == ()


def test_the_sample_holds_no_key() -> None:
    assert "Key=" not in (ROOT / "local.settings.sample.json").read_text()


def test_one_version_stands_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert project["version"] == VERSION == newest[1]
    template = yaml.safe_load((ROOT / "azure.yaml").read_text())["metadata"]["template"]
    assert template == f"firstpull@{VERSION}"


def test_the_agent_has_one_version_too() -> None:
    agent = tomllib.loads((ROOT / "device_agent/pyproject.toml").read_text())["project"]
    assert agent["version"] == firstpull_agent.__version__


@pytest.mark.parametrize(
    "place",
    [
        *("pyproject.toml", "functions/openapi.py", "azure.yaml", "device_agent/pyproject.toml"),
        "device_agent/src/firstpull_agent/__init__.py",
    ],
)
def test_the_checklist_of_a_release_names_every_place_of_a_version(place: str) -> None:
    checklist = (ROOT / "docs/releasing.md").read_text().partition("## Checklist")[2]
    assert re.search(r"\d+\.\d+\.\d+", (ROOT / place).read_text())
    assert f"`{place}`" in checklist.partition("\n## ")[0]
