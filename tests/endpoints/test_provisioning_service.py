"""The Device Provisioning Service and firstpull's webhook, together."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from local_azure.provisioning import ReprovisionPolicy
from tests.end_to_end.cloud import entry_of, report_login

from .documents import Document
from .endpoints import Endpoints

SITE = "doorone"


@dataclass(frozen=True)
class Service:
    """The provisioning service, which calls the app's webhook for one enrollment."""

    endpoints: Endpoints
    registration_id: str

    async def enroll(self, policy: ReprovisionPolicy = ReprovisionPolicy.MIGRATE) -> None:
        """Add the device's enrollment. The policy of firstpull lists none of its name."""
        app = self.endpoints.app
        await self._post(
            "enrollments",
            {
                "registrationId": self.registration_id,
                "webhookUrl": f"{app.url}/api/provisioning?code={app.key}",
                "reprovisionPolicy": policy,
            },
            status=201,
        )

    async def register(self) -> Document:
        """Register the device; its registration state."""
        body = {"registrationId": self.registration_id}
        answer = await self._post("registrations", body, status=200)
        state = answer["registrationState"]
        assert isinstance(state, dict)
        return state

    async def _post(self, path: str, body: Document, *, status: int) -> Document:
        url = f"{self.endpoints.stack.management_url}/provisioning/{path}"
        async with self.endpoints.http.post(url, json=body) as answer:
            assert answer.status == status, await answer.text()
            found = await answer.json()
            assert isinstance(found, dict)
            return found


@pytest.fixture
async def service(endpoints: Endpoints) -> AsyncIterator[Service]:
    webhook = endpoints.stack.provisioning
    patience, webhook.timeout_seconds = webhook.timeout_seconds, 30.0
    yield Service(endpoints, f"camera-{uuid.uuid4().hex}")
    webhook.timeout_seconds = patience


async def test_a_device_that_registers_gets_its_hub_its_tag_and_its_credential(
    service: Service, endpoints: Endpoints
) -> None:
    await service.enroll()
    state = await service.register()
    assert (state["status"], state["substatus"]) == ("assigned", "initialAssignment")
    assert state["assignedHub"] == endpoints.stack.iot_hub_host_name
    device_id = service.registration_id
    tags = endpoints.stack.hub.twin(device_id).tags
    tag = {"connectedRegistry": "doortwo", "repositories": ["line/default"]}
    assert tags["firstpull"] == tag
    view = await endpoints.until_state(device_id, "Delivered")
    assert view["wants"]["requestedBy"] == "provisioning service"
    assert entry_of(endpoints.stack, device_id, "doortwo")["username"] == view["token"]

    again = await service.register()
    assert (again["status"], again["assignedHub"]) == ("assigned", state["assignedHub"])
    assert (await endpoints.device(device_id))["generation"] == 1


async def test_a_registration_that_resets_the_twin_costs_the_device_its_entry_for_a_minute_at_most(
    service: Service, endpoints: Endpoints
) -> None:
    await service.enroll(ReprovisionPolicy.RESET)
    await service.register()
    device_id, stack = service.registration_id, endpoints.stack
    await endpoints.until_state(device_id, "Delivered")
    report_login(stack, device_id, "doortwo")
    await endpoints.until_state(device_id, "Ready")

    state = await service.register()
    assert state["substatus"] == "deviceDataReset"

    async def is_back() -> bool:
        return bool(entry_of(stack, device_id, "doortwo"))

    await endpoints.until(is_back, within=60)
