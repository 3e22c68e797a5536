"""The JSON documents of the HTTPS API, as requests and as answers."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError
from pydantic.alias_generators import to_camel

from local_azure.iot_hub.exceptions import ARGUMENT_INVALID, IOT_HUB_FORMAT_ERROR, IotHubError
from local_azure.iot_hub.identities import (
    Authentication,
    AuthenticationType,
    DeviceSettings,
    DeviceStatus,
    Identity,
    Module,
)
from local_azure.iot_hub.twins import JsonObject, Section, Twin, TwinPatch, hub_time
from local_azure.kernel.service import describe


def parse_object(body: bytes) -> JsonObject:
    """A JSON object. Raises IotHubError 400 for anything else, NaN and Infinity included."""
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise IotHubError(IOT_HUB_FORMAT_ERROR, "The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise IotHubError(IOT_HUB_FORMAT_ERROR, "The body is not a JSON object.")
    return value


def device_settings(
    body: bytes, *, device_id: str, current_scope: str | None = None
) -> DeviceSettings:
    """The settings in a PUT of `/devices/{device_id}`. Raises IotHubError 400.

    `current_scope` is the device's own scope, which a client that has read the identity sends back.
    Parents and children of Edge devices are refused.
    """
    document = _parse(_DeviceDocument, body)
    _check_same_device(document.device_id, device_id)
    if document.device_scope not in (None, "", current_scope) or document.parent_scopes:
        raise IotHubError(ARGUMENT_INVALID, "Parent and child devices are not supported.")
    return DeviceSettings(
        device_id=device_id,
        authentication=_authentication(document.authentication or _AuthenticationDocument()),
        status=document.status,
        status_reason=document.status_reason,
        iot_edge=document.capabilities is not None and document.capabilities.iot_edge,
    )


def module_settings(body: bytes, *, device_id: str, module_id: str) -> Authentication:
    """How the module in a PUT of its identity authenticates. Raises IotHubError 400."""
    document = _parse(_ModuleDocument, body)
    if (document.device_id, document.module_id) != (device_id, module_id):
        raise IotHubError(ARGUMENT_INVALID, "The body names another module than the path.")
    return _authentication(document.authentication or _AuthenticationDocument())


def twin_patch(body: bytes, *, device_id: str, module_id: str | None = None) -> TwinPatch:
    """The change in a PATCH of a twin. Raises IotHubError 400.

    Fields that only the hub or the device writes are ignored, because a client that has read the
    twin sends them back.
    """
    document = _parse(_TwinDocument, body)
    if document.device_id is not None:
        _check_same_device(document.device_id, device_id)
    if document.module_id not in (None, module_id):
        raise IotHubError(ARGUMENT_INVALID, "moduleId in the body is not the one in the path.")
    desired = document.properties.desired if document.properties is not None else None
    if desired is not None:
        desired = {k: v for k, v in desired.items() if k not in {"$metadata", "$version"}}
    return TwinPatch(tags=document.tags, desired=desired)


def query_text(body: bytes) -> str:
    """The query in a POST of `/devices/query`. Raises IotHubError 400."""
    return _parse(_QueryDocument, body).query


def identity_document(identity: Identity) -> JsonObject:
    """An identity with its keys."""
    settings = identity.settings
    return {
        "deviceId": identity.device_id,
        "generationId": identity.generation_id,
        "etag": identity.etag,
        "connectionState": _connection_state(identity),
        "status": settings.status,
        "statusReason": settings.status_reason,
        "connectionStateUpdatedTime": hub_time(identity.connection_updated_at),
        "statusUpdatedTime": hub_time(identity.status_updated_at),
        "lastActivityTime": hub_time(identity.last_activity_at),
        "cloudToDeviceMessageCount": 0,
        "authentication": _authentication_document(settings.authentication),
        "capabilities": {"iotEdge": settings.iot_edge},
        **_scope(identity),
    }


def twin_document(identity: Identity, twin: Twin) -> JsonObject:
    """A twin as the service side reads it, without what is not set.

    The local hub knows no model, so that no twin has a modelId.
    """
    settings = identity.settings
    return {
        "deviceId": identity.device_id,
        "etag": twin.etag,
        "deviceEtag": identity.etag,
        "status": settings.status,
        **({"statusReason": settings.status_reason} if settings.status_reason else {}),
        "statusUpdateTime": hub_time(identity.status_updated_at),
        "connectionState": _connection_state(identity),
        "lastActivityTime": hub_time(identity.last_activity_at),
        "cloudToDeviceMessageCount": 0,
        "authenticationType": settings.authentication.type,
        "x509Thumbprint": _thumbprints(settings.authentication),
        "version": twin.version,
        **({"tags": twin.tags} if twin.tags else {}),
        "properties": {
            "desired": section_document(twin.desired),
            "reported": section_document(twin.reported),
        },
        "capabilities": {"iotEdge": settings.iot_edge},
        **_scope(identity),
    }


def module_document(identity: Identity, module: Module) -> JsonObject:
    """A module's identity with its keys."""
    return {
        "moduleId": module.module_id,
        "managedBy": module.managed_by,
        "deviceId": identity.device_id,
        "generationId": module.generation_id,
        "etag": module.etag,
        "connectionState": "Connected" if module.connected else "Disconnected",
        "connectionStateUpdatedTime": hub_time(None),
        "lastActivityTime": hub_time(None),
        "cloudToDeviceMessageCount": 0,
        "authentication": _authentication_document(module.authentication),
    }


