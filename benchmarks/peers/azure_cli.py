"""The quickstart's commands: `az acr token create`, `az acr connected-registry update`.

Its first command, for the scope map, has run before. What the others do not have, Key Vault and
the twin, is left out: the password is on the screen.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.apps import Bench
from benchmarks.command import run_program
from benchmarks.peers.azure import SCOPE_MAP, Task
from local_azure.commands.processes import inherited

_INSTALLED = Path(__file__).parents[2] / ".local" / "azure-cli" / "bin" / "az"


class AzFailed(Exception):
    """A command failed; the message has what it said."""


@dataclass(frozen=True, kw_only=True)
class AzureCli:
    """`az`, logged in to the local Azure."""

    az: Path
    environment: Mapping[str, str] = field(repr=False)

    async def onboard(self, task: Task) -> float:
        """The seconds until the last device's token is in the list. Raises AzFailed."""
        started = time.monotonic()
        where = ("--registry", task.registry, "--output", "none")
        for device in task.devices:
            name = task.token_name(device)
            await self("acr", "token", "create", "--name", name, "--scope-map", SCOPE_MAP, *where)
            await self(
                *("acr", "connected-registry", "update", "--name", task.connected_registry),
                *("--add-client-token", name),
                *where,
            )
        return time.monotonic() - started

    async def __call__(self, *arguments: str) -> None:
        """Run a command. Raises AzFailed."""
        await run_program(
            *(str(self.az), *arguments),
            environment=self.environment,
            fails=AzFailed,
            name=f"az {' '.join(arguments[:3])}",
        )


def installed() -> Path | None:
    """Where `make az` has installed it, or `FIRSTPULL_AZ` says it is."""
    az = Path(os.environ.get("FIRSTPULL_AZ", _INSTALLED))
    return az if az.exists() else None


@asynccontextmanager
async def logged_in(bench: Bench, az: Path) -> AsyncIterator[AzureCli]:
    """`az` as the operator, with a configuration of its own."""
    stack = bench.stack
    with TemporaryDirectory(prefix="benchmark-az-") as folder:
        environment = {
            **inherited("PATH", "LANG"),
            "HOME": folder,
            "AZURE_CONFIG_DIR": f"{folder}/azure",
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "REQUESTS_CA_BUNDLE": bench.ca_file,
            "IDENTITY_ENDPOINT": stack.identity_endpoint,
            "IDENTITY_HEADER": stack.operator_identity_header,
        }
        cli = AzureCli(az=az, environment=environment)
        register = ("cloud", "register", "--name", "LocalAzure")
        await cli(*register, "--endpoint-resource-manager", stack.arm_endpoint)
        await cli("cloud", "set", "--name", "LocalAzure")
        await cli("login", "--identity")
        yield cli
