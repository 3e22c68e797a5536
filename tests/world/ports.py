"""The ports of Azure's services, straight on the local Azure's models.

A model's refusal is translated as the adapters do it. Every call goes through a `Line`, and the
watch over the promises is called around each write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, ClassVar

from pydantic import SecretStr

from firstpull.adapters.azure_errors import translate_status
from firstpull.adapters.container_registry.changes import until
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    ListedDevice,
    NewPassword,
    Password,
    RegistryId,
    ScopeMap,
    ScopeMapId,
    SecretVersion,
    Slot,
    StoredSecret,
    Token,
    TokenId,
    Twin,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Blocked, Transient
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from local_azure.container_registry import resources
from local_azure.container_registry.exceptions import ResourceNotFound, TokenInUse
from local_azure.container_registry.models import Registry
from local_azure.iot_hub.documents import section_document
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import Identity
from local_azure.iot_hub.twins import Twin as HubTwin
from local_azure.iot_hub.twins import TwinPatch
from local_azure.key_vault import models as vault_models
from local_azure.key_vault.exceptions import KeyVaultError, SecretNotFound
from local_azure.resource_manager.exceptions import ArmError
from tests.world.cloud import HUB, PASSWORD_NAMES, Cloud, Line
from tests.world.watch import Watch


@dataclass(frozen=True)
class _Port:
    """Calls of one service."""

    line: Line
    service: ClassVar[str]
    prefix: ClassVar[str]

    @property
    def cloud(self) -> Cloud:
        """Where the calls go to."""
        return self.line.cloud

    @property
    def watch(self) -> Watch:
        """Checks what the calls do."""
        return self.line.cloud.watch

    async def _call[T](
        self, name: str, effect: Callable[[], T], *, deadline_seconds: float = 1
    ) -> T:
        if deadline_seconds <= 0:
            raise AssertionError(f"{name} needs time to answer")

        def refusable() -> T:
            with _refusals(self.service):
                return effect()

        return await self.line.call(f"{self.prefix}.{name}", refusable)


@dataclass(frozen=True)
class FakeContainerRegistries(_Port):
    """The port `ContainerRegistries`."""

    service = "The container registry"
    prefix = "registries"

    async def admit(self, registry: RegistryId) -> None:
        """There is always room."""

    def has_room(self, registry: RegistryId) -> bool:
        del registry
        return not self.line.cloud.is_short_of_reads

    def is_short_of_writes(self, registry: RegistryId) -> bool:
        del registry
        return self.line.cloud.is_short_of_writes

    async def get_scope_map(self, registry: RegistryId, name: str) -> ScopeMap | None:
        return await self._call(
            "get_scope_map",
            lambda: _or_none(lambda: self._scope_map(registry, name)),
        )

    async def put_scope_map(
        self, registry: RegistryId, name: str, *, actions: frozenset[str], **more: float
    ) -> None:
        async def active() -> bool:
            found = await self.get_scope_map(registry, name)
            return found is not None and found.active

        made = await self._call(
            "put_scope_map",
            lambda: self._registry(registry).put_scope_map(name, actions=sorted(actions)),
            **more,
        )
        if self._is_in_progress(registry, made.provisioning):
            await self._until(active, name)

    async def get_token(self, registry: RegistryId, name: str) -> Token | None:
        return await self._call(
            "get_token",
            lambda: _or_none(lambda: self._token(registry, self._registry(registry).token(name))),
        )

    async def create_token(
        self,
        registry: RegistryId,
        name: str,
        *,
        scope_map: ScopeMapId,
        on_look: Callable[[int], None] = lambda _: None,
        **more: float,
    ) -> Token:
        def effect() -> Token:
            with self.watch.over_token(registry, name):
                made = self._registry(registry).put_token(name, scope_map_id=str(scope_map))
            self.watch.token_was_made(registry, name)
            _check_is_enabled(made)
            return self._token(registry, made)

        token = await self._call("create_token", effect, **more)
        return token if token.active else await self._active_token(registry, name, on_look)

    async def update_token(
        self, registry: RegistryId, name: str, *, scope_map: ScopeMapId, **more: float
    ) -> None:
        def update(found: Registry) -> resources.Token:
            token = found.update_token(name, scope_map_id=str(scope_map), status="enabled")
            _check_is_enabled(token)
            return token

        await self._change_token("update_token", registry, name, update, **more)

    async def generate_password(
        self, registry: RegistryId, token: str, *, slot: Slot, expires_at: datetime, **more: float
    ) -> NewPassword:
        def effect() -> NewPassword:
            with self.watch.over_token(registry, token):
                made = self.cloud.generate(registry, token, slot, expires_at=expires_at)
            value = made.value_of(PASSWORD_NAMES[slot])
            self.cloud.passwords_made.append(value)
            password = next(p.password for p in made.passwords if p.value is not None)
            return NewPassword(
                slot=slot,
                created_at=password.creation_time,
                expires_at=password.expiry,
                value=Secret(value),
            )

        return await self._call("generate_password", effect, **more)

    async def keep_passwords(
        self, registry: RegistryId, token: str, *, slots: Collection[Slot], **more: float
    ) -> None:
        kept = [PASSWORD_NAMES[slot] for slot in Slot if slot in slots]
        await self._change_token(
            "keep_passwords",
            registry,
            token,
            lambda found: found.update_token(token, keep_passwords=kept),
            **more,
        )

    async def disable_token(self, registry: RegistryId, name: str, **more: float) -> None:
        await self._change_token(
            "disable_token",
            registry,
            name,
            lambda found: _or_none(lambda: found.update_token(name, status="disabled")),
            **more,
        )

    async def delete_token(self, registry: RegistryId, name: str, **more: float) -> None:
        def effect() -> resources.Provisioning | None:
            try:
                with self.watch.over_token(registry, name):
                    deletion = self._registry(registry).delete_token(name)
            except TokenInUse:
                raise Blocked(
                    Reason.TOKEN_IN_USE, f"The token {name} is used.", remedy="Take it off."
                ) from None
            if deletion is not None and not self._is_in_progress(registry, deletion):
                self.watch.token_was_deleted(registry, name)
            return deletion

        async def gone() -> bool:
            return await self.get_token(registry, name) is None

        deletion = await self._call("delete_token", effect, **more)
        if self._is_in_progress(registry, deletion):
            await self._until(gone, name)

    async def delete_scope_map(self, registry: RegistryId, name: str, **more: float) -> None:
        await self._call(
            "delete_scope_map", lambda: self._registry(registry).delete_scope_map(name), **more
        )

    async def list_tokens(self, registry: RegistryId) -> tuple[Token, ...]:
        return await self._call(
            "list_tokens",
            lambda: tuple(self._token(registry, t) for t in self._registry(registry).tokens()),
        )

    async def list_scope_maps(self, registry: RegistryId) -> tuple[ScopeMap, ...]:
        return await self._call(
            "list_scope_maps",
            lambda: tuple(
                _scope_map(found, now=self.cloud.clock.now())
                for found in self._registry(registry).scope_maps()
            ),
        )

    async def list_connected_registries(
        self, registry: RegistryId
    ) -> tuple[ConnectedRegistry, ...]:
        return await self._call(
            "list_connected_registries",
            lambda: tuple(
                self._connected(registry, found)
                for found in self._registry(registry).connected_registries()
            ),
        )

    async def get_connected_registry(self, ref: ConnectedRegistryRef) -> ConnectedRegistry | None:
        return await self._call(
            "get_connected_registry", lambda: _or_none(lambda: self._connected_at(ref))
        )

    async def replace_client_tokens(
        self, ref: ConnectedRegistryRef, token_ids: tuple[TokenId, ...], **more: float
    ) -> ConnectedRegistry:
        seen = self.line.lists_read.get(ref, ())
        changes = resources.ConnectedRegistryChanges(client_token_ids=tuple(map(str, token_ids)))

        def effect() -> ConnectedRegistry:
            with self.watch.over_list(ref, seen=seen):
                self._registry(ref.registry).update_connected_registry(ref.name, changes)
            return self._connected_at(ref)

        return await self._call("replace_client_tokens", effect, **more)

    async def synced_actions(self, registry: RegistryId, sync_token_id: TokenId) -> frozenset[str]:
        def effect() -> frozenset[str]:
            found = self._registry(registry)
            actions = found.scope_map_of(found.token_of(str(sync_token_id))).actions
            return frozenset(a for a in actions if a.startswith("repositories/"))

        return await self._call("synced_actions", effect)

    async def _change_token(
        self,
        call: str,
        registry: RegistryId,
        name: str,
        change: Callable[[Registry], resources.Token | None],
        **more: float,
    ) -> None:
        def effect() -> resources.Token | None:
            with self.watch.over_token(registry, name):
                return change(self._registry(registry))

        token = await self._call(call, effect, **more)
        if token is not None and self._is_in_progress(registry, token.provisioning):
            await self._active_token(registry, name)

    async def _active_token(
        self, registry: RegistryId, name: str, on_look: Callable[[int], None] = lambda _: None
    ) -> Token:
        looks = count()

        async def active() -> Token | None:
            on_look(next(looks))
            token = await self.get_token(registry, name)
            return token if token is not None and token.active else None

        return await self._until(active, name)

    async def _until[T](self, read: Callable[[], Awaitable[T | None]], what: str) -> T:
        return await until(read, what, sleep=self.cloud.clock.sleep)

    def _is_in_progress(self, registry: RegistryId, change: resources.Provisioning | None) -> bool:
        return change is not None and not change.has_succeeded(self._registry(registry).now())

    def _scope_map(self, registry: RegistryId, name: str) -> ScopeMap | None:
        found, now = self._registry(registry).scope_map(name), self.cloud.clock.now()
        is_being_deleted = found.provisioning.state(now) == "Deleting"
        return None if is_being_deleted else _scope_map(found, now=now)

    def _registry(self, registry: RegistryId) -> Registry:
        return self.cloud.registry(registry)

    def _token(self, registry: RegistryId, token: resources.Token) -> Token:
        return Token(
            id=registry.token(token.name),
            name=token.name,
            # Azure Resource Manager may answer in another case.
            scope_map_id=ScopeMapId(token.scope_map_id.lower()),
            enabled=token.status == "enabled",
            active=token.provisioning.has_succeeded(self._registry(registry).now()),
            passwords=tuple(
                Password(slot=Slot(p.name), created_at=p.creation_time, expires_at=p.expiry)
                for p in token.passwords
            ),
            is_being_deleted=token.provisioning.state(self._registry(registry).now()) == "Deleting",
        )

    def _connected_at(self, ref: ConnectedRegistryRef) -> ConnectedRegistry:
        found = self._registry(ref.registry).connected_registry(ref.name)
        return self._connected(ref.registry, found)

    def _connected(
        self, registry: RegistryId, found: resources.ConnectedRegistry
    ) -> ConnectedRegistry:
        ids = found.settings.client_token_ids
        clients = tuple(TokenId(i.replace("/tokens/", "/Tokens/")) for i in ids)
        ref = ConnectedRegistryRef(registry=registry, name=found.name)
        self.line.lists_read[ref] = clients
        by_identity = ref in self.cloud.sync_by_identity
        return ConnectedRegistry(
            name=found.name,
            client_token_ids=clients,
            sync_token_id=None if by_identity else TokenId(found.sync_token_id),
            login_server=found.login_server.host,
            last_sync_at=found.last_sync_time,
            connection_state=found.connection_state,
        )


@dataclass(frozen=True)
class FakeSecrets(_Port):
    """The port `Secrets`."""

    service = "Key Vault"
    prefix = "secrets"

    async def versions(self, name: str) -> tuple[SecretVersion, ...]:
        return await self._call(
            "versions", lambda: tuple(map(_version, self._vault.list_versions(name).values()))
        )

    async def put(
        self,
        name: str,
        value: Secret,
        *,
        expires_at: datetime | None,
        tags: Mapping[str, str],
        enabled: bool = True,
    ) -> SecretVersion:
        properties = vault_models.Properties(
            tags=dict(tags),
            expires=int(expires_at.timestamp()) if expires_at else None,
            enabled=enabled,
        )

        def effect() -> SecretVersion:
            try:
                made = self._vault.set(name, SecretStr(value.reveal()), properties)
            except KeyVaultError as error:
                if error.status != 409:
                    raise
                self._vault.recover(name)
                made = self._vault.set(name, SecretStr(value.reveal()), properties)
            self.watch.secret_was_stored(name)
            return _version(made)

        return await self._call("put", effect)

    async def read(self, name: str, version: str) -> Secret:
        return await self._call(
            "read", lambda: Secret(self._vault.get(name, version).value.get_secret_value())
        )

    async def disable(self, name: str, version: str) -> None:
        def effect() -> None:
            try:
                self._vault.update(name, version, vault_models.Properties(enabled=False))
            except SecretNotFound:
                return

        await self._call("disable", effect)

    async def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        def effect() -> None:
            try:
                self._vault.update(name, version, vault_models.Properties(tags=dict(tags)))
            except SecretNotFound:
                return

        await self._call("tag", effect)

    async def list_secrets(self) -> tuple[StoredSecret, ...]:
        return await self._call(
            "list_secrets",
            lambda: tuple(
                StoredSecret(
                    name=found.name,
                    enabled=found.enabled,
                    updated_at=datetime.fromtimestamp(found.updated, UTC),
                    tags=found.tags or {},
                )
                for found in self._vault.list_secrets().values()
            ),
        )

    @property
    def _vault(self) -> vault_models.Vault:
        return self.cloud.vault


@dataclass(frozen=True)
class FakeHubs(_Port):
    """The port `Hubs`, for the one hub there is."""

    service = "IoT Hub"
    prefix = "hubs"

    async def twin(self, device: DeviceKey) -> Twin | None:
        def effect() -> Twin | None:
            identity = self.cloud.identity(device)
            if identity is None:
                return None
            return _twin(identity, self.cloud.hub.twin(device.device_id))

        return await self._call("twin", effect)

    async def module_twin(self, device: DeviceKey, module: str) -> Twin | None:
        def effect() -> Twin | None:
            identity = self.cloud.identity(device)
            if identity is None or not self.cloud.hub.has_module(device.device_id, module):
                return None
            found = self.cloud.hub.module_twin(device.device_id, module)
            return _twin(identity, found)

        return await self._call("module_twin", effect)

    async def generation_id(self, device: DeviceKey) -> str | None:
        def effect() -> str | None:
            identity = self.cloud.identity(device)
            return identity.generation_id if identity is not None else None

        return await self._call("generation_id", effect)

    async def patch_desired(
        self,
        device: DeviceKey,
        patch: Mapping[str, Any],
        *,
        etag: str,
        module: str | None = None,
        **more: float,
    ) -> None:
        def effect() -> None:
            if self.cloud.identity(device) is None:
                raise Transient(Reason.DEVICE_NOT_REGISTERED, "The device has gone.", retry_after=1)
            self.cloud.hub.patch_twin(
                device.device_id, TwinPatch(desired=revealed(patch)), etag=etag, module_id=module
            )
            self.watch.twin_was_written(device)

        await self._call("patch_desired", effect, **more)

    async def find_devices(self, hub: str, device_ids: Sequence[str]) -> tuple[ListedDevice, ...]:
        if not device_ids:
            return ()
        return await self._listed("find_devices", hub, lambda found: found.device_id in device_ids)

    async def list_devices(self, hub: str) -> tuple[ListedDevice, ...]:
        return await self._listed(
            "list_devices",
            hub,
            lambda found: "firstpull" in found.twin.tags or "firstpull" in found.twin.desired,
        )

    async def list_modules(self, hub: str, module: str) -> tuple[ListedDevice, ...]:
        def effect() -> tuple[ListedDevice, ...]:
            devices = (d for d in self.cloud.hub.devices() if hub == HUB)
            return tuple(
                ListedDevice(
                    device_id=d.device_id,
                    twin=_twin(d, self.cloud.hub.module_twin(d.device_id, module)),
                )
                for d in devices
                if self.cloud.hub.has_module(d.device_id, module)
            )

        return await self._call("list_modules", effect)

    async def _listed(
        self, name: str, hub: str, is_listed: Callable[[ListedDevice], bool]
    ) -> tuple[ListedDevice, ...]:
        def effect() -> tuple[ListedDevice, ...]:
            devices = (
                ListedDevice(device_id=d.identity.device_id, twin=_twin(d.identity, d.twin))
                for d in self.cloud.hub.index.devices()
                if hub == HUB
            )
            return tuple(filter(is_listed, devices))

        return await self._call(name, effect)


@contextmanager
def _refusals(service: str) -> Iterator[None]:
    """Translate a model's refusal as an adapter does."""
    try:
        yield
    except ArmError as error:
        raise translate_status(
            service, status=error.status, code=error.code, message=error.message
        ) from None
    except KeyVaultError as error:
        raise translate_status(service, status=error.status, code=error.code) from None
    except IotHubError as error:
        raise translate_status(service, status=error.kind.status, code=error.kind.code) from None


