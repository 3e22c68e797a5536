"""Running azure-cli, and logging in with what it printed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from local_azure.container_registry.models import Registry
from local_azure.registry.authentication import CONNECTED_REGISTRY_TOKEN_PATH
from local_azure.stack import Stack
from local_azure.stack.options import RESOURCE_GROUP
from local_azure.stack.sites import Site

WITH_GROUP = ("--resource-group", RESOURCE_GROUP)


@dataclass(frozen=True)
class AzureCli:
    """`az` as a process, with nothing in its environment but this."""

    az: str
    environment: Mapping[str, str] = field(repr=False)

    async def __call__(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever az answers
        """What az prints, decoded. Raises AssertionError with what it says when it fails."""
        code, output, errors = await self._run(self.az, *arguments)
        assert code == 0, f"az {' '.join(arguments)}\n{errors}"
        return json.loads(output) if output.strip() else None

    async def refused(self, *arguments: str) -> str:
        """What az says when it fails, as it has to."""
        code, _, errors = await self._run(self.az, *arguments)
        assert code != 0, f"az {' '.join(arguments)} was not refused"
        return errors

    async def script(self, text: str) -> str:
        """What commands print that are written for a shell, the first failure being the last."""
        code, output, errors = await self._run("bash", "-euo", "pipefail", "-c", text)
        assert code == 0, f"{text}\n{errors}"
        return output

    async def log_in(self, arm_endpoint: str) -> None:
        """Make the cloud known, choose it, and log in with the managed identity."""
        register = ("cloud", "register", "--name", "LocalAzure")
        await self(*register, "--endpoint-resource-manager", arm_endpoint)
        await self("cloud", "set", "--name", "LocalAzure")
        await self("login", "--identity")

    async def _run(self, *command: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(self.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()


def registry_of(cloud: Stack) -> Registry:
    """The one container registry."""
    return cloud.cloud.registries()[0]


def site_of(cloud: Stack, name: str) -> Site:
    """A connected registry of the cloud."""
    site = cloud.sites.get(name)
    assert site is not None
    return site


def clients_of(cloud: Stack, name: str) -> set[str]:
    """The names of the tokens that the connected registry's resource lists."""
    settings = registry_of(cloud).connected_registry(name).settings
    return {token_id.rpartition("/")[2] for token_id in settings.client_token_ids}


def value_of(credentials: Mapping[str, Any], name: str) -> str:
    """A password's value in what az prints."""
    values = {entry["name"]: entry["value"] for entry in credentials["passwords"]}
    value: str = values[name]
    return value


async def log_in_at(cloud: Stack, name: str, *, username: str, password: str) -> int:
    """The status with which a connected registry's token service answers."""
    url = f"https://{site_of(cloud, name).endpoint}{CONNECTED_REGISTRY_TOKEN_PATH}"
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            url,
            params={"service": "tests", "scope": "repository:hello-world:pull"},
            headers={"Authorization": aiohttp.encode_basic_auth(username, password)},
            ssl=cloud.kernel.certificates.client_context(),
        ) as answer,
    ):
        return answer.status
