"""Converts resources of Azure Resource Manager into firstpull's values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps

from azure.core.exceptions import DeserializationError
from azure.mgmt.containerregistry.models import (
    ConnectedRegistry as ConnectedRegistryResource,
)
from azure.mgmt.containerregistry.models import (
    ConnectionState,
    GenerateCredentialsResult,
    TokenCredentialsProperties,
    TokenPassword,
)
from azure.mgmt.containerregistry.models import ScopeMap as ScopeMapResource
from azure.mgmt.containerregistry.models import Token as TokenResource

from firstpull.model.azure_resources import (
    ConnectedRegistry,
    NewPassword,
    Password,
    ScopeMap,
    ScopeMapId,
    Slot,
    Token,
    TokenId,
)
from firstpull.model.errors import Transient
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret

SERVICE = "The container registry"


def _from_answer[**P, T](convert: Callable[P, T]) -> Callable[P, T]:
    """Let a conversion raise Transient where a field is not of its kind."""

    @wraps(convert)
    def converted(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return convert(*args, **kwargs)
        except (AttributeError, DeserializationError, TypeError, ValueError):
            raise Transient(
                Reason.SERVICE_UNAVAILABLE, f"{SERVICE} answered with an unreadable field."
            ) from None

    return converted


@_from_answer
def scope_map_from(resource: ScopeMapResource) -> ScopeMap:
    """A scope map."""
    properties = given(resource.properties)
    return ScopeMap(
        name=given(resource.name),
        actions=frozenset(properties.actions),
        active=properties.provisioning_state == "Succeeded",
    )


@_from_answer
def is_being_deleted(scope_map: ScopeMapResource) -> bool:
    """Whether nothing may rely on a scope map any more."""
    return given(scope_map.properties).provisioning_state == "Deleting"


@_from_answer
def token_from(resource: TokenResource) -> Token:
    """A token; its passwords have no values."""
    properties = given(resource.properties)
    credentials = properties.credentials
    return Token(
        id=TokenId(given(resource.id)),
        name=given(resource.name),
        scope_map_id=ScopeMapId(properties.scope_map_id or ""),
        enabled=properties.status == "enabled",
        active=properties.provisioning_state == "Succeeded",
        passwords=tuple(_passwords(credentials)) if credentials else (),
        is_being_deleted=properties.provisioning_state == "Deleting",
    )


@_from_answer
def connected_registry_from(resource: ConnectedRegistryResource) -> ConnectedRegistry:
    """A connected registry. An answer has no list of clients if the list is empty.

    One that syncs by a managed identity has no `tokenId`, and may have no `syncProperties`.
    """
    properties = given(resource.properties)
    sync = properties.parent.sync_properties if properties.parent else None
    state = properties.connection_state
    return ConnectedRegistry(
        name=given(resource.name),
        client_token_ids=tuple(TokenId(i) for i in properties.client_token_ids or ()),
        sync_token_id=TokenId(sync.token_id) if sync and sync.token_id else None,
        login_server=(properties.login_server.host if properties.login_server else None) or None,
        last_sync_at=_in_utc(sync.last_sync_time) if sync else None,
        connection_state=state.value if isinstance(state, ConnectionState) else state,
    )


@_from_answer
def new_password_from(answer: GenerateCredentialsResult, slot: Slot, *, token: str) -> NewPassword:
    """The password of a slot in an answer, which lists both slots in any order.

    Raises Transient for an answer about another token.
    """
    if given(answer.username).lower() != token.lower():
        raise Transient(
            Reason.SERVICE_UNAVAILABLE, f"{SERVICE} answered with the password of another token."
        )
    for password in answer.passwords or ():
        if password.name == slot.value and password.value:
            return _with_value(password, slot)
    raise Transient(
        Reason.SERVICE_UNAVAILABLE, f"{SERVICE} answered without the requested password."
    )


def given[T](value: T | None) -> T:
    """A field that the service always sends. Raises Transient if it is missing."""
    if value is None:
        raise Transient(Reason.SERVICE_UNAVAILABLE, f"{SERVICE} answered without a required field.")
    return value


def _in_utc(at: datetime | str | None) -> datetime | None:
    """A time of an answer; one without a zone is UTC, as all times of the service are.

    Raises Transient for a text that is no time, which the SDK leaves as it is.
    """
    if isinstance(at, str):
        raise Transient(Reason.SERVICE_UNAVAILABLE, f"{SERVICE} answered with an unreadable time.")
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def _passwords(credentials: TokenCredentialsProperties) -> list[Password]:
    return [
        Password(
            slot=slot,
            created_at=given(_in_utc(password.creation_time)),
            expires_at=_in_utc(password.expiry),
        )
        for slot in Slot
        for password in credentials.passwords or ()
        if password.name == slot.value
    ]


def _with_value(password: TokenPassword, slot: Slot) -> NewPassword:
    return NewPassword(
        slot=slot,
        created_at=given(_in_utc(password.creation_time)),
        expires_at=_in_utc(password.expiry),
        value=Secret(given(password.value)),
    )
