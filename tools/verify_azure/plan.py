"""What a run makes in Azure, with names, prices and times."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

TAG = "firstpull-verify"
"""The tag of a run's resource group; its value is the run's id."""
EXPIRES = "firstpull-verify-expires"
LIFETIME = timedelta(hours=6)
"""So long after its start no run can be under way."""
GROUP_VERSION = "2025-04-01"
REGISTRY_VERSION = "2025-11-01"
VAULT_VERSION = "2026-02-01"
ROLE_VERSION = "2022-04-01"
CONNECTED_REGISTRY = "plantone"
REPOSITORY = "hello-world"

_ROLES = Path(__file__).parents[2] / "infra" / "roles.json"
_OF_THE_DATA = (
    "storageBlobDataOwner",
    "storageQueueDataContributor",
    "storageTableDataContributor",
    "iotHubDataContributor",
)
_KEY_VAULT_SECRETS_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
_IDS = uuid.UUID("5f0c9c56-6f6e-4f0d-9a55-0c8b7d3a9d51")

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource to make. `dollars_a_day`: a US list price that nobody here has verified."""

    title: str
    path: str
    api_version: str
    body: Document
    dollars_a_day: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. All names follow from its `id`, so that they are known after a crash.

    `endpoint` is Azure Resource Manager's; `started` is in UTC, as ISO 8601.
    """

    id: str
    endpoint: str
    subscription: str
    region: str
    started: str

    @classmethod
    def new(cls, *, endpoint: str, subscription: str, region: str) -> Self:
        """A run that starts now."""
        return cls(
            id=secrets.token_hex(5),
            endpoint=endpoint,
            subscription=subscription,
            region=region,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def to_json(self) -> Document:
        """The fields."""
        return asdict(self)

    @property
    def name(self) -> str:
        """The name of registry, vault, hub and storage account, which are unique in Azure."""
        return f"fpverify{self.id}"

    @property
    def group(self) -> str:
        """The id of the resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/firstpull-verify-{self.id}"

    @property
    def registry(self) -> str:
        """The id of the container registry."""
        return self._of("Microsoft.ContainerRegistry/registries")

    @property
    def connected_registry(self) -> str:
        """The id of the connected registry."""
        return f"{self.registry}/connectedRegistries/{CONNECTED_REGISTRY}"

    @property
    def vault(self) -> str:
        """The id of the vault."""
        return self._of("Microsoft.KeyVault/vaults")

    @property
    def deleted_vault(self) -> str:
        """The id that the vault has after its deletion."""
        return (
            f"/subscriptions/{self.subscription}/providers/Microsoft.KeyVault"
            f"/locations/{self.region}/deletedVaults/{self.name}"
        )

    @property
    def hub(self) -> str:
        """The id of the hub."""
        return self._of("Microsoft.Devices/IotHubs")

    @property
    def storage(self) -> str:
        """The id of the storage account."""
        return self._of("Microsoft.Storage/storageAccounts")

    @property
    def role_assignments(self) -> dict[str, str]:
        """The ids of the role assignments, each with the id of its role."""
        listed = json.loads(_ROLES.read_text())
        roles = [*(listed[name]["id"] for name in _OF_THE_DATA), _KEY_VAULT_SECRETS_OFFICER]
        below = f"{self.group}/providers/Microsoft.Authorization/roleAssignments"
        return {f"{below}/{uuid.uuid5(_IDS, self.id + role)}": role for role in roles}

    def tags(self) -> dict[str, str]:
        """The tags of the resource group."""
        expires = datetime.fromisoformat(self.started) + LIFETIME
        return {TAG: self.id, EXPIRES: expires.isoformat(timespec="seconds")}

    def _of(self, kind: str) -> str:
        return f"{self.group}/providers/{kind}/{self.name}"


