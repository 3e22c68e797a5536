"""Implements the port `ResourceManager` with plain requests to Azure Resource Manager."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from azure.core.rest import HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.timeouts import SOCKET
from firstpull.model.errors import Transient
from firstpull.model.governance import (
    AzureResource,
    EventSubscription,
    ManagementLock,
    Permission,
    PolicyAssignment,
    ResourceId,
)
from firstpull.model.reasons import Reason

_SERVICE = "Azure Resource Manager"
_AUTHORIZATION = "providers/Microsoft.Authorization"
_HERE_AND_ABOVE = {"$filter": "atScope()"}
_MOST_PAGES = 50
_API_VERSIONS: Mapping[str, str] = {
    "microsoft.containerregistry/registries": "2025-11-01",
    "microsoft.keyvault/vaults": "2026-02-01",
    "microsoft.devices/iothubs": "2023-06-30",
    "microsoft.storage/storageaccounts": "2026-06-01",
}
"""By type of resource, as infra/ has them."""

Document = Mapping[str, Any]


class ResourceManagerAdapter:
    """Implements `ResourceManager`. `endpoint` and `audience` are those of the settings."""

    def __init__(self, credential: AsyncTokenCredential, *, endpoint: str, audience: str) -> None:
        self._credential = credential
        self._scope = f"{audience}/.default"
        self._endpoint = endpoint.rstrip("/")
        self._client: AsyncARMPipelineClient[Any, Any] = AsyncARMPipelineClient(
            base_url=self._endpoint,
            policies=[AsyncBearerTokenCredentialPolicy(credential, self._scope)],
            **SOCKET,
        )

    async def principal_id(self) -> str | None:
        """The object id of the app's own identity, None where its token does not tell."""
        async with azure_errors(_SERVICE):
            token = (await self._credential.get_token(self._scope)).token
        try:
            claims = token.split(".")[1]
            found = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
            return str(found["oid"])
        except (ValueError, IndexError, KeyError, TypeError):
            return None

    async def resource(self, resource: ResourceId) -> AzureResource | None:
        """The resource, None where there is none."""
        found = await self._get(str(resource), _API_VERSIONS[resource.type])
        if found is None:
            return None
        sku = found.get("sku") or (found.get("properties") or {}).get("sku") or {}
        return AzureResource(
            id=resource,
            tier=sku.get("tier") or sku.get("name"),
            properties=found.get("properties") or {},
        )

    async def permissions(self, resource: ResourceId) -> tuple[Permission, ...]:
        """What the app's identity may do there."""
        listed = await self._list(f"{resource}/{_AUTHORIZATION}/permissions", "2022-04-01")
        return _each(listed, _permission)

    async def locks(self, resource: ResourceId) -> tuple[ManagementLock, ...]:
        """The locks on the resource or above it."""
        path = f"{resource}/{_AUTHORIZATION}/locks"
        listed = await self._list(path, "2020-05-01", _HERE_AND_ABOVE)
        return _each(listed, _lock)

    async def policy_assignments(self, resource: ResourceId) -> tuple[PolicyAssignment, ...]:
        """The policies that are assigned to the resource or above it, less the exempted ones."""
        path = f"{resource}/{_AUTHORIZATION}/policyExemptions"
        exemptions = await self._list(path, "2022-07-01-preview", _HERE_AND_ABOVE)
        exempted = set(_each(exemptions, _exempted))
        path = f"{resource}/{_AUTHORIZATION}/policyAssignments"
        listed = await self._list(path, "2023-04-01", _HERE_AND_ABOVE)
        return tuple(a for a in _each(listed, _assignment) if a.id.lower() not in exempted)

    async def event_subscriptions(self, resource: ResourceId) -> tuple[EventSubscription, ...]:
        """The event subscriptions whose source is the resource."""
        path = f"{resource}/providers/Microsoft.EventGrid/eventSubscriptions"
        return _each(await self._list(path, "2025-02-15"), _subscription)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _list(
        self, path: str, api_version: str, query: Mapping[str, str] | None = None
    ) -> list[Document]:
        found: list[Document] = []
        page = await self._get(path, api_version, query)
        for _ in range(_MOST_PAGES):
            if page is None:
                break
            found += page.get("value") or ()
            link = page.get("nextLink")
            if not link:
                break
            if not _same_origin(link, self._endpoint):  # the token would go along
                raise Transient(
                    Reason.SERVICE_UNAVAILABLE, f"{_SERVICE} named a next page elsewhere."
                )
            page = await self._send(HttpRequest("GET", link))
        return found

    async def _get(
        self, path: str, api_version: str, query: Mapping[str, str] | None = None
    ) -> Document | None:
        """A document, None for 404."""
        params = {"api-version": api_version, **(query or {})}
        return await self._send(HttpRequest("GET", f"{self._endpoint}{path}", params=params))

    async def _send(self, request: HttpRequest) -> Document | None:
        async with azure_errors(_SERVICE):
            response = await self._client.send_request(request)
            if response.status_code == 404:
                return None
            response.raise_for_status()
            document = response.json()
        if not isinstance(document, dict):
            raise Transient(Reason.SERVICE_UNAVAILABLE, f"{_SERVICE} answered with no document.")
        return document


def _each[T](documents: Iterable[Document], read: Callable[[Document], T]) -> tuple[T, ...]:
    """The values in documents. Raises Transient for one that is not as documented."""
    try:
        return tuple(map(read, documents))
    except (KeyError, TypeError, AttributeError):
        raise Transient(
            Reason.SERVICE_UNAVAILABLE, f"{_SERVICE} answered with an odd document."
        ) from None


def _permission(document: Document) -> Permission:
    return Permission(
        actions=tuple(document.get("actions") or ()),
        not_actions=tuple(document.get("notActions") or ()),
        data_actions=tuple(document.get("dataActions") or ()),
        not_data_actions=tuple(document.get("notDataActions") or ()),
    )


def _lock(document: Document) -> ManagementLock:
    return ManagementLock(id=document["id"], level=document["properties"]["level"])


def _exempted(document: Document) -> str:
    """The policy assignment that an exemption is from."""
    return str(document["properties"]["policyAssignmentId"]).lower()


def _assignment(document: Document) -> PolicyAssignment:
    properties = document["properties"]
    parameters = properties.get("parameters") or {}
    return PolicyAssignment(
        id=document["id"],
        definition=str(properties.get("policyDefinitionId", "")).rsplit("/", 1)[-1].lower(),
        parameters={
            name: value.get("value")
            for name, value in parameters.items()
            if isinstance(value, dict)
        },
        is_enforced=properties.get("enforcementMode", "Default") == "Default",
    )


def _subscription(document: Document) -> EventSubscription:
    properties = document["properties"]
    types = (properties.get("filter") or {}).get("includedEventTypes")
    return EventSubscription(
        name=document["name"],
        event_types=frozenset(types) if types else None,
        is_active=properties.get("provisioningState", "Succeeded") == "Succeeded",
    )


def _same_origin(link: str, endpoint: str) -> bool:
    return urlsplit(link)[:2] == urlsplit(endpoint)[:2]
