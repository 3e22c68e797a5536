"""Implements the port `ContainerRegistries` with the management SDK.

Writes are asynchronous: Azure answers 201 or 202 and asks to come back in ten seconds. A deadline
bounds the submission alone, because only a write that comes late does harm. Then the adapter reads
the resource, soon at first, and never the operation: that may lie outside the registry, where
firstpull has no role. What takes longer raises InProgress, and the next pass finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.pipeline import PipelineResponse
from azure.core.polling import AsyncLROPoller
from azure.mgmt.containerregistry.models import (
    ConnectedRegistryUpdateParameters,
    ConnectedRegistryUpdateProperties,
    GenerateCredentialsParameters,
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

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.container_registry.changes import SoonPolling, until
from firstpull.adapters.container_registry.clients import ClientFactory, Clients, Paces
from firstpull.adapters.container_registry.resources import (
    SERVICE,
    connected_registry_from,
    given,
    is_being_deleted,
    new_password_from,
    scope_map_from,
    token_from,
)
from firstpull.adapters.timeouts import Sleep
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    NewPassword,
    RegistryId,
    ScopeMap,
    ScopeMapId,
    Slot,
    Token,
    TokenId,
)
from firstpull.model.errors import Blocked
from firstpull.model.pace import Pace
from firstpull.model.reasons import Reason

_LIST_DEADLINE = 240.0
"""Seconds for all pages of a list: 2,500 tokens are 128 pages of 20."""
_PASSWORD_DEADLINE = 30.0
"""Seconds for the operation that makes a password: operations take up to eleven."""
_WRITES_OF_DEVICE = 2.2
"""A token, a password, and a share of the list."""
_READS_OF_LOOK = 4.0
"""The token and the connected registry, with what it syncs."""
_REFUSALS = (400, 409)
"""No document says how Azure refuses to delete a token in use, so the adapter reads the lists."""


class ContainerRegistryAdapter:
    """Implements `ContainerRegistries`, which has the contract of each method."""

    def __init__(
        self,
        create_client: ClientFactory,
        *,
        paces: Paces | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._clients = Clients(create_client)
        self._paces = paces or Paces()
        self._until = partial(until, sleep=sleep)
        self._sync_maps: dict[TokenId, str] = {}
        """The names of the scope maps that sync tokens had."""

    async def admit(self, registry: RegistryId) -> None:
        """Return when one more device may be begun with."""
        await self._pace(registry, "writes").admit(_WRITES_OF_DEVICE)

    def has_room(self, registry: RegistryId) -> bool:
        """Whether a device may be looked at that nobody waits for."""
        return self._pace(registry, "reads").has_room(_READS_OF_LOOK)

    def is_short_of_writes(self, registry: RegistryId) -> bool:
        """Whether the next devices wait at the door."""
        return self._pace(registry, "writes").is_short

    async def get_scope_map(self, registry: RegistryId, name: str) -> ScopeMap | None:
        """The scope map, None where there is none."""
        client, group, account = self._clients.of(registry)
        async with azure_errors(SERVICE):
            try:
                found = await client.scope_maps.get(group, account, name)
            except ResourceNotFoundError:
                return None
        return None if is_being_deleted(found) else scope_map_from(found)

    async def put_scope_map(
        self, registry: RegistryId, name: str, *, actions: frozenset[str], deadline_seconds: float
    ) -> None:
        """Create the scope map, or set its actions."""
        client, group, account = self._clients.of(registry)
        wanted = ScopeMapResource(
            properties=ScopeMapProperties(
                actions=sorted(actions), description="Made by firstpull, shared by its tokens."
            )
        )
        async with azure_errors(SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.scope_maps.begin_create(
                group, account, name, wanted, polling=False
            )
            written = scope_map_from(await poller.result())
        if not written.active:
            await self._until(
                lambda: self._is_scope_map_active(registry, name), f"the scope map {name}"
            )

    async def delete_scope_map(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Delete a scope map, which may take some seconds. A missing scope map is no error."""
        client, group, account = self._clients.of(registry)
        async with azure_errors(SERVICE, deadline_seconds=deadline_seconds):
            with suppress(ResourceNotFoundError):
                await client.scope_maps.begin_delete(group, account, name, polling=False)

    async def list_scope_maps(self, registry: RegistryId) -> tuple[ScopeMap, ...]:
        """All scope maps of the container registry, the service's own included."""
        client, group, account = self._clients.of(registry)
        async with azure_errors(SERVICE, deadline_seconds=_LIST_DEADLINE):
            listed = client.scope_maps.list(group, account)
            return tuple([scope_map_from(resource) async for resource in listed])

    async def get_token(self, registry: RegistryId, name: str) -> Token | None:
        """The token, None where there is none."""
        client, group, account = self._clients.of(registry)
        async with azure_errors(SERVICE):
            try:
                return token_from(await client.tokens.get(group, account, name))
            except ResourceNotFoundError:
                return None

    async def create_token(
        self,
        registry: RegistryId,
        name: str,
        *,
        scope_map: ScopeMapId,
        deadline_seconds: float,
        on_look: Callable[[int], None] = lambda _: None,
    ) -> Token:
        """Create an enabled token without a password, and wait until it is active."""
        client, group, account = self._clients.of(registry)
        wanted = TokenResource(
            properties=TokenProperties(scope_map_id=str(scope_map), status="enabled")
        )
        async with azure_errors(SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.tokens.begin_create(group, account, name, wanted, polling=False)
            token = token_from(await poller.result())
        _check_status(token, enabled=True)
        if not token.active:
            token = await self._active_token(registry, name, on_look)
            _check_status(token, enabled=True)
        return token

    async def update_token(
        self, registry: RegistryId, name: str, *, scope_map: ScopeMapId, deadline_seconds: float
    ) -> None:
        """Enable a token and set its scope map; its passwords stay."""
        change = TokenUpdateProperties(scope_map_id=str(scope_map), status="enabled")
        await self._update_token(
            registry, name, change, enabled=True, deadline_seconds=deadline_seconds
        )

    async def keep_passwords(
        self, registry: RegistryId, token: str, *, slots: Collection[Slot], deadline_seconds: float
    ) -> None:
        """Remove a token's passwords except those in these slots."""
        kept = [TokenPassword(name=slot.value) for slot in Slot if slot in slots]
        change = TokenUpdateProperties(credentials=TokenCredentialsProperties(passwords=kept))
        await self._update_token(registry, token, change, deadline_seconds=deadline_seconds)

    async def disable_token(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Disable a token. A missing token is no error."""
        change = TokenUpdateProperties(status="disabled")
        await self._update_token(
            registry, name, change, enabled=False, deadline_seconds=deadline_seconds
        )

    async def delete_token(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Delete a token. Raises Blocked while a list has it. A missing token is no error."""
        client, group, account = self._clients.of(registry)
        async with azure_errors(SERVICE, deadline_seconds=deadline_seconds):
            try:
                poller: AsyncLROPoller[Any] = await client.tokens.begin_delete(
                    group, account, name, polling=False, cls=_status
                )
                status = await poller.result()
            except ResourceNotFoundError:
                return
            except HttpResponseError as error:
                users = await self._users(registry, name) if error.status_code in _REFUSALS else ""
                if users:
                    raise Blocked(
                        Reason.TOKEN_IN_USE,
                        f"The token {name} is used by {users}.",
                        remedy="Take the token off that list, by az acr connected-registry update "
                        "--remove-client-tokens; firstpull then deletes it by itself.",
                    ) from None
                raise
        if status == HTTPStatus.ACCEPTED:
            await self._until(lambda: self._is_token_gone(registry, name), f"the token {name}")

    async def list_tokens(self, registry: RegistryId) -> tuple[Token, ...]:
        """All tokens of the container registry, foreign ones included."""
        client, group, account = self._clients.of(registry)
        async with azure_errors(SERVICE, deadline_seconds=_LIST_DEADLINE):
            listed = client.tokens.list(group, account)
            return tuple([token_from(resource) async for resource in listed])

    async def generate_password(
        self,
        registry: RegistryId,
        token: str,
        *,
        slot: Slot,
        expires_at: datetime,
        deadline_seconds: float,
    ) -> NewPassword:
        """A new password in this slot only: without a name, Azure would replace both."""
        client, group, account = self._clients.of(registry)
        asked = GenerateCredentialsParameters(
            token_id=str(registry.token(token)), name=slot.value, expiry=expires_at
        )
        async with azure_errors(SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.registries.begin_generate_credentials(
                group, account, asked, polling=SoonPolling()
            )
        # Nothing but the answer has the value, so that an operation has to be waited for.
        async with azure_errors(SERVICE, deadline_seconds=_PASSWORD_DEADLINE):
            answer = await poller.result()
        return new_password_from(answer, slot, token=token)

    async def get_connected_registry(self, ref: ConnectedRegistryRef) -> ConnectedRegistry | None:
        """The connected registry, None where there is none."""
        client, group, account = self._clients.of(ref.registry)
        name = ref.name
        async with azure_errors(SERVICE):
            try:
                found = await client.connected_registries.get(group, account, name)
            except ResourceNotFoundError:
                return None
        return connected_registry_from(found)

    async def list_connected_registries(
        self, registry: RegistryId
    ) -> tuple[ConnectedRegistry, ...]:
        """All connected registries of the container registry."""
        client, group, account = self._clients.of(registry)
        async with azure_errors(SERVICE, deadline_seconds=_LIST_DEADLINE):
            listed = client.connected_registries.list(group, account)
            return tuple([connected_registry_from(resource) async for resource in listed])

    async def replace_client_tokens(
        self, ref: ConnectedRegistryRef, token_ids: tuple[TokenId, ...], *, deadline_seconds: float
    ) -> ConnectedRegistry:
        """Set the whole list of clients; the request has no other property."""
        client, group, account = self._clients.of(ref.registry)
        change = ConnectedRegistryUpdateParameters(
            properties=ConnectedRegistryUpdateProperties(
                client_token_ids=[str(token_id) for token_id in token_ids]
            )
        )
        async with azure_errors(SERVICE, deadline_seconds=deadline_seconds):
            poller = await client.connected_registries.begin_update(
                group, account, ref.name, change, polling=False
            )
            return connected_registry_from(given(await poller.result()))

    async def synced_actions(self, registry: RegistryId, sync_token_id: TokenId) -> frozenset[str]:
        """The scope actions of a sync token, which its connected registry syncs.

        Its scope map is read beside it, by the name that it had last, or that az gives it: its own.
        """
        guess = self._sync_maps.get(sync_token_id, sync_token_id.name)
        token, scope_map = await asyncio.gather(
            self.get_token(registry, sync_token_id.name), self.get_scope_map(registry, guess)
        )
        if token is None:
            return frozenset()
        name = self._sync_maps[sync_token_id] = token.scope_map_id.name
        if name.casefold() != guess.casefold():
            scope_map = await self.get_scope_map(registry, name)
        actions = scope_map.actions if scope_map is not None else ()
        return frozenset(action for action in actions if action.startswith("repositories/"))

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    def _pace(self, registry: RegistryId, kind: str) -> Pace:
        subscription = str(parse_resource_id(str(registry))["subscription"])
        return self._paces.of(subscription, kind)

    async def _active_token(
        self, registry: RegistryId, name: str, on_look: Callable[[int], None] = lambda _: None
    ) -> Token:
        """A changed token when it is active."""
        looks = count()

        async def active() -> Token | None:
            on_look(next(looks))
            token = await self.get_token(registry, name)
            return token if token is not None and token.active else None

        return await self._until(active, f"the token {name}")

    async def _update_token(
        self,
        registry: RegistryId,
        name: str,
        change: TokenUpdateProperties,
        *,
        enabled: bool | None = None,
        deadline_seconds: float,
    ) -> None:
        """Change a token. `enabled` is what it has to be then; a disabled one may be missing."""
        client, group, account = self._clients.of(registry)
        body = TokenUpdateParameters(properties=change)
        async with azure_errors(SERVICE, deadline_seconds=deadline_seconds):
            try:
                poller = await client.tokens.begin_update(group, account, name, body, polling=False)
                token = token_from(await poller.result())
            except ResourceNotFoundError:
                if enabled is False:
                    return
                raise
        _check_status(token, enabled=enabled)
        if not token.active:
            _check_status(await self._active_token(registry, name), enabled=enabled)

    async def _is_token_gone(self, registry: RegistryId, name: str) -> bool:
        return await self.get_token(registry, name) is None

    async def _is_scope_map_active(self, registry: RegistryId, name: str) -> bool:
        scope_map = await self.get_scope_map(registry, name)
        return scope_map is not None and scope_map.active

    async def _users(self, registry: RegistryId, token: str) -> str:
        """The names of the connected registries that list a token or sync with it."""
        token_id = registry.token(token)
        found = await self.list_connected_registries(registry)
        return ", ".join(
            connected.name
            for connected in found
            if connected.lists(token_id) or connected.sync_token_id == token_id
        )


def _status(response: PipelineResponse[Any, Any], _body: None, _headers: Any) -> int:  # noqa: ANN401 - the SDK's
    """The status of an answer, which the SDK does not return."""
    status: int = response.http_response.status_code
    return status


def _check_status(token: Token, *, enabled: bool | None) -> None:
    """Raises Blocked for an answer with another status than was asked for, if one was."""
    if enabled is not None and token.enabled != enabled:
        was, wanted = ("enabled", "disabled") if token.enabled else ("disabled", "enabled")
        raise Blocked(
            Reason.REFUSED_BY_POLICY,
            f"The service left the token {token.name} {was}, which was to be {wanted}.",
            remedy="An Azure Policy changes tokens: exempt this container registry from it. "
            "firstpull tries again by itself.",
        )
