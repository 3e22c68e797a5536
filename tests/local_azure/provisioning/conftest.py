from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random

import pytest
from aiohttp import ClientSession, web

from local_azure.iot_hub import IotHub
from local_azure.kernel.clock import Clock
from local_azure.provisioning import (
    AllocationWebhook,
    Enrollment,
    EnrollmentKind,
    ProvisioningService,
)
from tests.local_azure.webhooks import WebhookServer

HUB = "a.azure-devices.net"


@pytest.fixture
def clock() -> Clock:
    return Clock(lambda: datetime(2031, 5, 6, 12, tzinfo=UTC))


@pytest.fixture
def hub(clock: Clock) -> IotHub:
    return IotHub(name=HUB, clock=clock, random=Random(4))  # noqa: S311 - chance


@pytest.fixture
def service(clock: Clock, hub: IotHub) -> ProvisioningService:
    return ProvisioningService(clock=clock, random=Random(4), hub=hub, hub_host_name=HUB)  # noqa: S311 - chance


@pytest.fixture
async def webhook() -> AsyncIterator[WebhookServer]:
    """A webhook that allocates every device to the hub."""
    webhook = WebhookServer(lambda _: web.json_response({"iotHubHostName": HUB}))
    server = await webhook.start()
    yield webhook
    await server.close()


@pytest.fixture
def group(webhook: WebhookServer, service: ProvisioningService) -> Enrollment:
    enrollment = Enrollment(
        kind=EnrollmentKind.GROUP, id="cameras", webhook_url=f"{webhook.url}?code=secret"
    )
    service.enroll(enrollment)
    return enrollment


@pytest.fixture
async def client(service: ProvisioningService) -> AsyncIterator[AllocationWebhook]:
    async with ClientSession() as session:
        yield AllocationWebhook(service, session)
