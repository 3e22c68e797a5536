"""The roles that the app's identity needs on each kind of resource, as infra/ has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from firstpull.model.governance import Permission


class Kind(StrEnum):
    """The kinds of resources that firstpull works on, by their types in lower case."""

    REGISTRY = "microsoft.containerregistry/registries"
    VAULT = "microsoft.keyvault/vaults"
    HUB = "microsoft.devices/iothubs"
    STORAGE = "microsoft.storage/storageaccounts"


@dataclass(frozen=True, kw_only=True)
class Role:
    """A role and the actions for which it is needed. `file` defines it, None for a built-in one."""

    name: str
    file: str | None = None
    actions: frozenset[str] = frozenset()
    data_actions: frozenset[str] = frozenset()

    def missing(self, permissions: Iterable[Permission]) -> tuple[str, ...]:
        """The actions that none of the permissions grants."""
        granted = tuple(permissions)
        return (
            *(a for a in sorted(self.actions) if not any(p.grants(a) for p in granted)),
            *(a for a in sorted(self.data_actions) if not any(p.grants_data(a) for p in granted)),
        )

    @property
    def count(self) -> int:
        """How many actions it is needed for."""
        return len(self.actions) + len(self.data_actions)


DOCTOR = Role(
    name="firstpull doctor",
    file="infra/doctor-role.json",
    actions=frozenset(
        {
            "Microsoft.Authorization/permissions/read",
            "Microsoft.Authorization/locks/read",
            "Microsoft.Authorization/policyAssignments/read",
            "Microsoft.Authorization/policyExemptions/read",
            "Microsoft.ContainerRegistry/registries/read",
            "Microsoft.Devices/IotHubs/read",
            "Microsoft.EventGrid/eventSubscriptions/read",
            "Microsoft.KeyVault/vaults/read",
            "Microsoft.Storage/storageAccounts/read",
        }
    ),
)
"""What lets firstpull see what stands in its way. Nothing else needs it."""


def _below(prefix: str, *verbs: str) -> frozenset[str]:
    return frozenset(f"{prefix}/{verb}" for verb in verbs)


_REGISTRIES = "Microsoft.ContainerRegistry/registries"
_QUEUES = "Microsoft.Storage/storageAccounts/queueServices/queues"
_TABLES = "Microsoft.Storage/storageAccounts/tableServices/tables"
_CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"

NEEDED: Mapping[Kind, tuple[Role, ...]] = {
    Kind.REGISTRY: (
        Role(
            name="firstpull",
            file="infra/role.json",
            actions=_below(f"{_REGISTRIES}/scopeMaps", "read", "write", "delete")
            | _below(f"{_REGISTRIES}/tokens", "read", "write", "delete")
            | _below(f"{_REGISTRIES}/connectedRegistries", "read", "write")
            | _below(_REGISTRIES, "generateCredentials/action", "operationStatuses/read"),
        ),
    ),
    Kind.VAULT: (
        Role(
            name="firstpull secrets",
            file="infra/vault-role.json",
            data_actions=_below(
                "Microsoft.KeyVault/vaults/secrets",
                *("setSecret/action", "getSecret/action", "readMetadata/action"),
                *("update/action", "recover/action"),
            ),
        ),
    ),
    Kind.HUB: (
        Role(
            name="firstpull devices",
            file="infra/iot-hub-role.json",
            data_actions=_below(
                "Microsoft.Devices/IotHubs", "devices/read", "twins/read", "twins/write"
            ),
        ),
    ),
    Kind.STORAGE: (
        Role(
            name="Storage Table Data Contributor",
            actions=_below(_TABLES, "write"),
            data_actions=_below(f"{_TABLES}/entities", "read", "write", "delete"),
        ),
        Role(
            name="Storage Queue Data Contributor",
            actions=_below(_QUEUES, "write"),
            data_actions=_below(f"{_QUEUES}/messages", "read", "write", "process/action"),
        ),
        Role(
            name="Storage Blob Data Owner",
            actions=_below(_CONTAINERS, "write"),
            data_actions=_below(f"{_CONTAINERS}/blobs", "read", "write"),
        ),
    ),
}
