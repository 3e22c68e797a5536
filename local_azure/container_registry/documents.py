"""Resources as Azure Resource Manager writes them."""

from __future__ import annotations

from datetime import datetime

from pydantic_core import to_jsonable_python

from local_azure.container_registry.models import Registry
from local_azure.container_registry.passwords import Password
from local_azure.container_registry.resource_ids import PROVIDER
from local_azure.container_registry.resources import (
    ConnectedRegistry,
    ConnectedRegistrySettings,
    GeneratedCredentials,
    LoginServer,
    ProblemCode,
    Provisioning,
    ScopeMap,
    StatusDetail,
    SystemData,
    Token,
)
from local_azure.container_registry.versions import PREVIEW
from local_azure.kernel.clock import wire_time
from local_azure.resource_manager.directory import LOCATION
from local_azure.resource_manager.links import Document

# Azure/acr, docs/preview/connected-registry/connected-registry-error-codes.md.
_PROBLEMS: dict[ProblemCode, str] = {
    "DISK_ERROR": "Files on the local disk could not be created, written or deleted.",
    "DISK_PERMISSION_DENIED": "There is no permission to write to the local disk.",
    "DISK_STORAGE_FULL": "There is no room left on the local disk.",
}


def registry_document(registry: Registry) -> Document:
    """A registry."""
    identity = registry.registry_id
    return {
        "type": f"{PROVIDER}/registries",
        "id": str(identity),
        "name": identity.name,
        "location": LOCATION,
        "tags": {},
        "systemData": _system_data(registry.system_data),
        "sku": {"name": registry.tier, "tier": registry.tier},
        "properties": {
            "loginServer": registry.login_server,
            "creationDate": wire_time(registry.system_data.at),
            "provisioningState": "Succeeded",
            "adminUserEnabled": False,
            "anonymousPullEnabled": False,
            "dataEndpointEnabled": registry.has_data_endpoint,
            "dataEndpointHostNames": [_data_endpoint(registry)]
            if registry.has_data_endpoint
            else [],
            "publicNetworkAccess": "Enabled",
        },
    }


def scope_map_document(
    registry: Registry, scope_map: ScopeMap, *, has_begun: bool = False
) -> Document:
    """A scope map; the provider's own have no systemData. `has_begun`: in a change's answer."""
    is_own = scope_map.kind == "SystemDefined"
    properties = {
        "description": scope_map.description,
        "type": scope_map.kind,
        "creationDate": wire_time(scope_map.creation_date),
        "provisioningState": _state(registry, scope_map.provisioning, has_begun=has_begun),
        "actions": list(scope_map.actions),
    }
    return _child(
        registry,
        "scopeMaps",
        scope_map.name,
        None if is_own else scope_map.system_data,
        _present(properties),
    )


def token_document(registry: Registry, token: Token, *, has_begun: bool = False) -> Document:
    """A token with the names and times of its passwords and never their values.

    `has_begun`: in a change's answer, which shows its progress however short it is.
    """
    properties = {
        "creationDate": wire_time(token.creation_date),
        "provisioningState": _state(registry, token.provisioning, has_begun=has_begun),
        "scopeMapId": token.scope_map_id,
        "credentials": {"passwords": [_password(password) for password in token.passwords]},
        "status": token.status,
    }
    return _child(registry, "tokens", token.name, token.system_data, properties)


def credentials_document(credentials: GeneratedCredentials) -> Document:
    """The answer of generateCredentials, with the values that were just generated."""
    return {
        "username": credentials.username,
        "passwords": [
            _present({**_password(entry.password), "value": entry.value})
            for entry in credentials.passwords
        ],
    }


def connected_registry_document(
    registry: Registry, connected: ConnectedRegistry, *, api_version: str
) -> Document:
    """A connected registry in this api-version, without an empty list of clients, as in Azure."""
    settings = connected.settings
    properties = {
        "provisioningState": "Succeeded",
        "mode": "ReadOnly",
        "connectionState": connected.connection_state,
        "activation": {"status": "Active" if connected.active else "Inactive"},
        "parent": {
            "syncProperties": _sync_properties(registry, connected, api_version=api_version)
        },
        "clientTokenIds": list(settings.client_token_ids) or None,
        "loginServer": _login_server(connected.login_server),
        "logging": {"logLevel": settings.log_level, "auditLogStatus": settings.audit_log_status},
        "notificationsList": list(settings.notifications) or None,
        "garbageCollection": _garbage_collection(settings),
        "statusDetails": [_status_detail(each) for each in connected.status_details] or None,
        "lastActivityTime": _optional_time(connected.last_activity_time),
    }
    return _child(
        registry, "connectedRegistries", connected.name, connected.system_data, _present(properties)
    )


def _child(
    registry: Registry, kind: str, name: str, system_data: SystemData | None, properties: Document
) -> Document:
    document = {
        "type": f"{PROVIDER}/registries/{kind}",
        "id": registry.registry_id.child(kind, name),
        "name": name,
        "systemData": None if system_data is None else _system_data(system_data),
        "properties": properties,
    }
    return _present(document)


def _state(registry: Registry, provisioning: Provisioning, *, has_begun: bool) -> str:
    return provisioning.progress if has_begun else provisioning.state(registry.now())


def _system_data(system_data: SystemData) -> Document:
    by, at = system_data.by, wire_time(system_data.at)
    return {
        "createdBy": by,
        "createdByType": "Application",
        "createdAt": at,
        "lastModifiedBy": by,
        "lastModifiedByType": "Application",
        "lastModifiedAt": at,
    }


def _password(password: Password) -> Document:
    return _present(
        {
            "creationTime": wire_time(password.creation_time),
            "expiry": _optional_time(password.expiry),
            "name": password.name,
        }
    )


def _sync_properties(
    registry: Registry, connected: ConnectedRegistry, *, api_version: str
) -> Document:
    settings: ConnectedRegistrySettings = connected.settings
    return _present(
        {
            "tokenId": connected.sync_token_id,
            "schedule": settings.schedule,
            "syncWindow": to_jsonable_python(settings.sync_window),
            "messageTtl": to_jsonable_python(settings.message_ttl),
            "lastSyncTime": _optional_time(connected.last_sync_time),
            "gatewayEndpoint": _data_endpoint(registry),
            "authType": "SyncToken" if api_version >= PREVIEW else None,
        }
    )


def _status_detail(detail: StatusDetail) -> Document:
    return {
        "type": "Disk",
        "code": detail.code,
        "description": _PROBLEMS[detail.code],
        "timestamp": wire_time(detail.timestamp),
        "correlationId": detail.correlation_id,
    }


def _data_endpoint(registry: Registry) -> str:
    return f"{registry.registry_id.name.lower()}.{LOCATION}.data.azurecr.io"


def _login_server(login_server: LoginServer) -> Document:
    tls: Document = {"status": "Enabled" if login_server.tls else None, "certificate": {}}
    return _present({"host": login_server.host, "tls": _present(tls)})


def _garbage_collection(settings: ConnectedRegistrySettings) -> Document | None:
    collection = {
        "enabled": settings.garbage_collection_enabled,
        "schedule": settings.garbage_collection_schedule,
    }
    return _present(collection) or None


def _optional_time(at: datetime | None) -> str | None:
    return None if at is None else wire_time(at)


def _present(properties: Document) -> Document:
    return {name: value for name, value in properties.items() if value is not None}
