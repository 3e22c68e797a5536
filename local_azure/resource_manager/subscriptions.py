"""Azure Resource Manager's own: where a cloud's endpoints are, subscriptions, resource groups.

What a client such as azure-cli asks for before it turns to a resource provider.
https://learn.microsoft.com/rest/api/resources/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from local_azure.resource_manager.directory import LOCATION, Directory, Resource, find
from local_azure.resource_manager.exceptions import InvalidQueryParameter
from local_azure.resource_manager.links import FILTERED, PAGED, Document, Links
from local_azure.resource_manager.routing import ArmCall, Route

_METADATA_VERSIONS = ("2022-09-01",)
_SUBSCRIPTION_VERSIONS = ("2022-12-01",)
_RESOURCE_VERSIONS = ("2022-09-01", "2024-11-01")
_SUBSCRIPTIONS = "Microsoft.Resources/subscriptions"

_FILTER = re.compile(r"(resourceType|resourceGroup|name) eq '([^']*)'")
_FILTERED_BY: dict[str, Callable[[Resource], str]] = {
    "resourceType": lambda resource: resource.type,
    "resourceGroup": lambda resource: resource.resource_group,
    "name": lambda resource: resource.name,
}


@dataclass(frozen=True, kw_only=True)
class CloudIdentity:
    """What a cloud says of itself. Its bearer tokens have one of `audiences`, best the first."""

    name: str
    endpoint: str
    tenant_id: str
    audiences: tuple[str, ...]


class SubscriptionService:
    """The operations that belong to no provider."""

    def __init__(self, identity: CloudIdentity, directory: Directory, links: Links) -> None:
        self._identity = identity
        self._directory = directory
        self._links = links

    def routes(self) -> list[Route]:
        """All of them; what the path names is checked before they are called."""
        one = "/subscriptions/{subscription}"
        return [
            Route(
                method="GET",
                path="/metadata/endpoints",
                operation="metadata.endpoints",
                handler=self.endpoints,
                api_versions=_METADATA_VERSIONS,
                anonymous=True,
            ),
            Route(
                method="GET",
                path="/subscriptions",
                operation="subscriptions.list",
                handler=self.list_subscriptions,
                api_versions=_SUBSCRIPTION_VERSIONS,
                query=PAGED,
            ),
            Route(
                method="GET",
                path=one,
                operation="subscriptions.get",
                action=f"{_SUBSCRIPTIONS}/read",
                handler=self.get_subscription,
                api_versions=_SUBSCRIPTION_VERSIONS,
            ),
            Route(
                method="GET",
                path=f"{one}/resources",
                operation="resources.list",
                action=f"{_SUBSCRIPTIONS}/resources/read",
                handler=self.list_resources,
                api_versions=_RESOURCE_VERSIONS,
                query=FILTERED,
            ),
            Route(
                method="GET",
                path=f"{one}/resourceGroups",
                operation="resourceGroups.list",
                action=f"{_SUBSCRIPTIONS}/resourceGroups/read",
                handler=self.list_resource_groups,
                api_versions=_RESOURCE_VERSIONS,
                query=PAGED,
            ),
            Route(
                method="GET",
                path=f"{one}/resourceGroups/{{group}}",
                operation="resourceGroups.get",
                action=f"{_SUBSCRIPTIONS}/resourceGroups/read",
                handler=self.get_resource_group,
                api_versions=_RESOURCE_VERSIONS,
            ),
        ]

    async def endpoints(self, _: ArmCall) -> web.Response:
        """Where everything of this cloud is: all that a client needs to know it."""
        identity = self._identity
        return web.json_response(
            {
                "name": identity.name,
                "resourceManager": identity.endpoint,
                "portal": identity.endpoint,
                "authentication": {
                    "loginEndpoint": "https://login.microsoftonline.com",
                    "audiences": list(identity.audiences),
                    "tenant": identity.tenant_id,
                    "identityProvider": "AAD",
                },
                "graph": "https://graph.windows.net/",
                "graphAudience": "https://graph.windows.net/",
                "suffixes": {
                    "acrLoginServer": "azurecr.io",
                    "keyVaultDns": "vault.azure.net",
                    "storage": "core.windows.net",
                },
            }
        )

    async def list_subscriptions(self, call: ArmCall) -> web.Response:
        """One page."""
        return self._links.page(call, map(self._subscription, self._directory.subscriptions()))

    async def get_subscription(self, call: ArmCall) -> web.Response:
        """One subscription."""
        wanted = call.variables["subscription"]
        subscription = find(self._directory.subscriptions(), wanted)
        return web.json_response(self._subscription(subscription or wanted))

    async def list_resources(self, call: ArmCall) -> web.Response:
        """One page of the resources of a subscription that the filter lets through."""
        passes = _filter(call.query.get("$filter"))
        resources = self._directory.resources(call.variables["subscription"])
        return self._links.page(call, map(_resource, filter(passes, resources)))

    async def list_resource_groups(self, call: ArmCall) -> web.Response:
        """One page."""
        subscription = call.variables["subscription"]
        groups = self._directory.resource_groups(subscription)
        return self._links.page(call, (_resource_group(subscription, group) for group in groups))

    async def get_resource_group(self, call: ArmCall) -> web.Response:
        """One resource group."""
        subscription, wanted = call.variables["subscription"], call.variables["group"]
        group = find(self._directory.resource_groups(subscription), wanted)
        return web.json_response(_resource_group(subscription, group or wanted))

    def _subscription(self, subscription_id: str) -> Document:
        return {
            "id": f"/subscriptions/{subscription_id}",
            "subscriptionId": subscription_id,
            "displayName": self._identity.name,
            "tenantId": self._identity.tenant_id,
            "state": "Enabled",
            "authorizationSource": "RoleBased",
            "managedByTenants": [],
            "subscriptionPolicies": {
                "locationPlacementId": "Public_2014-09-01",
                "quotaId": "PayAsYouGo_2014-09-01",
                "spendingLimit": "Off",
            },
        }


def _resource(resource: Resource) -> Document:
    return {
        "id": resource.id,
        "name": resource.name,
        "type": resource.type,
        "location": LOCATION,
        "sku": {"name": resource.sku, "tier": resource.sku},
        "tags": {},
    }


def _resource_group(subscription_id: str, name: str) -> Document:
    return {
        "id": f"/subscriptions/{subscription_id}/resourceGroups/{name}",
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": LOCATION,
        "properties": {"provisioningState": "Succeeded"},
    }


def _filter(expression: str | None) -> Callable[[Resource], bool]:
    if expression is None:
        return lambda _: True
    match = _FILTER.fullmatch(expression)
    if match is None:
        raise InvalidQueryParameter(f"The filter '{expression}' is not supported.")
    value_of, wanted = _FILTERED_BY[match[1]], match[2].lower()
    return lambda resource: value_of(resource).lower() == wanted
