"""Registers devices as an enrollment's webhook allocates them."""

from __future__ import annotations

from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from local_azure.provisioning.allocations import Allocation, parse_allocation
from local_azure.provisioning.exceptions import AllocationFailed
from local_azure.provisioning.models import ProvisioningService, Registration, RegistrationRequest


class AllocationWebhook:
    """Registers devices.

    `timeout_seconds` limits the webhook in real time. Its default is an assumption: no document
    says how long the service waits.
    """

    def __init__(
        self,
        service: ProvisioningService,
        session: ClientSession,
        *,
        timeout_seconds: float = 5.0,
    ) -> None:
        self.service = service
        self.timeout_seconds = timeout_seconds
        self._session = session

    async def register(self, request: RegistrationRequest) -> Registration:
        """Call the webhook, as the service does at every registration, and follow its answer."""
        if not request.enrollment.enabled:
            return self.service.refuse(request)
        try:
            return self.service.assign(request, await self._call(request))
        except AllocationFailed as reason:
            return self.service.fail(request, reason)

    async def _call(self, request: RegistrationRequest) -> Allocation:
        try:
            async with self._session.post(
                URL(request.enrollment.webhook_url, encoded=True),
                json=self.service.webhook_request(request),
                timeout=ClientTimeout(total=self.timeout_seconds),
                allow_redirects=False,
            ) as response:
                status, body = response.status, await response.read()
        except TimeoutError:
            raise AllocationFailed(
                "Custom allocation failed: the webhook did not answer in time"
            ) from None
        except ClientError as error:
            raise AllocationFailed(
                f"Custom allocation failed: no answer ({type(error).__name__})"
            ) from None
        return parse_allocation(status=status, body=body, linked_hubs=self.service.linked_hubs)
