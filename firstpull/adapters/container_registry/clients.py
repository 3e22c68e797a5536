"""Clients of Azure Resource Manager, one per subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.core.tools import parse_resource_id

from firstpull.adapters.azure_errors import retry_after_seconds
from firstpull.adapters.timeouts import SOCKET
from firstpull.model.azure_resources import RegistryId
from firstpull.model.errors import Transient
from firstpull.model.pace import Pace, is_of_timer
from firstpull.model.reasons import Reason
from firstpull.observability import telemetry

_REMAINING = "x-ms-ratelimit-remaining-subscription-"
_KINDS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
_GAINS = {"reads": 25.0, "writes": 10.0, "deletes": 10.0}
"""Requests a second, of a subscription and identity (request-limits-and-throttling)."""
_ATTEMPTS = 3
_LONGEST_PAUSE = 3.0
"""Seconds after which a refused request goes again within its deadline."""
_REQUEST_WAITS, _TIMER_WAITS = 7.0, 60.0
"""Seconds that a request waits for its turn."""

ClientFactory = Callable[[str], ContainerRegistryManagementClient]


def client_factory(
    credential: AsyncTokenCredential,
    *,
    endpoint: str,
    audience: str,
    paces: Paces | None = None,
) -> ClientFactory:
    """A function that makes the client of a subscription.

    The client never retries: azure-core could repeat a write after the lease has expired. The
    record's schedule retries a failed pass.
    """

    paces = paces or Paces()

    def create(subscription: str) -> ContainerRegistryManagementClient:
        return ContainerRegistryManagementClient(
            credential,
            subscription,
            base_url=endpoint,
            credential_scopes=[f"{audience}/.default"],
            retry_total=0,
            **SOCKET,
            per_call_policies=[Paced(subscription, paces)],
        )

    return create


class Paces:
    """The pace of each subscription's reads, writes and deletes, for all clients of a process."""

    def __init__(self) -> None:
        self._paces: dict[tuple[str, str], Pace] = {}

    def of(self, subscription: str, kind: str) -> Pace:
        """The pace of one kind of request."""
        key = (subscription.casefold(), kind)
        return self._paces.setdefault(key, Pace(gains=_GAINS[kind]))


class Paced(AsyncHTTPPolicy[object, object]):
    """Keeps the pace that Azure Resource Manager's answers set, and measures what they say.

    They have the requests that are left in headers (request-limits-and-throttling). A request that
    is refused for their number goes again: nothing was done. The deadline is that of one request.
    """

    def __init__(self, subscription: str, paces: Paces) -> None:
        super().__init__()
        self._subscription = subscription
        self._paces = paces

    async def send(self, request: PipelineRequest[object]) -> PipelineResponse[object, object]:
        """Send the request when it may go, up to three times."""
        kind = _KINDS.get(getattr(request.http_request, "method", ""), "writes")
        pace = self._paces.of(self._subscription, kind)
        for refused in range(_ATTEMPTS):
            await self._turn(pace)
            left = None
            pace.sent()
            try:
                response = await self.next.send(request)
                headers = getattr(response.http_response, "headers", {})
                left = self._left(headers, kind)
            finally:
                pace.answered(left)
            if getattr(response.http_response, "status_code", 0) != HTTPStatus.TOO_MANY_REQUESTS:
                break
            pause = retry_after_seconds(headers.get("Retry-After")) or 1.0
            pace.refused(pause)
            if pause > _LONGEST_PAUSE or refused == _ATTEMPTS - 1:
                break
        return response

    async def _turn(self, pace: Pace) -> None:
        seconds = _TIMER_WAITS if is_of_timer() else _REQUEST_WAITS
        try:
            async with asyncio.timeout(seconds):
                await pace.turn()
        except TimeoutError:
            raise Transient(
                Reason.THROTTLED,
                f"Azure Resource Manager has no room for a request within {seconds:.0f} s.",
                retry_after=seconds,
            ) from None

    def _left(self, headers: Mapping[str, str], kind: str) -> float | None:
        """The requests that are left, which the gauge shows."""
        found: float | None = None
        for name, value in headers.items():
            named = name.lower().removeprefix(_REMAINING)
            if named == name.lower() or not str(value).isdigit():
                continue
            telemetry.REQUESTS_LEFT.set(
                int(value), {"subscription": self._subscription, "kind": named}
            )
            if named in (kind, f"global-{kind}"):
                found = min(found, int(value)) if found is not None else int(value)
        return found


class Clients:
    """The clients by subscription, each made when it is first needed."""

    def __init__(self, create: ClientFactory) -> None:
        self._create = create
        self._by_subscription: dict[str, ContainerRegistryManagementClient] = {}

    def of(self, registry: RegistryId) -> tuple[ContainerRegistryManagementClient, str, str]:
        """The client for a container registry, its resource group and its name."""
        parts = {name: str(part) for name, part in parse_resource_id(str(registry)).items()}
        subscription = parts["subscription"]
        if subscription not in self._by_subscription:
            self._by_subscription[subscription] = self._create(subscription)
        return self._by_subscription[subscription], parts["resource_group"], parts["name"]

    async def close(self) -> None:
        """Close the connections."""
        for client in self._by_subscription.values():
            await client.close()
