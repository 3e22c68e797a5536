"""What surrounds the stack's own resources, and what it forbids."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from local_azure.event_grid import Dispatcher, EventSubscription, StorageQueue, Topic
from local_azure.governance import Governance, OwnResource
from local_azure.governance.models import Document
from local_azure.resource_manager.checks import Guard
from local_azure.resource_manager.directory import LOCATION
from local_azure.stack.identities import HUB_ID, STORAGE_ID, VAULT_ID

_TOKEN = re.compile(r".*/Microsoft\.ContainerRegistry/registries/[^/]+/tokens/[^/]+", re.IGNORECASE)


def own_governance() -> Governance:
    """The vault, the hub and the storage account as infra/ makes them, without locks or policies.

    Unlike there, storage takes account keys and networks are open.
    """
    governance = Governance()
    standard = {"name": "S1", "tier": "Standard", "capacity": 1}
    governance.add(
        _resource(
            VAULT_ID,
            "Microsoft.KeyVault/vaults",
            properties={
                "sku": {"family": "A", "name": "standard"},
                "enableRbacAuthorization": True,
                "enableSoftDelete": True,
                "enablePurgeProtection": True,
                "publicNetworkAccess": "Enabled",
                "networkAcls": {"bypass": "AzureServices", "defaultAction": "Allow"},
            },
        ),
        _resource(
            HUB_ID,
            "Microsoft.Devices/IotHubs",
            sku=standard,
            properties={"state": "Active", "publicNetworkAccess": "Enabled"},
        ),
        _resource(
            STORAGE_ID,
            "Microsoft.Storage/storageAccounts",
            sku={"name": "Standard_LRS", "tier": "Standard"},
            properties={
                "encryption": {"keySource": "Microsoft.Storage", "services": {}},
                "publicNetworkAccess": "Enabled",
                "networkAcls": {"bypass": "AzureServices", "defaultAction": "Allow"},
            },
        ),
    )
    return governance


def guard_of(governance: Governance) -> Guard:
    """The check of each request to Azure Resource Manager."""

    def check(method: str, path: str, content: bytes) -> None:
        is_token = _TOKEN.fullmatch(path) is not None and method in ("PUT", "PATCH")
        governance.check(method, path, is_token=is_token, disables=_disables(content))

    return check


def _disables(content: bytes) -> bool:
    try:
        return bool(json.loads(content)["properties"]["status"] == "disabled")
    except (ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True)
class VaultGovernance:
    """The rules of the stack's vault."""

    governance: Governance

    @property
    def is_closed(self) -> bool:
        """Whether its network rules keep callers out."""
        return self._vault.is_closed

    @property
    def uses_roles(self) -> bool:
        """Whether roles count."""
        return self._vault.properties.get("enableRbacAuthorization") is not False

    @property
    def longest_validity(self) -> int | None:
        """The days that a secret may be valid, None for any."""
        return self.governance.longest_validity(VAULT_ID)

    @property
    def _vault(self) -> OwnResource:
        return self.governance.own[VAULT_ID.lower()]


@dataclass(frozen=True)
class HubSubscriptions:
    """The hub's event subscriptions that write to queues."""

    dispatcher: Dispatcher

    def all(self) -> list[Document]:
        """All of the hub: name, queue, event types."""
        found = (state.subscription for state in self.dispatcher.grid.subscriptions())
        return [
            {
                "name": each.name,
                "queue": each.destination.name,
                "eventTypes": list(each.event_types) if each.event_types else None,
            }
            for each in found
            if each.topic is Topic.HUB and isinstance(each.destination, StorageQueue)
        ]

    async def add(self, name: str, *, queue: str, event_types: list[str] | None) -> None:
        """Deliver events of these types, None for all, to a queue of the stack."""
        await self.dispatcher.subscribe(
            EventSubscription(
                name=name,
                topic=Topic.HUB,
                destination=StorageQueue(queue),
                event_types=tuple(event_types) if event_types else None,
            )
        )


def _resource(resource_id: str, kind: str, **more: object) -> OwnResource:
    name = resource_id.rsplit("/", 1)[-1]
    document = {
        "id": resource_id,
        "name": name,
        "type": kind,
        "location": LOCATION,
        "tags": {},
        **more,
    }
    return OwnResource(document)
