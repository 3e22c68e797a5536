from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from local_azure.kernel import Kernel
from local_azure.registry.authentication import CONNECTED_REGISTRY_TOKEN_PATH
from local_azure.registry.backend import Grant
from local_azure.registry.data_plane import create_registry_application
from local_azure.registry.images import Image, hello_world, sensor_gateway

DEVICE = "device-1"
PASSWORD = "pass+word/with=signs"  # noqa: S105 - of a registry that lives for one test
HELLO = hello_world()
GATEWAY = sensor_gateway()


@dataclass
class Shelf:
    """A registry in memory: what is there, and who may do what."""

    images: dict[str, Mapping[str, Image]] = field(
        default_factory=lambda: {
            "hello-world": {"latest": HELLO, "v1": HELLO, "v2": GATEWAY},
            "samples/sensors/gateway": {"1.0": GATEWAY},
            "secret": {"latest": HELLO},
        }
    )
    tokens: dict[tuple[str, str], frozenset[str]] = field(
        default_factory=lambda: {
            (DEVICE, PASSWORD): frozenset(
                {
                    "repositories/hello-world/content/read",
                    "repositories/hello-world/metadata/read",
                    "repositories/samples/*/content/read",
                    "repositories/not-synced/content/read",
                    "gateway/site1/config/read",
                }
            )
        }
    )
    read_only: bool = True

    def authenticate(self, username: str, password: str) -> Grant | None:
        actions = self.tokens.get((username, password))
        return None if actions is None else Grant(username, actions)

    def repositories(self) -> Mapping[str, Mapping[str, Image]]:
        return self.images


@asynccontextmanager
async def listening(
    kernel: Kernel, shelf: Shelf, *, token_path: str = CONNECTED_REGISTRY_TOKEN_PATH
) -> AsyncIterator[str]:
    """Serve `shelf` over TLS on loopback; the value is `host:port`."""
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    application = create_registry_application(
        kernel,
        shelf,
        service="connectedRegistry",
        host=host,
        scheme="https",
        token_path=token_path,
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        context = kernel.certificates.server_context()
        await web.SockSite(runner, listener, ssl_context=context).start()
        yield host
    finally:
        await runner.cleanup()


async def run(*command: str, stdin: str = "", **environment: str) -> tuple[int, str]:
    """Run a container engine; its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    output, _ = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, output.decode()
