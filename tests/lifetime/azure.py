"""The local Azure's services in one process, without HTTP, on one virtual clock."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, TokenId
from local_azure.container_registry.backends import (
    ConnectedRegistryBackend,
    SyncOverride,
    deploy_connected_registry,
)
from local_azure.container_registry.models import CloudSettings, ContainerRegistryCloud, Registry
from local_azure.container_registry.resource_ids import RegistryId as ResourceId
from local_azure.container_registry.resources import Token
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import Identity
from local_azure.iot_hub.models import IotHub
from local_azure.kernel.clock import Clock
from local_azure.key_vault.models import Vault
from tests.firstpull.virtual_clock import VirtualClock

HUB = "hub-1.azure-devices.net"
VAULT = "vault.example"
DEPLOYMENT = "test"
_FIRST, _SECOND = (
    ResourceId("00000000-0000-0000-0000-000000000000", "Plants", name)
    for name in ("acrfirst", "acrsecond")
)
CAPACITY = {
    ConnectedRegistryRef(registry=RegistryId(str(registry)), name=name): capacity
    for registry, name, capacity in (
        (_FIRST, "plantone", 2),
        (_FIRST, "planttwo", 3),
        (_SECOND, "portone", 2),
        (_SECOND, "porttwo", 3),
    )
}
"""The connected registries, and how many clients each takes by firstpull's policy."""
REFS = tuple(CAPACITY)
SERVICE_LIMIT = 5
"""How many clients the service takes: more, so that firstpull has to keep its promise itself."""
SITES = {"plant": ("plantone", "planttwo"), "coast": ("planttwo", "portone")}
HAND_MADE = "hand-"
"""The prefix of tokens that may be adopted."""


def ref_of(connected_registry: str) -> ConnectedRegistryRef:
    """The connected registry of a name; no two have the same name here."""
    return next(p for p in REFS if p.name == connected_registry)


def make_policy() -> Policy:
    """Two container registries, four connected registries, two sites over two of them each."""
    document = {
        "hubs": [HUB],
        "containerRegistries": [str(_FIRST), str(_SECOND)],
        "connectedRegistries": [
            {
                "name": ref.name,
                "containerRegistry": ref.registry.name,
                "capacity": capacity,
            }
            for ref, capacity in CAPACITY.items()
        ],
        "sites": [
            {"name": name, "connectedRegistries": list(members)} for name, members in SITES.items()
        ],
        "adoptableTokens": [f"{HAND_MADE}*"],
    }
    return Policy.model_validate_json(json.dumps(document))


class Azure:
    """Registries, their sites, a vault and a hub."""

    def __init__(self, clock: VirtualClock) -> None:
        time = Clock(clock.now)
        chance = random.Random(2026)  # noqa: S311 - chance, not secrets
        self._cloud = ContainerRegistryCloud(
            clock=time, random=chance, settings=CloudSettings(max_clients=SERVICE_LIMIT)
        )
        self._registries = {
            RegistryId(str(resource_id)): self._cloud.create_registry(
                resource_id, login_server=f"{resource_id.name}.azurecr.io"
            )
            for resource_id in (_FIRST, _SECOND)
        }
        self.sites: dict[ConnectedRegistryRef, ConnectedRegistryBackend] = {
            ref: deploy_connected_registry(
                self.registry(ref.registry),
                ref.name,
                login_server=f"{ref.name}.site.example:8000",
                repositories=["plant/*"],
                override=SyncOverride(every_seconds=None),
            )
            for ref in REFS
        }
        self.vault = Vault(clock=time, random=chance)
        self.hub = IotHub(
            name=HUB.split(".", maxsplit=1)[0], clock=time, random=chance, throttle_limits={}
        )

    def registry(self, registry: RegistryId) -> Registry:
        """The container registry of an id."""
        return self._registries[registry]

    def token(self, registry: RegistryId, name: str) -> Token | None:
        """A token, None where there is none."""
        return next((t for t in self.registry(registry).tokens() if t.name == name), None)

    def accepts(self, registry: RegistryId, token: str, password: str) -> bool:
        """Whether the container registry itself lets a password in now."""
        found = self.token(registry, token)
        return found is not None and found.accepts(password, now=self.registry(registry).now())

    def clients(self, ref: ConnectedRegistryRef) -> tuple[str, ...]:
        """The names of the tokens in a connected registry's list."""
        found = self.registry(ref.registry).connected_registry(ref.name)
        return tuple(TokenId(i).name for i in found.settings.client_token_ids)

    def identity(self, device_id: str) -> Identity | None:
        """A device's identity, None where the hub has none."""
        try:
            return self.hub.device(device_id)
        except IotHubError:
            return None

    def entries(self, device_id: str) -> Iterator[tuple[ConnectedRegistryRef, dict[str, Any]]]:
        """The entries of a device's twin, by connected registry; none without a twin."""
        if self.identity(device_id) is None:
            return
        found = entries_below(self.hub.twin(device_id).desired.values)
        for key, entry in found.items():
            yield ref_of(key), entry

    def state(self) -> object:
        """Everything in Azure that firstpull could write, for a comparison."""
        return (
            [(r.tokens(), r.scope_maps()) for r in self._registries.values()],
            [self.clients(ref) for ref in REFS],
            [self.vault.list_versions(name) for name in self.vault.list_secrets()],
            [(i, self.hub.twin(i.device_id).desired) for i in self.hub.devices()],
        )


def entries_below(properties: object) -> dict[str, dict[str, Any]]:
    """The entries by connected registry in a section of a twin."""
    found: Any = properties
    for name in ("firstpull", "registryCredentials"):
        found = found.get(name) if isinstance(found, dict) else None
    return {key: entry for key, entry in (found or {}).items() if isinstance(entry, dict)}
