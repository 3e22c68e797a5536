"""Scope maps, tokens and connected registries, by Azure Resource Manager."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    ConnectedRegistry as ConnectedRegistryResource,
)
from azure.mgmt.containerregistry.models import (
    ConnectedRegistryUpdateParameters,
    ConnectedRegistryUpdateProperties,
    GenerateCredentialsParameters,
    GenerateCredentialsResult,
    ScopeMapProperties,
    TokenCredentialsProperties,
    TokenPassword,
    TokenProperties,
    TokenUpdateParameters,
    TokenUpdateProperties,
)
from azure.mgmt.containerregistry.models import ScopeMap as ScopeMapResource
from azure.mgmt.containerregistry.models import Token as TokenResource
from azure.mgmt.core.tools import parse_resource_id

from firstpull.adapters.azure_errors import READ_DEADLINE, azure_errors
from firstpull.cloud import (
    ConnectedRegistry,
    NewPassword,
    Password,
    Place,
    RegistryId,
    ScopeMap,
    Slot,
    Token,
    TokenId,
    name_of,
)
from firstpull.errors import Transient
from firstpull.reasons import Reason
from firstpull.secret import Secret

_SERVICE = "The container registry"
_POLL_SECONDS = 0.5
"""Between looks at an operation; the SDK's own 30 s is longer than a token takes."""
_ACTIVATION_DEADLINE = 30.0
"""Seconds for a new token to become active; about five on Azure."""

ClientFactory = Callable[[str], ContainerRegistryManagementClient]


def client_factory(
    credential: AsyncTokenCredential, *, endpoint: str, audience: str
) -> ClientFactory:
    """Makes the client of a subscription.

    It sends nothing twice: azure-core would repeat a write after its lease has gone. Trying
    again is the record's business.
    """

    def create(subscription: str) -> ContainerRegistryManagementClient:
        return ContainerRegistryManagementClient(
            credential,
            subscription,
            base_url=endpoint,
            credential_scopes=[f"{audience}/.default"],
            polling_interval=_POLL_SECONDS,
            retry_total=0,
        )

    return create


