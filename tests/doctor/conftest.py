"""A local Azure of its own with firstpull on it, where nothing is wrong to begin with."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local_azure.commands.function_app import FunctionApp, run_function_app
from local_azure.container_registry.models import AT_ONCE, Registry
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack
from local_azure.stack.options import HUB_NAME
from tests.cli.command import Operator
from tests.end_to_end.cloud import GIVE_UP_SECONDS

from .az_commands import Az

Document = dict[str, Any]
PLANTS = ("plantone", "planttwo")
SITES = "sites"
_QUICKLY = {
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00",
}


@dataclass(kw_only=True)
class Clinic:
    """A stack, firstpull on it, and an operator who does what the doctor says."""

    stack: Stack
    app: FunctionApp
    http: aiohttp.ClientSession
    operator: Operator
    az: Az
    policy: Path
    ca_file: Path
    lines: list[str] = field(repr=False)

    @property
    def registry(self) -> Registry:
        """The one container registry."""
        return self.stack.cloud.registries()[0]

    async def call(self, method: str, path: str, body: object = None) -> Document:
        """A request to firstpull that has to succeed."""
        async with self.http.request(
            method,
            f"{self.app.url}/api/{path}",
            data=json.dumps(body) if body is not None else None,
            headers={"x-functions-key": self.app.key},
        ) as answer:
            text = await answer.text()
            assert answer.status < 300, text
            return json.loads(text) if text else {}

    async def diagnosis(self) -> Document:
        """What the doctor says now."""
        return await self.call("GET", "doctor")

    async def findings(self) -> dict[str, Document]:
        """The findings by name."""
        return {each["name"]: each for each in (await self.diagnosis())["findings"]}

    async def found(self, name: str, *, besides: frozenset[str] | None = None) -> Document:
        """The finding of a name, once it is there; with `besides`, and no other than these."""
        found: dict[str, Document] = {}

        async def has_it() -> bool:
            nonlocal found
            found = await self.findings()
            return name in found and (besides is None or found.keys() <= besides | {name})

        await self.until(has_it, lambda: f"{name} is not among {', '.join(found)} alone")
        return found[name]

    async def until_well(self) -> None:
        """Wait until nothing is wrong, and everything but the sites could be looked at."""
        said: Document = {}

        async def is_well() -> bool:
            nonlocal said
            said = await self.diagnosis()
            return not said["findings"] and _unchecked(said) == [SITES]

        await self.until(is_well, lambda: json.dumps(said, indent=1))

    async def apply(self, finding: Document) -> None:
        """Do what a finding's command says, word for word."""
        words = shlex.split(finding["command"])
        match words[0]:
            case "az":
                await self.az.run(words)
            case "firstpull":
                wait = ("--wait",) if words[1:] == ["sweep", "run"] else ()
                yes = ("--yes",) if words[1] in ("poison", "rebuild") else ()
                await self.operator.ok(*words[1:], *wait, *yes)
            case _:
                process = await asyncio.create_subprocess_exec(*words, cwd=self.operator.home)
                assert await process.wait() == 0

    async def swept(self) -> None:
        """Have the first sweep, without which the doctor finds one thing."""
        await self.apply(await self.found("SweepOverdue"))
        await self.until_well()

    async def until(
        self,
        holds: Callable[[], Awaitable[object]],
        says: Callable[[], str] = lambda: "",
        *,
        within: float = GIVE_UP_SECONDS,
    ) -> None:
        """Wait until something holds."""
        give_up = time.monotonic() + within
        while not await holds():
            assert time.monotonic() < give_up, says()
            await asyncio.sleep(0.1)


def _unchecked(said: Document) -> list[str]:
    return [each["subject"] for each in said["notChecked"]]


def policy_of(stack: Stack, **changes: object) -> Document:
    """A policy with both connected registries in a site."""
    return {
        "hubs": [{"host": stack.iot_hub_host_name, "name": HUB_NAME}],
        "containerRegistries": [stack.registry_id],
        "connectedRegistries": [
            {"name": name, "repositories": ["hello-world"], "ca": stack.ca_pem} for name in PLANTS
        ],
        "sites": [{"name": "plant", "connectedRegistries": list(PLANTS)}],
        **changes,
    }


@asynccontextmanager
async def clinic_on(stack: Stack, folder: Path, **more_settings: str) -> AsyncIterator[Clinic]:
    """firstpull on a stack, with an operator whose home is the folder."""
    ca_file, policy, lines = folder / "ca.pem", folder / "policy-of-the-app.json", list[str]()
    ca_file.write_text(stack.ca_pem)
    policy.write_text(json.dumps(policy_of(stack)))
    settings = {
        "FIRSTPULL_POLICY": "",
        "FIRSTPULL_POLICY_FILE": str(policy),
        **_QUICKLY,
        **more_settings,
    }
    async with (
        run_function_app(
            stack, ca_file=str(ca_file), on_line=lines.append, more_settings=settings
        ) as app,
        aiohttp.ClientSession() as http,
    ):
        variables = {
            "FIRSTPULL_URL": app.url,
            "FIRSTPULL_KEY": app.key,
            "FIRSTPULL_MASTER_KEY": app.master_key,
        }
        yield Clinic(
            stack=stack,
            app=app,
            http=http,
            operator=Operator(folder, variables),
            az=Az(stack, http, ca_file),
            policy=policy,
            ca_file=ca_file,
            lines=lines,
        )


@asynccontextmanager
async def ward_of_its_own() -> AsyncIterator[Stack]:
    """A local Azure of its own: what is planted would be in the way of other tests."""
    options = StackOptions(
        seed=15,
        connected_registries=tuple(
            ConnectedRegistryOptions(
                name=name, sync_every_seconds=1.0, repositories=("hello-world", "sensor-gateway")
            )
            for name in PLANTS
        ),
        operation_lengths=AT_ONCE,
        throttled=False,
    )
    async with start_stack(options) as stack:
        stack.vault.settings.moving_seconds = (0.0, 0.0)
        yield stack


@pytest.fixture(scope="module")
async def ward() -> AsyncIterator[Stack]:
    """The local Azure of a module."""
    async with ward_of_its_own() as stack:
        yield stack


@pytest.fixture(scope="module")
async def clinic(ward: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Clinic]:
    """firstpull on it, after its first sweep, as an operator finds it on a good day."""
    async with clinic_on(ward, tmp_path_factory.mktemp("clinic")) as opened:
        await opened.swept()
        yield opened
