"""Asks an enrollment's webhook about a device, and does what it says."""

from __future__ import annotations

from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from local_azure.provisioning.allocations import Allocation, parse_allocation
from local_azure.provisioning.exceptions import AllocationFailed
from local_azure.provisioning.models import Applicant, ProvisioningService, Registration


class AllocationWebhook:
    """Registers devices.

    `timeout_seconds`, of the machine's time, is how long a webhook may take. No document says
    how long the service waits: the default is an assumption.
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

    async def register(self, applicant: Applicant) -> Registration:
        """Ask the webhook, every time anew, and note what became of it."""
        if not applicant.enrollment.enabled:
            return self.service.refuse(applicant)
        try:
            return self.service.assign(applicant, await self._ask(applicant))
        except AllocationFailed as reason:
            return self.service.fail(applicant, reason)

    async def _ask(self, applicant: Applicant) -> Allocation:
        try:
            async with self._session.post(
                URL(applicant.enrollment.webhook_url, encoded=True),
                json=self.service.webhook_request(applicant),
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