class ContainerRegistryAdapter:
    """The port `ContainerRegistries`."""

    def __init__(self, create_client: ClientFactory) -> None:
        self._create_client = create_client
        self._clients: dict[str, ContainerRegistryManagementClient] = {}

    def token_id(self, registry: RegistryId, name: str) -> TokenId:
        """The ARM id of a token, existing or not."""
        return TokenId(f"{registry}/tokens/{name}")

    def scope_map_id(self, registry: RegistryId, name: str) -> str:
        """The ARM id of a scope map, existing or not."""
        return f"{registry}/scopeMaps/{name}"

    async def get_scope_map(self, registry: RegistryId, name: str) -> ScopeMap | None:
        """The scope map, None where there is none."""
        client, group, account = self._path(registry)
        async with _reading():
            try:
                found = await client.scope_maps.get(group, account, name)
            except ResourceNotFoundError:
                return None
        return ScopeMap(name=name, actions=frozenset(_given(found.properties).actions))

    async def put_scope_map(
        self, registry: RegistryId, name: str, *, actions: frozenset[str], deadline_seconds: float
    ) -> None:
        """Make the scope map, or set its actions."""
        client, group, account = self._path(registry)
        wanted = ScopeMapResource(
            properties=ScopeMapProperties(
                actions=sorted(actions), description="Made by firstpull, shared by its tokens."
            )
        )
        async with azure_errors(_SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.scope_maps.begin_create(group, account, name, wanted)
            await poller.result()

    async def get_token(self, registry: RegistryId, name: str) -> Token | None:
        """The token, None where there is none."""
        client, group, account = self._path(registry)
        async with _reading():
            try:
                return _token(await client.tokens.get(group, account, name))
            except ResourceNotFoundError:
                return None

    async def create_token(
        self, registry: RegistryId, name: str, *, scope_map: str, deadline_seconds: float
    ) -> Token:
        """Make an enabled token without a password and wait until it is active."""
        client, group, account = self._path(registry)
        wanted = TokenResource(
            properties=TokenProperties(
                scope_map_id=self.scope_map_id(registry, scope_map), status="enabled"
            )
        )
        async with azure_errors(_SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.tokens.begin_create(group, account, name, wanted)
        async with azure_errors(_SERVICE, deadline_seconds=_ACTIVATION_DEADLINE):
            token = _token(await poller.result())
        if not token.active:
            raise Transient(
                Reason.TOKEN_NOT_ACTIVE, "The new token is not active yet.", retry_after=1
            )
        return token

    async def update_token(
        self, registry: RegistryId, name: str, *, scope_map: str, deadline_seconds: float
    ) -> None:
        """Enable a token and point it at a scope map; its passwords stay."""
        change = TokenUpdateProperties(
            scope_map_id=self.scope_map_id(registry, scope_map), status="enabled"
        )
        await self._update_token(registry, name, change, deadline_seconds=deadline_seconds)

    async def remove_passwords(
        self, registry: RegistryId, token: str, *, deadline_seconds: float
    ) -> None:
        """Take all passwords from a token: the list is of those to keep."""
        change = TokenUpdateProperties(credentials=TokenCredentialsProperties(passwords=[]))
        await self._update_token(registry, token, change, deadline_seconds=deadline_seconds)

    async def generate_password(
        self,
        registry: RegistryId,
        token: str,
        *,
        slot: Slot,
        expires_at: datetime,
        deadline_seconds: float,
    ) -> NewPassword:
        """A new password in this one slot: without a name both would be made anew."""
        client, group, account = self._path(registry)
        asked = GenerateCredentialsParameters(
            token_id=self.token_id(registry, token), name=slot.value, expiry=expires_at
        )
        async with azure_errors(_SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.registries.begin_generate_credentials(group, account, asked)
            answer = await poller.result()
        return _new_password(answer, slot)

    async def get_connected_registry(self, place: Place) -> ConnectedRegistry | None:
        """The connected registry, None where there is none."""
        client, group, account = self._path(place.registry)
        async with _reading():
            try:
                found = await client.connected_registries.get(
                    group, account, place.connected_registry
                )
            except ResourceNotFoundError:
                return None
        return _connected_registry(found)

    async def replace_client_tokens(
        self, place: Place, token_ids: tuple[TokenId, ...], *, deadline_seconds: float
    ) -> ConnectedRegistry:
        """Set the whole list of clients; nothing else of the connected registry is sent."""
        client, group, account = self._path(place.registry)
        change = ConnectedRegistryUpdateParameters(
            properties=ConnectedRegistryUpdateProperties(client_token_ids=list(token_ids))
        )
        async with azure_errors(_SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.connected_registries.begin_update(
                group, account, place.connected_registry, change
            )
            return _connected_registry(await poller.result())

    async def synced_actions(self, registry: RegistryId, sync_token_id: str) -> frozenset[str]:
        """The scope actions of a sync token: what its connected registry syncs."""
        client, group, account = self._path(registry)
        async with _reading():
            try:
                token = await client.tokens.get(group, account, name_of(sync_token_id))
                scope_map_id = _given(token.properties).scope_map_id or ""
                found = await client.scope_maps.get(group, account, name_of(scope_map_id))
            except ResourceNotFoundError:
                return frozenset()
        actions = _given(found.properties).actions
        return frozenset(action for action in actions if action.startswith("repositories/"))

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()

    async def _update_token(
        self,
        registry: RegistryId,
        name: str,
        change: TokenUpdateProperties,
        *,
        deadline_seconds: float,
    ) -> None:
        client, group, account = self._path(registry)
        body = TokenUpdateParameters(properties=change)
        async with azure_errors(_SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.tokens.begin_update(group, account, name, body)
            await poller.result()

    def _path(self, registry: RegistryId) -> tuple[ContainerRegistryManagementClient, str, str]:
        parts = {name: str(part) for name, part in parse_resource_id(registry).items()}
        subscription = parts["subscription"]
        if subscription not in self._clients:
            self._clients[subscription] = self._create_client(subscription)
        return self._clients[subscription], parts["resource_group"], parts["name"]


def _reading() -> AbstractAsyncContextManager[None]:
    return azure_errors(_SERVICE, deadline_seconds=READ_DEADLINE)


def _token(resource: TokenResource) -> Token:
    properties = _given(resource.properties)
    credentials = properties.credentials
    return Token(
        id=TokenId(_given(resource.id)),
        name=_given(resource.name),
        scope_map_id=properties.scope_map_id or "",
        enabled=properties.status == "enabled",
        active=properties.provisioning_state == "Succeeded",
        passwords=tuple(_passwords(credentials)) if credentials else (),
    )


def _passwords(credentials: TokenCredentialsProperties) -> list[Password]:
    return [
        Password(
            slot=slot,
            created_at=_given(password.creation_time),
            expires_at=password.expiry,
        )
        for slot in Slot
        for password in credentials.passwords or ()
        if password.name == slot.value
    ]


def _new_password(answer: GenerateCredentialsResult, slot: Slot) -> NewPassword:
    """The one that was asked for, by its name: the answer lists both and their order varies."""
    for password in answer.passwords or ():
        if password.name == slot.value and password.value:
            return _with_value(password, slot)
    raise Transient(
        Reason.SERVICE_UNAVAILABLE, f"{_SERVICE} answered without the password it was asked for."
    )


def _with_value(password: TokenPassword, slot: Slot) -> NewPassword:
    return NewPassword(
        slot=slot,
        created_at=_given(password.creation_time),
        expires_at=password.expiry,
        value=Secret(_given(password.value)),
    )


def _connected_registry(resource: ConnectedRegistryResource) -> ConnectedRegistry:
    properties = _given(resource.properties)
    sync = properties.parent.sync_properties
    return ConnectedRegistry(
        name=_given(resource.name),
        client_token_ids=tuple(TokenId(i) for i in properties.client_token_ids or ()),
        sync_token_id=sync.token_id,
        login_server=(properties.login_server.host if properties.login_server else None) or None,
        last_sync_at=sync.last_sync_time,
    )


def _given[T](value: T | None) -> T:
    """A field that the service always sends. Raises Transient when it did not."""
    if value is None:
        raise Transient(Reason.SERVICE_UNAVAILABLE, f"{_SERVICE} left out a field of its answer.")
    return value