def module_twin_document(identity: Identity, module: Module, twin: Twin) -> JsonObject:
    """The twin of a module as the service side reads it."""
    return {
        "deviceId": identity.device_id,
        "moduleId": module.module_id,
        "etag": twin.etag,
        "deviceEtag": module.etag,
        "status": DeviceStatus.ENABLED,
        "statusUpdateTime": hub_time(None),
        "connectionState": "Connected" if module.connected else "Disconnected",
        "lastActivityTime": hub_time(None),
        "cloudToDeviceMessageCount": 0,
        "authenticationType": module.authentication.type,
        "x509Thumbprint": _thumbprints(module.authentication),
        "version": twin.version,
        **({"tags": twin.tags} if twin.tags else {}),
        "properties": {
            "desired": section_document(twin.desired),
            "reported": section_document(twin.reported),
        },
        **(
            {"configurations": {name: {"status": "Applied"} for name in twin.configurations}}
            if twin.configurations
            else {}
        ),
    }


def device_view(twin: Twin) -> JsonObject:
    """A twin for the device, without tags and metadata."""
    return {
        "desired": {**twin.desired.values, "$version": twin.desired.version},
        "reported": {**twin.reported.values, "$version": twin.reported.version},
    }


class _Document(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", populate_by_name=False, hide_input_in_errors=True
    )


class _KeysDocument(_Document):
    primary_key: str | None = None
    secondary_key: str | None = None


class _ThumbprintsDocument(_Document):
    primary_thumbprint: str | None = None
    secondary_thumbprint: str | None = None


class _AuthenticationDocument(_Document):
    type: AuthenticationType | None = None
    symmetric_key: _KeysDocument | None = None
    x509_thumbprint: _ThumbprintsDocument | None = None


class _CapabilitiesDocument(_Document):
    iot_edge: StrictBool = False


class _ReadOnly(_Document):
    """Fields that the hub writes into identities and twins, and ignores when they come back."""

    etag: Any = None
    connection_state: Any = None
    last_activity_time: Any = None
    cloud_to_device_message_count: Any = None


class _DeviceDocument(_ReadOnly):
    device_id: str
    authentication: _AuthenticationDocument | None = None
    status: DeviceStatus = DeviceStatus.ENABLED
    status_reason: str | None = None
    capabilities: _CapabilitiesDocument | None = None
    device_scope: str | None = None
    parent_scopes: list[str] | None = None
    generation_id: Any = None
    connection_state_updated_time: Any = None
    status_updated_time: Any = None


class _ModuleDocument(_ReadOnly):
    device_id: str
    module_id: str
    managed_by: Any = None
    authentication: _AuthenticationDocument | None = None
    generation_id: Any = None
    connection_state_updated_time: Any = None


class _PropertiesDocument(_Document):
    desired: dict[str, Any] | None = None
    reported: Any = None


class _TwinDocument(_ReadOnly):
    device_id: str | None = None
    module_id: str | None = None
    configurations: Any = None
    tags: dict[str, Any] | None = None
    properties: _PropertiesDocument | None = None
    device_etag: Any = None
    version: Any = None
    status: Any = None
    status_reason: Any = None
    status_update_time: Any = None
    authentication_type: Any = None
    x509_thumbprint: Any = None
    model_id: Any = None
    capabilities: Any = None
    device_scope: Any = None
    parent_scopes: Any = None


class _QueryDocument(_Document):
    query: str


def _parse[D: _Document](model: type[D], body: bytes) -> D:
    try:
        return model.model_validate(parse_object(body))
    except ValidationError as error:
        raise IotHubError(ARGUMENT_INVALID, describe(error)) from None


def _authentication(document: _AuthenticationDocument) -> Authentication:
    keys = document.symmetric_key or _KeysDocument()
    thumbprints = document.x509_thumbprint or _ThumbprintsDocument()
    kind = document.type
    if kind is None:
        shown = thumbprints.primary_thumbprint or thumbprints.secondary_thumbprint
        kind = AuthenticationType.SELF_SIGNED if shown else AuthenticationType.SAS
    return Authentication(
        type=kind,
        primary_key=keys.primary_key,
        secondary_key=keys.secondary_key,
        primary_thumbprint=thumbprints.primary_thumbprint,
        secondary_thumbprint=thumbprints.secondary_thumbprint,
    )


def _check_same_device(named: str, device_id: str) -> None:
    if named != device_id:
        raise IotHubError(ARGUMENT_INVALID, "deviceId in the body is not the one in the path.")


def section_document(section: Section) -> JsonObject:
    """Desired or reported properties with metadata and version."""
    return {**section.values, "$metadata": section.metadata, "$version": section.version}


def _connection_state(identity: Identity) -> str:
    return "Connected" if identity.connected else "Disconnected"


def _authentication_document(authentication: Authentication) -> JsonObject:
    return {
        "symmetricKey": {
            "primaryKey": authentication.primary_key,
            "secondaryKey": authentication.secondary_key,
        },
        "x509Thumbprint": _thumbprints(authentication),
        "type": authentication.type,
    }


def _thumbprints(authentication: Authentication) -> JsonObject:
    return {
        "primaryThumbprint": authentication.primary_thumbprint,
        "secondaryThumbprint": authentication.secondary_thumbprint,
    }


def _scope(identity: Identity) -> JsonObject:
    return {"deviceScope": identity.device_scope} if identity.device_scope else {}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
