"""A web server on loopback that records its requests and answers as its test decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


type Answer = Callable[[Received], web.Response | Awaitable[web.Response]]


@dataclass
class WebhookServer:
    answer: Answer
    received: list[Received] = field(default_factory=list)
    url: str = ""

    async def start(self) -> TestServer:
        application = web.Application()
        application.router.add_route("*", "/hook", self._serve)
        server = TestServer(application)
        await server.start_server()
        self.url = str(server.make_url("/hook"))
        return server

    async def _serve(self, request: web.Request) -> web.Response:
        text = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = json.loads(text) if text else None
        received = Received(request.method, request.path_qs, headers, body)
        self.received.append(received)
        answer = self.answer(received)
        return await answer if isinstance(answer, Awaitable) else answer


async def no_answer(_: Received) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()
