"""docker: its daemon checks the login and pulls; its command stores the login."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from firstpull_agent.applied import Applied
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.deliveries import Delivery
from firstpull_agent.engines.commands import (
    LOGIN_TIMEOUT_SECONDS,
    PULL_TIMEOUT_SECONDS,
    run_command,
)
from firstpull_agent.images import Image
from firstpull_agent.reports import Failure, Reason
from firstpull_agent.secret import Secret

_DIGEST_LINE = re.compile(r"^Digest: (sha256:[0-9a-f]{64})$", re.MULTILINE)
_PROBE_TIMEOUT_SECONDS = 10.0


def daemon_answers() -> bool:
    """Whether the machine has a docker command whose daemon answers."""
    probe = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        return bool(run_command(probe, timeout_seconds=_PROBE_TIMEOUT_SECONDS).strip())
    except Failure:
        return False


@dataclass(frozen=True)
class Docker:
    """docker, whose daemon allows plain http by its own setting `insecure-registries`."""

    auth_file: AuthFile
    ca_files: CaFiles
    name: str = "docker"

    def login(self, delivery: Delivery) -> None:
        """Check the login with the daemon, then store it."""
        self._run(
            ["login", f"--username={delivery.username}", "--password-stdin", delivery.address],
            secret_input=delivery.password,
        )

    def logout(self, address: str) -> None:
        """Remove the login for `address`."""
        if self.auth_file.has(address):
            self._run(["logout", address])

    def pull(self, image: Image, login: Applied, *, output: Path) -> str:  # noqa: ARG002 - images go to the daemon
        """Pull into the daemon's image store."""
        name = image.at(login.address)
        said = self._run(["pull", name], timeout_seconds=PULL_TIMEOUT_SECONDS)
        found = _DIGEST_LINE.search(said)
        if found is None:
            raise Failure(Reason.ENGINE_FAILED, f"docker pulled {name} and named no digest")
        return found[1]

    def _run(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float = LOGIN_TIMEOUT_SECONDS,
        secret_input: Secret | None = None,
    ) -> str:
        return run_command(
            ["docker", *arguments],
            timeout_seconds=timeout_seconds,
            environment={"DOCKER_CONFIG": str(self.auth_file.path.parent)},
            secret_input=secret_input,
        )
