"""Authentication of a device that connects by MQTT."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from local_azure.iot_hub.exceptions import IotHubError, unauthorized
from local_azure.iot_hub.identities import AuthenticationType, Identity, Module
from local_azure.iot_hub.models import IotHub
from local_azure.iot_hub.mqtt_packets import Connect
from local_azure.iot_hub.shared_access import (
    InvalidSignature,
    SharedAccessSignature,
    same_host,
)

_API_VERSION = re.compile(r"(?:^|&)api-version=\d{4}-\d{2}-\d{2}(?:-preview)?(?:&|$)")


@dataclass(frozen=True)
class Access:
    """An authenticated device or module. Its signature ends at `expires_at`, seconds since 1970."""

    device_id: str
    expires_at: int | None = None
    module_id: str | None = None

    def expired(self, now: datetime) -> bool:
        """Whether the signature of the connection has expired."""
        return self.expires_at is not None and now.timestamp() >= self.expires_at


def authenticate(
    hub: IotHub, connect: Connect, *, host_name: str, certificate: bytes | None, now: datetime
) -> Access:
    """Authenticate a CONNECT. `certificate` is the client's verified certificate in DER.

    Raises IotHubError 401 for any reason.
    """
    identity, module = _identity(hub, connect, host_name)
    if not identity.enabled:
        raise unauthorized()
    if module is not None:
        return _by_signature(identity, module, connect.password, host_name=host_name, now=now)
    match identity.settings.authentication.type:
        case AuthenticationType.SAS:
            return _by_signature(identity, None, connect.password, host_name=host_name, now=now)
        case AuthenticationType.SELF_SIGNED:
            if certificate is None or not _is_registered(identity, certificate):
                raise unauthorized()
            return Access(identity.device_id)


def _identity(hub: IotHub, connect: Connect, host_name: str) -> tuple[Identity, Module | None]:
    """The device of a user name `{host}/{client id}/?api-version=…`, and its module.

    The client id is `{device}` or `{device}/{module}`; no id has a slash.
    """
    host, _, rest = connect.user_name.partition("/")
    device, query = rest[: len(connect.client_id) + 1], rest[len(connect.client_id) + 1 :]
    if (
        not same_host(host, host_name)
        or device != f"{connect.client_id}/"
        or not _API_VERSION.search(query.removeprefix("?"))
    ):
        raise unauthorized()
    device_id, slash, module_id = connect.client_id.partition("/")
    try:
        found = hub.module(device_id, module_id) if slash else None
        return hub.device(device_id), found
    except IotHubError as error:
        raise unauthorized() from error


def _by_signature(
    identity: Identity, module: Module | None, password: str, *, host_name: str, now: datetime
) -> Access:
    try:
        signature = SharedAccessSignature.parse(password)
    except InvalidSignature as error:
        raise unauthorized() from error
    module_id = module.module_id if module is not None else None
    access = Access(identity.device_id, signature.expires_at, module_id)
    keys = (module or identity.settings).authentication.keys
    if (
        signature.policy is not None
        or not _is_for(signature.resource, host_name, identity.device_id, module_id)
        or access.expired(now)
        or not signature.signed_with(keys)
    ):
        raise unauthorized()
    return access


def _is_for(
    resource: tuple[str, ...], host_name: str, device_id: str, module_id: str | None
) -> bool:
    """Some SDKs encode the device id twice."""
    match resource:
        case (host, "devices", named) if module_id is None:
            return same_host(host, host_name) and device_id in (named, unquote(named))
        case (host, "devices", named, "modules", named_module):
            is_module = module_id in (named_module, unquote(named_module))
            return same_host(host, host_name) and is_module and device_id in (named, unquote(named))
        case _:
            return False


def _is_registered(identity: Identity, certificate: bytes) -> bool:
    shown = {
        hashlib.sha256(certificate).hexdigest(),
        hashlib.sha1(certificate, usedforsecurity=False).hexdigest(),
    }
    thumbprints = identity.settings.authentication.thumbprints
    return any(thumbprint.lower() in shown for thumbprint in thumbprints)
