"""Request bodies of api-version 2025-11-01. Unknown fields and wrong types are errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from local_azure.container_registry.exceptions import InvalidRequestContent
from local_azure.container_registry.passwords import PasswordName
from local_azure.container_registry.resources import (
    AuditLogStatus,
    ConnectedRegistryChanges,
    GarbageCollection,
    LogLevel,
    Mode,
    TokenStatus,
)


class Body(BaseModel):
    """What every object in a body has in common: camel case, nothing unknown, no conversions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
    )


class ScopeMapProperties(Body):
    """Of a scope map."""

    actions: list[str]
    description: str | None = None


class ScopeMapBody(Body):
    """PUT of a scope map."""

    properties: ScopeMapProperties


class ScopeMapUpdateProperties(Body):
    """What can be updated of a scope map."""

    actions: list[str] | None = None
    description: str | None = None


class ScopeMapUpdateBody(Body):
    """PATCH of a scope map."""

    properties: ScopeMapUpdateProperties = ScopeMapUpdateProperties()


class PasswordEntry(Body):
    """A password to keep, by its name; its other properties cannot be changed."""

    name: PasswordName
    creation_time: AwareDatetime | None = None
    expiry: AwareDatetime | None = None


class TokenCredentials(Body):
    """Passwords to keep. Certificates are not served here."""

    passwords: list[PasswordEntry] | None = None
    certificates: Annotated[list[Any], Field(max_length=0)] | None = None

    def names(self) -> list[PasswordName] | None:
        """The names of the passwords to keep, or None when nothing is said about them."""
        return None if self.passwords is None else [entry.name for entry in self.passwords]


class TokenProperties(Body):
    """Of a token."""

    scope_map_id: str
    status: TokenStatus = "enabled"
    credentials: TokenCredentials | None = None


class TokenBody(Body):
    """PUT of a token."""

    properties: TokenProperties


class TokenUpdateProperties(Body):
    """What can be updated of a token."""

    scope_map_id: str | None = None
    status: TokenStatus | None = None
    credentials: TokenCredentials | None = None


class TokenUpdateBody(Body):
    """PATCH of a token."""

    properties: TokenUpdateProperties = TokenUpdateProperties()


class GenerateCredentialsBody(Body):
    """POST of generateCredentials. Without a name both passwords are generated."""

    token_id: str
    name: PasswordName | None = None
    expiry: AwareDatetime | None = None


class SyncUpdateProperties(Body):
    """When a connected registry talks to its parent."""

    schedule: str | None = None
    sync_window: timedelta | None = None
    message_ttl: timedelta | None = None


class SyncProperties(SyncUpdateProperties):
    """The same with what is settled at creation."""

    token_id: str
    message_ttl: timedelta


class ParentProperties(Body):
    """The parent is the cloud registry; connected registries below others are not served here."""

    id: None = None
    sync_properties: SyncProperties


class LoggingProperties(Body):
    """What a connected registry logs."""

    log_level: LogLevel | None = None
    audit_log_status: AuditLogStatus | None = None


class GarbageCollectionProperties(Body):
    """When a connected registry removes what nothing refers to."""

    enabled: bool | None = None
    schedule: str | None = None

    def value(self) -> GarbageCollection:
        """The same in the model's words."""
        return GarbageCollection(enabled=self.enabled, schedule=self.schedule)


class ConnectedRegistryCommonProperties(Body):
    """What is given at creation and can be updated."""

    logging: LoggingProperties = LoggingProperties()
    client_token_ids: list[str] | None = None
    notifications_list: list[str] | None = None
    garbage_collection: GarbageCollectionProperties | None = None

    def changes_with(self, sync: SyncUpdateProperties) -> ConnectedRegistryChanges:
        """The same in the model's words; `sync` stands elsewhere at creation than later."""
        collection = self.garbage_collection
        return ConnectedRegistryChanges(
            schedule=sync.schedule,
            sync_window=sync.sync_window,
            message_ttl=sync.message_ttl,
            client_token_ids=_as_tuple(self.client_token_ids),
            log_level=self.logging.log_level,
            audit_log_status=self.logging.audit_log_status,
            notifications=_as_tuple(self.notifications_list),
            garbage_collection=None if collection is None else collection.value(),
        )


class ConnectedRegistryProperties(ConnectedRegistryCommonProperties):
    """Of a connected registry."""

    mode: Mode
    parent: ParentProperties


class ConnectedRegistryBody(Body):
    """PUT of a connected registry."""

    properties: ConnectedRegistryProperties


class ConnectedRegistryUpdateProperties(ConnectedRegistryCommonProperties):
    """What can be updated of a connected registry."""

    sync_properties: SyncUpdateProperties = SyncUpdateProperties()


class ConnectedRegistryUpdateBody(Body):
    """PATCH of a connected registry."""

    properties: ConnectedRegistryUpdateProperties = ConnectedRegistryUpdateProperties()


def parse[B: Body](kind: type[B], content: bytes) -> B:
    """The body as `kind`. Raises InvalidRequestContent naming every field that is wrong."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in each['loc']) or 'body'}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        )
        raise InvalidRequestContent(
            f"The request content was invalid and could not be deserialized: '{wrong}'."
        ) from None


def _as_tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
