"""Device identities as values, and the rules for ids, keys and thumbprints."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from local_azure.iot_hub.exceptions import ARGUMENT_INVALID, IotHubError
from local_azure.iot_hub.shared_access import new_key

_DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@$']{1,128}")
_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")
_KEY_BYTES = range(16, 65)
_MAX_STATUS_REASON = 128


class DeviceStatus(StrEnum):
    """Whether a device may connect."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class AuthenticationType(StrEnum):
    """How a device authenticates."""

    SAS = "sas"
    SELF_SIGNED = "selfSigned"


@dataclass(frozen=True)
class Authentication:
    """Keys are base64; thumbprints are SHA-1 or SHA-256 of the certificate in hexadecimal."""

    type: AuthenticationType = AuthenticationType.SAS
    primary_key: str | None = field(default=None, repr=False)
    secondary_key: str | None = field(default=None, repr=False)
    primary_thumbprint: str | None = None
    secondary_thumbprint: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the device."""
        return tuple(key for key in (self.primary_key, self.secondary_key) if key)

    @property
    def thumbprints(self) -> tuple[str, ...]:
        """The thumbprints of the device's certificates."""
        return tuple(t for t in (self.primary_thumbprint, self.secondary_thumbprint) if t)

    def completed(self) -> Authentication:
        """The fields of the type, with new keys for SAS if there are none.

        Raises IotHubError 400 for invalid keys and thumbprints.
        """
        match self.type:
            case AuthenticationType.SAS:
                primary, secondary = _key_pair(self.primary_key, self.secondary_key)
                return Authentication(self.type, primary, secondary)
            case AuthenticationType.SELF_SIGNED:
                for thumbprint in self.thumbprints:
                    _check_thumbprint(thumbprint)
                return replace(self, primary_key=None, secondary_key=None)


@dataclass(frozen=True)
class DeviceSettings:
    """The settings that an operator gives a device."""

    device_id: str
    authentication: Authentication = field(default_factory=Authentication)
    status: DeviceStatus = DeviceStatus.ENABLED
    status_reason: str | None = None
    iot_edge: bool = False

    def completed(self) -> DeviceSettings:
        """The checked settings with keys. Raises IotHubError 400."""
        if not _DEVICE_ID.fullmatch(self.device_id):
            raise IotHubError(
                ARGUMENT_INVALID,
                "A device id has 1 to 128 characters out of A-Z a-z 0-9 -:.+%_#*?!(),=@$'",
            )
        if self.status_reason is not None and len(self.status_reason) > _MAX_STATUS_REASON:
            raise IotHubError(
                ARGUMENT_INVALID, f"statusReason is longer than {_MAX_STATUS_REASON} characters"
            )
        return replace(self, authentication=self.authentication.completed())


@dataclass(frozen=True)
class Module:
    """A module of a device. `managed_by` is `iotEdge` for those that the runtime manages."""

    module_id: str
    generation_id: str
    revision: int
    authentication: Authentication
    managed_by: str | None = None
    connected: bool = False

    @property
    def etag(self) -> str:
        """The ETag without quotes, as a device's."""
        return base64.b64encode(str(self.revision).encode()).decode()


@dataclass(frozen=True)
class Identity:
    """A registered device. Another `generation_id` under the same id is another device."""

    settings: DeviceSettings
    generation_id: str
    revision: int
    status_updated_at: datetime | None = None
    connected: bool = False
    connection_updated_at: datetime | None = None
    last_activity_at: datetime | None = None

    @property
    def device_id(self) -> str:
        """The case-sensitive id."""
        return self.settings.device_id

    @property
    def enabled(self) -> bool:
        """Whether the device may connect."""
        return self.settings.status is DeviceStatus.ENABLED

    @property
    def etag(self) -> str:
        """The ETag without quotes: base64 of the revision's decimal digits."""
        return base64.b64encode(str(self.revision).encode()).decode()

    @property
    def device_scope(self) -> str | None:
        """The scope of an Edge device, None for other devices."""
        if not self.settings.iot_edge:
            return None
        return f"ms-azure-iot-edge://{self.device_id}-{self.generation_id}"


def _key_pair(primary: str | None, secondary: str | None) -> tuple[str, str]:
    if primary and secondary:
        return _checked_key(primary), _checked_key(secondary)
    if primary or secondary:
        raise IotHubError(ARGUMENT_INVALID, "Either no keys or both keys can be set")
    return new_key(), new_key()


def _checked_key(key: str) -> str:
    try:
        length = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError) as error:
        raise IotHubError(ARGUMENT_INVALID, "A device key is not base64") from error
    if length not in _KEY_BYTES:
        raise IotHubError(ARGUMENT_INVALID, "Invalid device key length")
    return key


def _check_thumbprint(thumbprint: str) -> None:
    if not _THUMBPRINT.fullmatch(thumbprint):
        raise IotHubError(ARGUMENT_INVALID, "StringIsNotThumbprint")
