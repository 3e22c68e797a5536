"""What others do to what firstpull has made, and beside it. What is not there they leave alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import count

from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, ScopeMapId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Grant
from local_azure.container_registry.passwords import PASSWORD_NAMES, PasswordName
from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.iot_hub.twins import JsonObject, TwinPatch
from local_azure.key_vault.exceptions import KeyVaultError
from local_azure.key_vault.models import Properties
from local_azure.resource_manager.exceptions import ArmError
from tests.firstpull.virtual_clock import VirtualClock
from tests.lifetime.azure import HAND_MADE, Azure
from tests.lifetime.device import Device, Login
from tests.lifetime.watch import Watch

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

    azure: Azure
    watch: Watch
    clock: VirtualClock
    _numbers: Iterator[int] = field(default_factory=count)

    def change_list(self, ref: ConnectedRegistryRef, change: ListChange) -> None:
        """Change a list of clients."""
        clients = self.azure.clients(ref)
        match change:
            case ListChange.ADD_TOKEN:
                self._put_list(ref, (*clients, self._new_token(ref)))
            case ListChange.REMOVE_ONE:
                self._put_list(ref, clients[1:])
            case ListChange.CLEAR:
                self._put_list(ref, ())
            case ListChange.KEEP_ONLY_THEIRS:
                self._put_list(ref, tuple(n for n in clients if n.startswith(_OTHERS)))

    def make_by_hand(self, device: Device, ref: ConnectedRegistryRef) -> str:
        """A token that a person made for a device; its password has no expiry."""
        name = f"{HAND_MADE}{device.key.device_id}-{ref.name}"
        registry = self.azure.registry(ref.registry)
        if self.azure.token(ref.registry, name) is not None or name in self.azure.clients(ref):
            return name
        scope_map_id = registry.registry_id.child("scopeMaps", "_repositories_pull")
        registry.put_token(name, scope_map_id=scope_map_id)
        self.watch.token_was_made_by_hand(ref.registry, name)
        self.clock.advance(_ACTIVATION)
        password = self._generate(ref.registry, name, PASSWORD_NAMES[0], validity=None)
        self._put_list(ref, (*self.azure.clients(ref), name))
        device.logins[ref] = Login(name, password)
        return name

    def change_device(self, record: DeviceRecord, change: DeviceChange) -> None:
        """Change what a device has."""
        if record.status.grant is not None:
            with suppress(ArmError, KeyVaultError):
                self._changes(record.device, record.status.grant)[change]()

    def _changes(self, device: DeviceKey, grant: Grant) -> dict[DeviceChange, Callable[[], object]]:
        """How each change is made."""
        registry, vault = self.azure.registry(grant.ref.registry), self.azure.vault
        token, secret = grant.names.token, grant.names.secret
        push = registry.registry_id.child("scopeMaps", "_repositories_push")

        def generate(slot: PasswordName | None) -> str:
            return self._generate(grant.ref.registry, token, slot, validity=_VALIDITY)

        def edit_scope_map() -> None:
            name = ScopeMapId(registry.token(token).scope_map_id).name
            registry.update_scope_map(name, actions=["repositories/theirs/content/read"])

        def purge() -> None:
            vault.delete(secret)
            vault.purge(secret)

        def patch(entry: JsonObject | None) -> None:
            self._patch_entry(device, grant.ref, entry)

        return {
            DeviceChange.DELETE_TOKEN: lambda: self._delete_token(grant),
            DeviceChange.DISABLE_TOKEN: lambda: registry.update_token(token, status="disabled"),
            DeviceChange.CHANGE_SCOPE_MAP: lambda: registry.update_token(token, scope_map_id=push),
            DeviceChange.EDIT_SCOPE_MAP: edit_scope_map,
            DeviceChange.GENERATE_PASSWORD: lambda: generate(PASSWORD_NAMES[0]),
            DeviceChange.GENERATE_BOTH_PASSWORDS: lambda: generate(None),
            DeviceChange.DELETE_PASSWORDS: lambda: registry.update_token(token, keep_passwords=()),
            DeviceChange.DISABLE_SECRET: lambda: vault.update(
                secret, None, Properties(enabled=False)
            ),
            DeviceChange.DELETE_SECRET: lambda: vault.delete(secret),
            DeviceChange.PURGE_SECRET: purge,
            DeviceChange.EDIT_ADDRESS: lambda: patch({"address": "elsewhere:8000", "added": True}),
            DeviceChange.EDIT_PASSWORD: lambda: patch({"password": "mistyped"}),
            DeviceChange.REMOVE_ENTRY: lambda: patch(None),
        }

    def _delete_token(self, grant: Grant) -> None:
        for ref in self.azure.sites:
            if ref.registry == grant.ref.registry:
                clients = self.azure.clients(ref)
                self._put_list(ref, tuple(c for c in clients if c != grant.names.token))
        self.azure.registry(grant.ref.registry).delete_token(grant.names.token)

    def _generate(
        self,
        registry: RegistryId,
        token: str,
        slot: PasswordName | None,
        *,
        validity: timedelta | None,
    ) -> str:
        """As `az acr token credential generate` does: without a slot both. Returns the last."""
        cloud = self.azure.registry(registry)
        token_id = cloud.registry_id.child("tokens", token)
        expiry = self.clock.now() + validity if validity is not None else None
        made = cloud.generate_credentials(token_id, name=slot, expiry=expiry)
        slots = (slot,) if slot else PASSWORD_NAMES
        for each in slots:
            self.watch.password_was_made(registry, token, made.value_of(each))
        return made.value_of(slots[-1])

    def _patch_entry(
        self, device: DeviceKey, ref: ConnectedRegistryRef, entry: JsonObject | None
    ) -> None:
        if ref in dict(self.azure.entries(device.device_id)):
            change: JsonObject = {"firstpull": {"registryCredentials": {ref.name: entry}}}
            self.azure.hub.patch_twin(device.device_id, TwinPatch(desired=change), etag=None)

    def _new_token(self, ref: ConnectedRegistryRef) -> str:
        registry = self.azure.registry(ref.registry)
        name = f"{_OTHERS}-{next(self._numbers)}"
        scope_map_id = registry.registry_id.child("scopeMaps", "_repositories_pull")
        registry.put_token(name, scope_map_id=scope_map_id)
        return name

    def _put_list(self, ref: ConnectedRegistryRef, names: tuple[str, ...]) -> None:
        registry = self.azure.registry(ref.registry)
        ids = tuple(registry.registry_id.child("tokens", name) for name in names)
        with suppress(ArmError):
            registry.update_connected_registry(
                ref.name, ConnectedRegistryChanges(client_token_ids=ids)
            )
