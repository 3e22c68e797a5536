"""Clients of Azure Resource Manager, one per subscription."""

from __future__ import annotations

from collections.abc import Callable

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.core.tools import parse_resource_id

from firstpull.adapters.timeouts import SOCKET
from firstpull.model.azure_resources import RegistryId
from firstpull.observability import telemetry

_REMAINING = "x-ms-ratelimit-remaining-subscription-"

ClientFactory = Callable[[str], ContainerRegistryManagementClient]


def client_factory(
    credential: AsyncTokenCredential, *, endpoint: str, audience: str
) -> ClientFactory:
    """A function that makes the client of a subscription.

    The client never retries: azure-core could repeat a write after the lease has expired. The
    record's schedule retries a failed pass.
    """

    def create(subscription: str) -> ContainerRegistryManagementClient:
        return ContainerRegistryManagementClient(
            credential,
            subscription,
            base_url=endpoint,
            credential_scopes=[f"{audience}/.default"],
            retry_total=0,
            **SOCKET,
            per_call_policies=[_NoteRequestsLeft(subscription)],
        )

    return create


class _NoteRequestsLeft(SansIOHTTPPolicy[object, object]):
    """Measures the requests that Azure Resource Manager still takes.

    Its answers have them in headers (request-limits-and-throttling).
    """

    def __init__(self, subscription: str) -> None:
        self._subscription = subscription

    def on_response(
        self, request: PipelineRequest[object], response: PipelineResponse[object, object]
    ) -> None:
        """Set the gauge from every `x-ms-ratelimit-remaining-subscription-…` header."""
        del request
        headers = getattr(response.http_response, "headers", {})
        for name, value in headers.items():
            kind = name.lower().removeprefix(_REMAINING)
            if kind != name.lower() and str(value).isdigit():
                telemetry.REQUESTS_LEFT.set(
                    int(value), {"subscription": self._subscription, "kind": kind}
                )


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