def resources(run: Run, *, tenant: str) -> Sequence[Resource]:
    """What is made at the same time, the slowest first."""
    return (
        Resource(
            title="an IoT Hub (S1)",
            path=run.hub,
            api_version="2023-06-30",
            body={
                "location": run.region,
                "sku": {"name": "S1", "capacity": 1},
                "properties": {"disableLocalAuth": True, "minTlsVersion": "1.2"},
            },
            dollars_a_day=0.83,
        ),
        Resource(
            title="a container registry (Premium)",
            path=run.registry,
            api_version=REGISTRY_VERSION,
            body={
                "location": run.region,
                "sku": {"name": "Premium"},
                "properties": {"adminUserEnabled": False, "dataEndpointEnabled": True},
            },
            dollars_a_day=1.67,
        ),
        Resource(
            title="a storage account",
            path=run.storage,
            api_version="2026-06-01",
            body={
                "location": run.region,
                "kind": "StorageV2",
                "sku": {"name": "Standard_LRS"},
                "properties": {
                    "allowSharedKeyAccess": False,
                    "allowBlobPublicAccess": False,
                    "minimumTlsVersion": "TLS1_2",
                },
            },
            dollars_a_day=0.01,
        ),
        Resource(
            title="a Key Vault",
            path=run.vault,
            api_version=VAULT_VERSION,
            body={
                "location": run.region,
                "properties": {
                    "tenantId": tenant,
                    "sku": {"family": "A", "name": "standard"},
                    "enableRbacAuthorization": True,
                    # Without purge protection, so that the run can purge it.
                    "softDeleteRetentionInDays": 7,
                },
            },
            dollars_a_day=0.01,
        ),
    )


def connected_registry(run: Run) -> Sequence[Resource]:
    """A connected registry that nobody deploys, after what it needs."""
    gateway = f"gateway/{CONNECTED_REGISTRY}"
    scope_map = f"{run.registry}/scopeMaps/{CONNECTED_REGISTRY}"
    token = f"{run.registry}/tokens/{CONNECTED_REGISTRY}"
    actions = [
        *(f"repositories/{REPOSITORY}/{what}/read" for what in ("content", "metadata")),
        *(f"{gateway}/{what}/{how}" for what in ("config", "message") for how in ("read", "write")),
    ]
    bodies: tuple[tuple[str, str, Document, float], ...] = (
        ("the scope map of its sync", scope_map, {"actions": actions}, 0.0),
        ("its sync token", token, {"scopeMapId": scope_map, "status": "enabled"}, 0.0),
        (
            "a connected registry",
            run.connected_registry,
            {
                "mode": "ReadOnly",
                "parent": {
                    "syncProperties": {
                        "tokenId": token,
                        "schedule": "* * * * *",
                        "messageTtl": "P2D",
                    }
                },
            },
            0.33,
        ),
    )
    return tuple(
        Resource(
            title=title,
            path=path,
            api_version=REGISTRY_VERSION,
            body={"properties": properties},
            dollars_a_day=dollars,
        )
        for title, path, properties, dollars in bodies
    )


def describe(run: Run, *, tenant: str) -> str:
    """What a person should know before the run."""
    made = [*resources(run, tenant=tenant), *connected_registry(run)]
    priced = [each for each in made if each.dollars_a_day]
    lines = [f"  {each.title}: {each.dollars_a_day:.2f} dollars a day" for each in priced]
    total = sum(each.dollars_a_day for each in priced)
    return "\n".join(
        (
            f"In the subscription {run.subscription}, region {run.region}, at {run.endpoint},",
            f"this makes the resource group {run.group.rpartition('/')[2]} with",
            *lines,
            f"  and {len(run.role_assignments)} role assignments for you on that group.",
            f"Price: at most a day of each, {total:.2f} dollars. These are US list prices, from",
            "memory except the connected registry's (intro-connected-registry), and not verified.",
            "Time: 15 to 40 minutes (estimated), mostly for the hub, for roles to take effect and",
            "for the removal. Everything is removed at the end, also after Ctrl-C or a crash.",
        )
    )
