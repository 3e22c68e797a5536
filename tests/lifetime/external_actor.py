"""What others do to what firstpull has made, and beside it. What is not there they leave alone."""

from __future__ import annotations

from collections.abc import Iterator
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
"""Of a password that somebody makes anew. Who gives it no end has to delete it, too."""


class ToList(Enum):
    """What somebody does to a list of clients."""

    ADDS_A_TOKEN = "adds a token"  # noqa: S105 - what somebody does
    TAKES_ONE_OFF = "takes one off"
    CLEARS_IT = "clears it"
    KEEPS_ONLY_THEIRS = "keeps only theirs"


class ToDevice(Enum):
    """What somebody does to what a device has."""

    DELETES_THE_TOKEN = "deletes the token"  # noqa: S105 - what somebody does
    DISABLES_THE_TOKEN = "disables the token"  # noqa: S105 - what somebody does
    GIVES_IT_ANOTHER_SCOPE_MAP = "gives it another scope map"
    EDITS_THE_SCOPE_MAP = "edits the scope map"
    MAKES_A_PASSWORD = "makes password1 anew"  # noqa: S105 - what somebody does
    MAKES_BOTH_PASSWORDS = "makes both passwords anew"
    DELETES_THE_PASSWORDS = "deletes the passwords"
    DISABLES_THE_SECRET = "disables the secret"  # noqa: S105 - what somebody does
    DELETES_THE_SECRET = "deletes the secret"  # noqa: S105 - what somebody does
    PURGES_THE_SECRET = "purges the secret"  # noqa: S105 - what somebody does
    EDITS_THE_ADDRESS = "edits the address"
    EDITS_THE_PASSWORD = "edits the password"  # noqa: S105 - what somebody does
    REMOVES_THE_ENTRY = "removes the entry"


@dataclass(frozen=True)
class ExternalActor:
    """Others, at work in the same Azure."""

    azure: Azure
    watch: Watch
    clock: VirtualClock
    _numbers: Iterator[int] = field(default_factory=count)

    def changes_list(self, ref: ConnectedRegistryRef, what: ToList) -> None:
        """Change a list of clients."""
        clients = self.azure.clients(ref)
        theirs = tuple(name for name in clients if name.startswith(_OTHERS))
        match what:
            case ToList.ADDS_A_TOKEN:
                self._put_list(ref, (*clients, self._new_token(ref)))
            case ToList.TAKES_ONE_OFF:
                self._put_list(ref, clients[1:])
            case ToList.CLEARS_IT:
                self._put_list(ref, ())
            case ToList.KEEPS_ONLY_THEIRS:
                self._put_list(ref, theirs)

    def makes_by_hand(self, device: Device, ref: ConnectedRegistryRef) -> str:
        """A token of a device's own, which a person gave it; it has no expiry."""
        name = f"{HAND_MADE}{device.key.device_id}-{ref.name}"
        registry = self.azure.registry(ref.registry)
        if self.azure.token(ref.registry, name) is not None or name in self.azure.clients(ref):
            return name
        scope_map_id = registry.registry_id.child("scopeMaps", "_repositories_pull")
        registry.put_token(name, scope_map_id=scope_map_id)
        self.watch.token_was_made_by_hand(ref.registry, name)
        self.clock.advance(_ACTIVATION)
        token_id = registry.registry_id.child("tokens", name)
        made = registry.generate_credentials(token_id, name="password1")
        self.watch.password_was_made(ref.registry, name, made.value_of("password1"))
        self._put_list(ref, (*self.azure.clients(ref), name))
        device.logins[ref] = Login(name, made.value_of("password1"))
        return name

    def meddles(self, record: DeviceRecord, what: ToDevice) -> None:
        """Change what a device has."""
        grant = record.status.grant
        if grant is None:
            return
        with suppress(ArmError, KeyVaultError):
            match what:
                case (
                    ToDevice.DELETES_THE_TOKEN
                    | ToDevice.DISABLES_THE_TOKEN
                    | ToDevice.GIVES_IT_ANOTHER_SCOPE_MAP
                    | ToDevice.EDITS_THE_SCOPE_MAP
                    | ToDevice.MAKES_A_PASSWORD
                    | ToDevice.MAKES_BOTH_PASSWORDS
                    | ToDevice.DELETES_THE_PASSWORDS
                ):
                    self._meddles_with_token(grant, what)
                case (
                    ToDevice.DISABLES_THE_SECRET
                    | ToDevice.DELETES_THE_SECRET
                    | ToDevice.PURGES_THE_SECRET
                ):
                    self._meddles_with_secret(grant.names.secret, what)
                case _:
                    self._meddles_with_twin(record.device, grant.ref, what)

    def _meddles_with_token(self, grant: Grant, what: ToDevice) -> None:
        registry, name = self.azure.registry(grant.ref.registry), grant.names.token
        match what:
            case ToDevice.DELETES_THE_TOKEN:
                for ref in self.azure.sites:
                    if ref.registry == grant.ref.registry:
                        clients = self.azure.clients(ref)
                        self._put_list(ref, tuple(c for c in clients if c != name))
                registry.delete_token(name)
            case ToDevice.DISABLES_THE_TOKEN:
                registry.update_token(name, status="disabled")
            case ToDevice.GIVES_IT_ANOTHER_SCOPE_MAP:
                other = registry.registry_id.child("scopeMaps", "_repositories_push")
                registry.update_token(name, scope_map_id=other)
            case ToDevice.MAKES_A_PASSWORD | ToDevice.MAKES_BOTH_PASSWORDS:
                slot: PasswordName | None = PASSWORD_NAMES[0]
                if what is ToDevice.MAKES_BOTH_PASSWORDS:
                    slot = None
                self._makes_passwords(grant.ref.registry, name, slot)
            case ToDevice.DELETES_THE_PASSWORDS:
                registry.update_token(name, keep_passwords=())
            case _:
                scope_map = ScopeMapId(registry.token(name).scope_map_id).name
                registry.update_scope_map(scope_map, actions=["repositories/theirs/content/read"])

    def _makes_passwords(self, registry: RegistryId, token: str, slot: PasswordName | None) -> None:
        """As `az acr token credential generate --expiration` does: without a slot both."""
        cloud = self.azure.registry(registry)
        token_id = cloud.registry_id.child("tokens", token)
        expiry = self.clock.now() + _VALIDITY
        made = cloud.generate_credentials(token_id, name=slot, expiry=expiry)
        for each in (slot,) if slot else PASSWORD_NAMES:
            self.watch.password_was_made(registry, token, made.value_of(each))

    def _meddles_with_secret(self, name: str, what: ToDevice) -> None:
        vault = self.azure.vault
        if what is ToDevice.DISABLES_THE_SECRET:
            vault.update(name, None, Properties(enabled=False))
            return
        vault.delete(name)
        if what is ToDevice.PURGES_THE_SECRET:
            vault.purge(name)

    def _meddles_with_twin(
        self, device: DeviceKey, ref: ConnectedRegistryRef, what: ToDevice
    ) -> None:
        if ref not in dict(self.azure.entries(device.device_id)):
            return
        entry: JsonObject | None = None
        if what is ToDevice.EDITS_THE_ADDRESS:
            entry = {"address": "elsewhere.example:8000", "added": True}
        elif what is ToDevice.EDITS_THE_PASSWORD:
            entry = {"password": "mistyped"}
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