def _check_is_enabled(token: resources.Token) -> None:
    if token.status == "disabled":
        message = f"The service left {token.name} disabled."
        raise Blocked(Reason.REFUSED_BY_POLICY, message, remedy="Exempt it.")


def _or_none[T](reading: Callable[[], T | None]) -> T | None:
    try:
        return reading()
    except ResourceNotFound:
        return None


def _scope_map(found: resources.ScopeMap, *, now: datetime) -> ScopeMap:
    return ScopeMap(
        name=found.name,
        actions=frozenset(found.actions),
        active=found.provisioning.has_succeeded(now),
    )


def _version(found: vault_models.SecretVersion) -> SecretVersion:
    expires = found.expires
    return SecretVersion(
        version=found.version,
        enabled=found.enabled,
        expires_at=datetime.fromtimestamp(expires, UTC) if expires is not None else None,
        created_at=datetime.fromtimestamp(found.created, UTC),
        tags=found.tags or {},
    )


def _twin(identity: Identity, twin: HubTwin) -> Twin:
    return Twin(
        etag=twin.etag,
        device_etag=identity.etag,
        enabled=identity.enabled,
        desired=section_document(twin.desired),
        reported=section_document(twin.reported),
        tags=twin.tags,
        is_edge=identity.settings.iot_edge,
        configurations=tuple(twin.configurations),
    )


def revealed(patch: Mapping[str, Any]) -> dict[str, Any]:
    """The patch as it goes over the wire: secrets revealed, nulls kept."""
    return {
        key: value.reveal()
        if isinstance(value, Secret)
        else revealed(value)
        if isinstance(value, Mapping)
        else value
        for key, value in patch.items()
    }
