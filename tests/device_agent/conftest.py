"""A device, a registry with one image, and the agent's command against it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from firstpull_agent.cli import main

from .deliveries import PASSWORD, USERNAME, desired, entry_for
from .device import Device
from .fake_registry import FakeRegistry


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Agent:
    """`firstpull-agent` with all its files in one folder."""

    folder: Path
    engine: str
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, command: str, *arguments: str, stdin: str = "") -> Outcome:
        places = [
            f"--engine={self.engine}",
            f"--state-dir={self.folder / 'state'}",
            f"--auth-file={self.auth_file}",
            f"--certs-dir={self.folder / 'certs.d'}",
        ]
        return self.run(command, *places, *arguments, stdin=stdin)

    def run(self, *arguments: str, stdin: str = "") -> Outcome:
        """The command with these options alone."""
        self.monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = main(arguments)
        out, err = self.capsys.readouterr()
        assert PASSWORD not in out + err
        return Outcome(status, out, err)

    @property
    def auth_file(self) -> Path:
        return self.folder / "auth.json"

    def apply(self, desired: dict[str, Any], *arguments: str) -> tuple[int, dict[str, Any]]:
        """The status, and what is reported without the times."""
        done = self("apply", *arguments, stdin=json.dumps(desired))
        entries: dict[str, Any] = json.loads(done.out)["firstpull"]["registryCredentials"]
        for entry in entries.values():
            if entry is not None:
                del entry["at"]
        return done.status, entries

    def log_in(self, registry: FakeRegistry) -> None:
        status, _ = self.apply(desired(site1=entry_for(registry)))
        assert status == 0


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().listening() as registry:
        registry.accept(USERNAME, PASSWORD, "hello-world")
        registry.add_image("hello-world", "latest")
        yield registry


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Agent:
    return Agent(tmp_path, "oci", monkeypatch, capsys)
