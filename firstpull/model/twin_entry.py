"""What is written into a device's twin, and what the device writes back.

The entry stands at `firstpull.registryCredentials.<connected registry>` of the desired
properties, the answer at the same path of the reported ones. `address`, `username` and
`password` are the words of the IoT Edge agent's own registryCredentials.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from firstpull.model.secret import Secret

_SECTION = "firstpull"
_CREDENTIALS = "registryCredentials"
_CA_CHUNK = 4000
"""Characters per string of the twin, which takes 4,096 bytes (iot-hub-devguide-device-twins)."""
_NAME = re.compile(r"[A-Za-z]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything about a delivery but the password and its expiry."""

    address: str
    username: str
    repositories: tuple[str, ...]
    ca: str | None
    insecure: bool

    def without_password(self, expires_at: datetime) -> dict[str, Any]:
        """The entry's fields as the twin holds them, without password and deliveryId."""
        fields: dict[str, Any] = {
            "address": self.address,
            "username": self.username,
            "expiresOn": wire_expiry(expires_at),
            "repositories": list(self.repositories),
        }
        if self.ca is not None:
            fields["ca"] = [self.ca[i : i + _CA_CHUNK] for i in range(0, len(self.ca), _CA_CHUNK)]
        if self.insecure:
            fields["insecure"] = True
        return fields

    def delivery_id(self, password: Secret, *, expires_at: datetime) -> str:
        """A digest over the whole entry, so that an edited one shows itself.

        A password has 190 random bits: nothing is learnt of it from a digest.
        """
        return _digest(self.without_password(expires_at), password)

    def patch(
        self,
        connected_registry: str,
        password: Secret,
        *,
        expires_at: datetime,
        replaces: Collection[str],
    ) -> dict[str, Any]:
        """The merge patch that makes this the entry, where `replaces` are the fields there now."""
        entry = dict.fromkeys(replaces) | self.without_password(expires_at)
        entry |= {
            "password": password,
            "deliveryId": self.delivery_id(password, expires_at=expires_at),
        }
        return {_SECTION: {_CREDENTIALS: {connected_registry: entry}}}


def removal_patch(connected_registries: Collection[str]) -> dict[str, Any]:
    """The merge patch that takes the entries of connected registries out of the twin."""
    return {_SECTION: {_CREDENTIALS: dict.fromkeys(connected_registries)}}


@dataclass(frozen=True, kw_only=True)
class DeliveredEntry:
    """An entry as it stands in a twin, reduced to what can be compared without the password."""

    id: str
    fields: Mapping[str, Any]
    intact: bool

    def is_for(self, token: str) -> bool:
        """Whether it logs in with this token."""
        return self.fields.get("username") == token

    @property
    def expires(self) -> str | None:
        """`expiresOn` as it is written."""
        expires = self.fields.get("expiresOn")
        return expires if isinstance(expires, str) else None


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """What the device says of the delivery it tried last. It is the device's word: untrusted."""

    delivery_id: str
    logged_in: bool
    reason: str | None


def read_entry(desired: Mapping[str, Any], connected_registry: str) -> DeliveredEntry | None:
    """The entry in a twin's desired properties, None where there is none that can be read."""
    entry = section_of(desired, connected_registry)
    delivery_id, password = entry.get("deliveryId"), entry.get("password")
    if not isinstance(delivery_id, str) or not isinstance(password, str) or not password:
        return None
    fields = {k: v for k, v in entry.items() if k not in ("deliveryId", "password")}
    return DeliveredEntry(
        id=delivery_id,
        fields=fields,
        intact=_digest(fields, Secret(password)) == delivery_id,
    )


def read_acknowledgement(
    reported: Mapping[str, Any], connected_registry: str
) -> Acknowledgement | None:
    """The device's answer in a twin's reported properties, None where there is none."""
    entry = section_of(reported, connected_registry)
    delivery_id, reason = entry.get("deliveryId"), entry.get("reason")
    if not isinstance(delivery_id, str):
        return None
    readable = isinstance(reason, str) and _NAME.fullmatch(reason) is not None
    return Acknowledgement(
        delivery_id=delivery_id,
        logged_in=entry.get("state") == "LoggedIn",
        reason=reason if readable else None,
    )


def wire_expiry(at: datetime) -> str:
    """`expiresOn` of an entry: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def entries_in(desired: Mapping[str, Any]) -> dict[str, DeliveredEntry]:
    """All entries of a twin that can be read, by connected registry."""
    found: Any = desired
    for name in (_SECTION, _CREDENTIALS):
        found = found.get(name) if isinstance(found, Mapping) else None
    entries = {key: read_entry(desired, key) for key in (found or ())}
    return {key: entry for key, entry in entries.items() if entry is not None}


def section_of(properties: Mapping[str, Any], connected_registry: str) -> Mapping[str, Any]:
    """What stands at a connected registry's place in a twin's properties, empty for nothing."""
    found: Any = properties
    for name in (_SECTION, _CREDENTIALS, connected_registry):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _digest(fields: Mapping[str, Any], password: Secret) -> str:
    text = json.dumps({**fields, "password": password.reveal()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
