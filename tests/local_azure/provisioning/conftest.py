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

FIRST, SECOND = "a.azure-devices.net", "b.azure-devices.net"


@pytest.fixture
def clock() -> Clock:
    return Clock(lambda: datetime(2031, 5, 6, 12, tzinfo=UTC))


@pytest.fixture
def hubs(clock: Clock) -> dict[str, IotHub]:
    return {
        name: IotHub(name=name, clock=clock, random=Random(4))  # noqa: S311 - chance
        for name in (FIRST, SECOND)
    }


@pytest.fixture
def service(clock: Clock, hubs: dict[str, IotHub]) -> ProvisioningService:
    return ProvisioningService(clock=clock, random=Random(4), hubs=hubs)  # noqa: S311 - chance


@pytest.fixture
async def webhook() -> AsyncIterator[WebhookServer]:
    """A webhook that gives every device to the first hub."""
    webhook = WebhookServer(lambda _: web.json_response({"iotHubHostName": FIRST}))
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
async def door(service: ProvisioningService) -> AsyncIterator[AllocationWebhook]:
    async with ClientSession() as session:
        yield AllocationWebhook(service, session)
