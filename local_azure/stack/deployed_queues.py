"""The queues that infra/ deploys. The Functions host makes none: its triggers wait for them."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from aiohttp import ClientSession
from azure.core.exceptions import ResourceExistsError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.queue.aio import QueueServiceClient

from local_azure.azurite import AzuriteEndpoints

_TEMPLATE = Path(__file__).parents[2] / "infra" / "main.bicep"


def deployed_queues() -> tuple[str, ...]:
    """The names in main.bicep, each with that of its poison queue."""
    template = _TEMPLATE.read_text()
    listed = re.search(r"^var queueNames = \[\n(.*?)^\]", template, re.MULTILINE | re.DOTALL)
    values = dict(re.findall(r"^var (\w+) = '([^']*)'$", template, re.MULTILINE))
    words = listed[1].split() if listed else ()
    names = [values[word] if word in values else word.strip("'") for word in words]
    return tuple(f"{name}{kind}" for name in names for kind in ("", "-poison"))


async def create_queues(storage: AzuriteEndpoints, session: ClientSession) -> None:
    """Create those that are missing."""
    async with QueueServiceClient.from_connection_string(
        storage.connection_string,
        transport=AioHttpTransport(session=session, session_owner=False),
    ) as service:
        await asyncio.gather(*(_create(service, name) for name in deployed_queues()))


async def _create(service: QueueServiceClient, name: str) -> None:
    with suppress(ResourceExistsError):
        await service.create_queue(name)
