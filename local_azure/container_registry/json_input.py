"""Request bodies as values. Unknown fields, fields of a later api-version and wrong types fail.

The managed identities of connected registries, which the preview has, are refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from local_azure.container_registry.passwords import PasswordName
from local_azure.container_registry.resources import (
    AuditLogStatus,
    ConnectedRegistryChanges,
    LogLevel,
    Tier,
    TokenStatus,
)
from local_azure.container_registry.versions import PREVIEW, STABLE
from local_azure.kernel.service import describe
from local_azure.resource_manager.exceptions import InvalidRequestContent


def _not_before_preview(value: object, info: ValidationInfo) -> object:
    if info.context and info.context["api_version"] < PREVIEW:
        raise PydanticCustomError("extra_forbidden", "Extra inputs are not permitted")
    return value


def _spelled(value: object) -> object:
    return "ReadOnly" if isinstance(value, str) and value.lower() == "readonly" else value


_preview_only = AfterValidator(_not_before_preview)
_in_any_case = BeforeValidator(_spelled)  # azure-cli writes `readonly`


class Body(BaseModel):
    """The base of every object in a body: camel case, no unknown field, no conversion."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
    )


class SkuBody(Body):
    """A registry's tier."""

    name: Tier


class RegistryUpdateProperties(Body):
    """The properties of a registry that PATCH can change here."""

    data_endpoint_enabled: bool | None = None


class RegistryUpdateBody(Body):
    """PATCH of a registry. azure-cli sends empty tags and identities along."""

    sku: SkuBody | None = None
    properties: RegistryUpdateProperties = RegistryUpdateProperties()
    tags: dict[str, str] | None = None


class ScopeMapProperties(Body):
    """The properties of a scope map."""

    actions: list[str]
    description: str | None = None


class ScopeMapBody(Body):
    """PUT of a scope map."""

    properties: ScopeMapProperties


class ScopeMapUpdateProperties(Body):
    """The properties of a scope map that PATCH can change."""

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
    """Passwords to keep. Certificates are refused."""

    passwords: list[PasswordEntry] | None = None
    certificates: Annotated[list[Any], Field(max_length=0)] | None = None

    def names(self) -> list[PasswordName] | None:
        """The names of the passwords to keep, None where the body has no list."""
        return None if self.passwords is None else [entry.name for entry in self.passwords]


class TokenProperties(Body):
    """The properties of a token."""

    scope_map_id: str
    status: TokenStatus = "enabled"
    credentials: TokenCredentials | None = None


class TokenBody(Body):
    """PUT of a token."""

    properties: TokenProperties


class TokenUpdateProperties(Body):
    """The properties of a token that PATCH can change."""

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
    """When a connected registry syncs with its parent."""

    schedule: str | None = None
    sync_window: timedelta | None = None
    message_ttl: timedelta | None = None
    auth_type: Annotated[Literal["SyncToken"] | None, _preview_only] = None


class SyncProperties(SyncUpdateProperties):
    """The sync properties that PUT requires."""

    token_id: str
    message_ttl: timedelta


class ParentProperties(Body):
    """The parent, which is always the cloud registry: nested connected registries are refused."""

    id: None = None
    sync_properties: SyncProperties


class LoggingProperties(Body):
    """The logs of a connected registry."""

    log_level: LogLevel | None = None
    audit_log_status: AuditLogStatus | None = None


class GarbageCollectionProperties(Body):
    """The garbage collection of a connected registry."""

    enabled: Annotated[bool | None, Field(strict=False)] = None  # azure-cli writes `"true"`
    schedule: str | None = None


class ConnectedRegistryCommonProperties(Body):
    """The properties of a connected registry that both PUT and PATCH have."""

    logging: LoggingProperties = LoggingProperties()
    client_token_ids: list[str] | None = None
    notifications_list: list[str] | None = None
    garbage_collection: GarbageCollectionProperties = GarbageCollectionProperties()

    def changes_with(self, sync: SyncUpdateProperties) -> ConnectedRegistryChanges:
        """The changes for the model. PUT and PATCH have the sync properties at different paths."""
        return ConnectedRegistryChanges(
            schedule=sync.schedule,
            sync_window=sync.sync_window,
            message_ttl=sync.message_ttl,
            client_token_ids=_as_tuple(self.client_token_ids),
            log_level=self.logging.log_level,
            audit_log_status=self.logging.audit_log_status,
            notifications=_as_tuple(self.notifications_list),
            garbage_collection_enabled=self.garbage_collection.enabled,
            garbage_collection_schedule=self.garbage_collection.schedule,
        )


class ConnectedRegistryProperties(ConnectedRegistryCommonProperties):
    """The properties of a connected registry."""

    mode: Annotated[Literal["ReadOnly"], _in_any_case]
    parent: ParentProperties


class ConnectedRegistryBody(Body):
    """PUT of a connected registry."""

    properties: ConnectedRegistryProperties


class ConnectedRegistryUpdateProperties(ConnectedRegistryCommonProperties):
    """The properties of a connected registry that PATCH can change."""

    sync_properties: SyncUpdateProperties = SyncUpdateProperties()


class ConnectedRegistryUpdateBody(Body):
    """PATCH of a connected registry."""

    properties: ConnectedRegistryUpdateProperties = ConnectedRegistryUpdateProperties()


def parse[B: Body](kind: type[B], content: bytes, *, api_version: str = STABLE) -> B:
    """The body as `kind`. Raises InvalidRequestContent naming every field that is wrong."""
    try:
        return kind.model_validate_json(content, context={"api_version": api_version})
    except ValidationError as error:
        raise InvalidRequestContent(
            f"The request content was invalid and could not be deserialized: '{describe(error)}'."
        ) from None


def _as_tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
