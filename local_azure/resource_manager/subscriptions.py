"""The operations that azure-cli calls first: endpoints, subscriptions and the list of resources.

https://learn.microsoft.com/rest/api/resources/
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

from local_azure.resource_manager.directory import LOCATION, Directory, Resource
from local_azure.resource_manager.exceptions import InvalidQueryParameter
from local_azure.resource_manager.links import FILTERED, PAGED, Document, Links
from local_azure.resource_manager.routing import ArmCall, Route

_METADATA_VERSIONS = ("2022-09-01",)
_SUBSCRIPTION_VERSIONS = ("2022-12-01",)
_RESOURCE_VERSIONS = ("2022-09-01", "2024-11-01")
_SUBSCRIPTIONS = "Microsoft.Resources/subscriptions"

_FILTER = re.compile(r"resourceType eq '([^']*)'")


@dataclass(frozen=True, kw_only=True)
class CloudIdentity:
    """The names of a cloud. Its bearer tokens have one of `audiences`, preferably the first."""

    name: str
    endpoint: str
    tenant_id: str
    audiences: tuple[str, ...]


class SubscriptionService:
    """The operations of no provider."""

    def __init__(self, identity: CloudIdentity, directory: Directory, links: Links) -> None:
        self._identity = identity
        self._directory = directory
        self._links = links

    def routes(self) -> list[Route]:
        """All routes."""
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
                path="/subscriptions/{subscription}/resources",
                operation="resources.list",
                action=f"{_SUBSCRIPTIONS}/resources/read",
                handler=self.list_resources,
                api_versions=_RESOURCE_VERSIONS,
                query=FILTERED,
            ),
        ]

    async def endpoints(self, _: ArmCall) -> web.Response:
        """The endpoints of this cloud, which `az cloud register` reads."""
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

    async def list_resources(self, call: ArmCall) -> web.Response:
        """One page of the resources of a subscription, of one type with a filter."""
        resources = self._directory.resources(call.variables["subscription"])
        expression = call.query.get("$filter")
        if expression is not None:
            match = _FILTER.fullmatch(expression)
            if match is None:
                raise InvalidQueryParameter(f"The filter '{expression}' is not supported.")
            resources = [each for each in resources if each.type.lower() == match[1].lower()]
        return self._links.page(call, map(_resource, resources))

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
