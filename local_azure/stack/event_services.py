"""Event Grid and the provisioning service of a stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from aiohttp import ClientSession, TCPConnector

from local_azure.event_grid import Dispatcher, EventGrid, Topic, run_dispatcher
from local_azure.event_grid.hub_events import publish_hub_events
from local_azure.event_grid.vault_events import VaultEvents
from local_azure.iot_hub.models import IotHub
from local_azure.kernel import Kernel
from local_azure.kernel.background import in_background
from local_azure.key_vault.models import Vault
from local_azure.provisioning import AllocationWebhook, ProvisioningService
from local_azure.stack.options import (
    HUB_NAME,
    RESOURCE_GROUP,
    SUBSCRIPTION_ID,
    VAULT_NAME,
    StackOptions,
)

_GROUP = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}/providers"
_TOPIC_IDS = {
    Topic.HUB: f"{_GROUP}/Microsoft.Devices/IotHubs/{HUB_NAME}".upper(),
    Topic.VAULT: f"{_GROUP}/Microsoft.KeyVault/vaults/{VAULT_NAME}",
}


@asynccontextmanager
async def run_event_grid(
    options: StackOptions,
    kernel: Kernel,
    *,
    hub: IotHub,
    vault: Vault,
    vault_url: str,
    queue_connection_string: str,
) -> AsyncIterator[Dispatcher]:
    """The system topics with the subscriptions of the options, with a running dispatcher."""
    grid = EventGrid(
        clock=kernel.clock,
        # Its own random numbers: the order of deliveries must not change other services.
        random=Random(kernel.random.getrandbits(64)),  # noqa: S311 - chance, not secrets
        topic_ids=_TOPIC_IDS,
        settings=options.event_delivery,
    )
    publish_hub_events(grid, hub, clock=kernel.clock)
    vault_events = VaultEvents(
        grid,
        vault,
        vault_name=VAULT_NAME,
        vault_url=vault_url,
        clock=kernel.clock,
        random=Random(kernel.random.getrandbits(64)),  # noqa: S311 - chance, not secrets
    )
    async with run_dispatcher(
        grid,
        clock=kernel.clock,
        trust=kernel.certificates.client_context(),
        queue_connection_string=queue_connection_string,
    ) as dispatcher:
        for subscription in options.event_subscriptions:
            await dispatcher.subscribe(subscription)
        async with in_background(vault_events.keep_publishing()):
            yield dispatcher


@asynccontextmanager
async def run_provisioning(
    kernel: Kernel, *, hub: IotHub, hub_host_name: str
) -> AsyncIterator[AllocationWebhook]:
    """A provisioning service with the stack's hub and no enrollments."""
    service = ProvisioningService(
        clock=kernel.clock, random=kernel.random, hub=hub, hub_host_name=hub_host_name
    )
    trust = kernel.certificates.client_context()
    async with ClientSession(connector=TCPConnector(ssl=trust)) as session:
        yield AllocationWebhook(service, session)
