"""The HTTP API of a running app, and every answer and line of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from local_azure.commands.function_app import FunctionApp, run_function_app
from local_azure.stack import Stack

from .cloud import GIVE_UP_SECONDS, forget_devices


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in it."""
        found = json.loads(self.text)
        assert isinstance(found, dict)
        return found

    @property
    def paths(self) -> list[str]:
        """Where a problem document says that the request is wrong."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self.text
        return [error["path"] for error in self.document.get("errors", ())]

    @property
    def reason(self) -> str:
        """The reason name of a problem document."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self.text
        assert self.document["status"] == self.status
        return str(self.document["reason"])


@dataclass(frozen=True)
class Api:
    """A caller of the app who has a function key. `lines` are what the hosts have written."""

    app: FunctionApp
    session: aiohttp.ClientSession
    lines: list[str]
    answers: list[Answer] = field(default_factory=list)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        content: object = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        host: int = 0,
    ) -> Answer:
        """One request. `path` is an address or below the app's, encoded as it is to go out."""
        address = path if path.startswith("http") else f"{self.app.urls[host]}{path}"
        more = {"x-functions-key": self.app.key if key is None else key, **(headers or {})}
        if content is not None:
            body = json.dumps(content).encode()
            more = {"Content-Type": "application/json", **more}
        async with self.session.request(
            method, URL(address, encoded=True), data=body, headers=more, allow_redirects=False
        ) as answer:
            received = Answer(answer.status, answer.headers, await answer.text())
        self.answers.append(received)
        return received

    async def onboard(
        self, device_id: str, plant: str, *, wait: int | None = None, host: int = 0, **more: object
    ) -> Answer:
        """The webhook, for one device."""
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        content = {
            "deviceId": device_id,
            "connectedRegistry": plant,
            "repositories": ["hello-world"],
            **more,
        }
        return await self.ask("POST", "/api/devices", content=content, headers=headers, host=host)

    async def device(self, device_id: str) -> dict[str, Any]:
        """A device as the API shows it."""
        return (await self.ask("GET", f"/api/devices/{quote(device_id, safe='')}")).document

    async def reaches(self, device_id: str, *states: str) -> dict[str, Any]:
        """The device once it is in one of these states. Raises AssertionError after a while."""
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while (found := await self.device(device_id))["state"] not in states:
            said = f"{device_id} is {found['state']}: {found['condition']}"
            assert time.monotonic() < give_up, said
            await asyncio.sleep(0.1)
        return found


@asynccontextmanager
async def running_app(
    stack: Stack,
    ca_file: Path,
    *,
    hosts: int = 1,
    more_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Api]:
    """The app in processes of its own. Sweeps run only when a test asks for one."""
    lines: list[str] = []
    settings = {"AzureWebJobs__sweep__Disabled": "true", **(more_settings or {})}
    await forget_devices(stack)
    try:
        async with (
            run_function_app(
                stack,
                ca_file=str(ca_file),
                on_line=lines.append,
                hosts=hosts,
                more_settings=settings,
            ) as app,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            yield Api(app, session, lines)
    finally:
        await forget_devices(stack)
