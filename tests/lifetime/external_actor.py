"""What others do to what firstpull has made, and beside it. What is not there they leave alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import count

from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, ScopeMapId, Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Grant
from local_azure.iot_hub.twins import JsonObject
from local_azure.key_vault.exceptions import KeyVaultError
from local_azure.key_vault.models import Properties
from local_azure.resource_manager.exceptions import ArmError
from tests.lifetime.sites import HAND_MADE
from tests.world.cloud import Cloud
from tests.world.device import Device, Login

_OTHERS = "somebody"
_ACTIVATION = timedelta(seconds=2)
_VALIDITY = timedelta(days=60)
"""Of a password that somebody generates. Nobody leaves one without an expiry."""


class ListChange(Enum):
    """What somebody does to a list of clients."""

    ADD_TOKEN = "add a token"  # noqa: S105 - what somebody does
    REMOVE_ONE = "remove one"
    CLEAR = "clear"
    KEEP_ONLY_THEIRS = "keep only theirs"


class DeviceChange(Enum):
    """What somebody does to what a device has."""

    DELETE_TOKEN = "delete the token"  # noqa: S105 - what somebody does
    DISABLE_TOKEN = "disable the token"  # noqa: S105 - what somebody does
    CHANGE_SCOPE_MAP = "give the token another scope map"
    EDIT_SCOPE_MAP = "edit the scope map"
    GENERATE_PASSWORD = "generate password1"  # noqa: S105 - what somebody does
    GENERATE_BOTH_PASSWORDS = "generate both passwords"
    DELETE_PASSWORDS = "delete the passwords"
    DISABLE_SECRET = "disable the secret"  # noqa: S105 - what somebody does
    DELETE_SECRET = "delete the secret"  # noqa: S105 - what somebody does
    PURGE_SECRET = "purge the secret"  # noqa: S105 - what somebody does
    EDIT_ADDRESS = "edit the address"
    EDIT_PASSWORD = "edit the password"  # noqa: S105 - what somebody does
    REMOVE_ENTRY = "remove the entry"


@dataclass(frozen=True)
class ExternalActor:
    """Others, at work in the same Azure."""

    cloud: Cloud
    _numbers: Iterator[int] = field(default_factory=count)

    def change_list(self, ref: ConnectedRegistryRef, change: ListChange) -> None:
        """Change a list of clients."""
        clients = self.cloud.clients(ref)
        match change:
            case ListChange.ADD_TOKEN:
                name = f"{_OTHERS}-{next(self._numbers)}"
                self.cloud.add_token(name, registry=ref.registry)
                self._put_list(ref, (*clients, name))
            case ListChange.REMOVE_ONE:
                self._put_list(ref, clients[1:])
            case ListChange.CLEAR:
                self._put_list(ref, ())
            case ListChange.KEEP_ONLY_THEIRS:
                self._put_list(ref, [n for n in clients if n.startswith(_OTHERS)])

    def make_by_hand(self, device: Device, ref: ConnectedRegistryRef) -> str:
        """A token that a person made for a device; its password has no expiry."""
        name = f"{HAND_MADE}{device.key.device_id}-{ref.name}"
        if self.cloud.token(ref.registry, name) is not None or name in self.cloud.clients(ref):
            return name
        self.cloud.add_token(name, registry=ref.registry)
        self.cloud.clock.advance(_ACTIVATION)
        password = self._generate(ref.registry, name, Slot.ONE, validity=None)
        self._put_list(ref, (*self.cloud.clients(ref), name))
        device.logins[ref] = Login(name, password)
        return name

    def change_device(self, record: DeviceRecord, change: DeviceChange) -> None:
        """Change what a device has."""
        if record.status.grant is not None:
            with suppress(ArmError, KeyVaultError):
                self._changes(record.device, record.status.grant)[change]()

    def _changes(self, device: DeviceKey, grant: Grant) -> dict[DeviceChange, Callable[[], object]]:
        """How each change is made."""
        registry, vault = self.cloud.registry(grant.ref.registry), self.cloud.vault
        token, secret = grant.names.token, grant.names.secret
        push = registry.registry_id.child("scopeMaps", "_repositories_push")

        def generate(slot: Slot | None) -> str:
            return self._generate(grant.ref.registry, token, slot, validity=_VALIDITY)

        def edit_scope_map() -> None:
            name = ScopeMapId(registry.token(token).scope_map_id).name
            registry.update_scope_map(name, actions=["repositories/theirs/content/read"])

        def purge() -> None:
            vault.delete(secret)
            vault.purge(secret)

        def edit(entry: JsonObject | None) -> None:
            if grant.ref in self.cloud.entries(device):
                self.cloud.edit_entry(device, grant.ref, entry)

        return {
            DeviceChange.DELETE_TOKEN: lambda: self.cloud.delete_token(
                token, registry=grant.ref.registry
            ),
            DeviceChange.DISABLE_TOKEN: lambda: registry.update_token(token, status="disabled"),
            DeviceChange.CHANGE_SCOPE_MAP: lambda: registry.update_token(token, scope_map_id=push),
            DeviceChange.EDIT_SCOPE_MAP: edit_scope_map,
            DeviceChange.GENERATE_PASSWORD: lambda: generate(Slot.ONE),
            DeviceChange.GENERATE_BOTH_PASSWORDS: lambda: generate(None),
            DeviceChange.DELETE_PASSWORDS: lambda: registry.update_token(token, keep_passwords=()),
            DeviceChange.DISABLE_SECRET: lambda: vault.update(
                secret, None, Properties(enabled=False)
            ),
            DeviceChange.DELETE_SECRET: lambda: vault.delete(secret),
            DeviceChange.PURGE_SECRET: purge,
            DeviceChange.EDIT_ADDRESS: lambda: edit({"address": "elsewhere:8000", "added": True}),
            DeviceChange.EDIT_PASSWORD: lambda: edit({"password": "mistyped"}),
            DeviceChange.REMOVE_ENTRY: lambda: edit(None),
        }

    def _generate(
        self, registry: RegistryId, token: str, slot: Slot | None, *, validity: timedelta | None
    ) -> str:
        """As `az acr token credential generate` does: without a slot both. Returns the last."""
        expires_at = self.cloud.clock.now() + validity if validity is not None else None
        self.cloud.generate(registry, token, slot, expires_at=expires_at)
        return self.cloud.passwords[registry, token][-1]

    def _put_list(self, ref: ConnectedRegistryRef, names: Sequence[str]) -> None:
        with suppress(ArmError):
            self.cloud.put_clients(ref, *names)
