from __future__ import annotations

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
class MemoryBackend:
    """A registry in memory: its images, and the actions of each token."""

    images: dict[str, Mapping[str, Image]] = field(
        default_factory=lambda: {
            "hello-world": {"latest": HELLO, "v1": HELLO},
            "samples/sensors/gateway": {"1.0": GATEWAY},
            "secret": {"latest": HELLO},
        }
    )
    tokens: dict[tuple[str, str], frozenset[str]] = field(
        default_factory=lambda: {
            (DEVICE, PASSWORD): frozenset(
                {
                    "repositories/hello-world/content/read",
                    "repositories/samples/*/content/read",
                    "repositories/not-synced/content/read",
                }
            )
        }
    )

    def authenticate(self, username: str, password: str) -> Grant | None:
        actions = self.tokens.get((username, password))
        return None if actions is None else Grant(username, actions)

    def repositories(self) -> Mapping[str, Mapping[str, Image]]:
        return self.images


@asynccontextmanager
async def registry_listening(
    kernel: Kernel, backend: MemoryBackend, *, token_path: str = CONNECTED_REGISTRY_TOKEN_PATH
) -> AsyncIterator[str]:
    """Serve the backend over TLS on loopback; the value is `host:port`."""
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    application = create_registry_application(
        kernel,
        backend,
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
