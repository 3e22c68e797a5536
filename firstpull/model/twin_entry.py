"""The entry that firstpull writes into a device's twin, and the device's acknowledgement.

The entry is at `firstpull.registryCredentials.<connected registry>` of the desired properties,
the acknowledgement at the same path of the reported ones. `address`, `username` and `password`
are named as in the IoT Edge agent's registryCredentials. For a device with a key, `sealed` stands
in place of `password`.

`deliveryId` is a digest of the whole entry. A seal is different each time, and the header in it
names the delivery; so the id of a sealed entry has two parts: `<content>.<seal>`. The first is the
digest of what is delivered, password and key included, and stands in the header: by it the same
delivery is recognised, and not written again. The second is the digest of the entry as it stands in
the twin, by which an edited entry is recognised.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from firstpull.model.sealing import Recipient
from firstpull.model.secret import Secret

_SECTION = "firstpull"
_CREDENTIALS = "registryCredentials"
_CA_CHUNK = 4000
"""Characters per string; the limit is 4,096 bytes (iot-hub-devguide-device-twins)."""
MOST_DESIRED_BYTES = 32 * 1024
"""Of a twin's desired properties (iot-hub-devguide-device-twins)."""
_DIGEST_LENGTH = 32
PASSWORD_BYTES = 84
"""The longest password that container registries were seen to make."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of an entry except the password and its expiry.

    With a `recipient`, the password is to be sealed; `seal` is the result.
    """

    address: str
    username: str
    repositories: tuple[str, ...]
    ca: str | None
    insecure: bool
    recipient: Recipient | None = None
    seal: str | None = None

    def without_password(self, expires_at: datetime) -> dict[str, Any]:
        """The fields of the entry, without password, sealed and deliveryId."""
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
        if self.recipient is not None:
            fields["sealedTo"] = self.recipient.key.thumbprint
        return fields

    def delivery_id(self, password: Secret, *, expires_at: datetime) -> str:
        """A digest of the whole entry, by which firstpull recognises an edited entry.

        The password has 190 random bits, so its digest reveals nothing. Raises ValueError for
        contents that are still to be sealed.
        """
        fields = self.without_password(expires_at)
        if self.recipient is None:
            return _digest(fields, password)
        if self.seal is None:
            raise ValueError("the password is not sealed yet")
        return _sealed_id(fields, self.seal, content_id=self._content_id(password, expires_at))

    def sealed_already(
        self, found_id: str | None, password: Secret, *, expires_at: datetime
    ) -> bool:
        """Whether an entry with this id has this password sealed for this recipient."""
        if self.recipient is None or found_id is None:
            return False
        return found_id.partition(".")[0] == self._content_id(password, expires_at)

    def sealed(self, password: Secret, *, expires_at: datetime, now: datetime) -> Contents:
        """The contents with their password sealed; these themselves without a recipient."""
        if self.recipient is None:
            return self
        seal = self.recipient.seal(
            password,
            self.without_password(expires_at),
            content_id=self._content_id(password, expires_at),
            now=now,
        )
        return replace(self, seal=seal)

    def _content_id(self, password: Secret, expires_at: datetime) -> str:
        bound = self.recipient.bound if self.recipient is not None else {}
        return _digest(self.without_password(expires_at) | bound, password)

    def bytes_too_many(self, desired: Mapping[str, Any], connected_registry: str) -> int:
        """By how many bytes a twin with these desired properties cannot hold this entry.

        0 for an entry that makes the twin no larger: the hub has taken it.
        """
        before = section_of(desired, connected_registry)
        fields = self.without_password(datetime.max.replace(tzinfo=UTC)) | self._most(before)
        grows = _size(fields) - _size(before)
        path = (_SECTION, _CREDENTIALS, connected_registry)
        for depth, name in enumerate(path):
            if name not in object_at(desired, *path[:depth]):
                grows += len(name)
        return max(size_of_properties(desired) + grows - MOST_DESIRED_BYTES, 0) if grows > 0 else 0

    def _most(self, before: Mapping[str, Any]) -> dict[str, str]:
        """Password and deliveryId of the longest entry; the present one's where it stays."""
        if self.recipient is not None:
            sealed, most = before.get("sealed"), self.recipient.most_bytes
            is_there = before.get("sealedTo") == self.recipient.key.thumbprint
            text = sealed if is_there and isinstance(sealed, str) else "x" * most
            return {"sealed": text, "deliveryId": "x" * (2 * _DIGEST_LENGTH + 1)}
        password = before.get("password")
        text = password if isinstance(password, str) else "x" * PASSWORD_BYTES
        return {"password": text, "deliveryId": "x" * _DIGEST_LENGTH}

    def patch(
        self,
        connected_registry: str,
        password: Secret,
        *,
        expires_at: datetime,
        replaces: Collection[str],
    ) -> dict[str, Any]:
        """The merge patch that writes this entry. `replaces` are the fields in the twin now."""
        entry: dict[str, Any] = dict.fromkeys(replaces) | self.without_password(expires_at)
        entry |= {"password": password} if self.recipient is None else {"sealed": self.seal}
        entry["deliveryId"] = self.delivery_id(password, expires_at=expires_at)
        return {_SECTION: {_CREDENTIALS: {connected_registry: entry}}}


def removal_patch(connected_registries: Collection[str]) -> dict[str, Any]:
    """The merge patch that removes the entries of these connected registries."""
    return {_SECTION: {_CREDENTIALS: dict.fromkeys(connected_registries)}}


@dataclass(frozen=True, kw_only=True)
class DeliveredEntry:
    """An entry in a twin without its password, sealed or not.

    `intact` says whether deliveryId is still the digest of the entry.
    """

    id: str
    fields: Mapping[str, Any]
    intact: bool

    def is_for(self, token: str) -> bool:
        """Whether the entry logs in with this token."""
        return self.fields.get("username") == token

    @property
    def expires(self) -> str | None:
        """`expiresOn` as text, None if there is none."""
        expires = self.fields.get("expiresOn")
        return expires if isinstance(expires, str) else None


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """The device's report on the delivery that it tried last. Untrusted input.

    `awaits_sync`: the consumer has taken the delivery, which counts as a login when the connected
    registry has synced once more.
    """

    delivery_id: str
    logged_in: bool
    reason: str | None
    awaits_sync: bool = False


def read_entry(desired: Mapping[str, Any], connected_registry: str) -> DeliveredEntry | None:
    """The entry in a twin's desired properties, None if there is none or it cannot be read."""
    entry = section_of(desired, connected_registry)
    delivery_id, password, sealed = (entry.get(k) for k in ("deliveryId", "password", "sealed"))
    fields = {k: v for k, v in entry.items() if k not in ("deliveryId", "password", "sealed")}
    if not isinstance(delivery_id, str):
        return None
    if isinstance(sealed, str) and sealed:
        content_id = delivery_id.partition(".")[0]
        is_whole = _sealed_id(fields, sealed, content_id=content_id) == delivery_id
        return DeliveredEntry(id=delivery_id, fields=fields, intact=is_whole and password is None)
    if not isinstance(password, str) or not password:
        return None
    intact = _digest(fields, Secret(password)) == delivery_id
    return DeliveredEntry(id=delivery_id, fields=fields, intact=intact)


def read_acknowledgement(
    reported: Mapping[str, Any], connected_registry: str
) -> Acknowledgement | None:
    """The acknowledgement in a twin's reported properties, None if there is none."""
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
    """The readable entries of a twin, by connected registry."""
    entries = {key: read_entry(desired, key) for key in object_at(desired, _SECTION, _CREDENTIALS)}
    return {key: entry for key, entry in entries.items() if entry is not None}


def section_of(properties: Mapping[str, Any], connected_registry: str) -> Mapping[str, Any]:
    """The object for a connected registry in a twin's properties, empty if there is none."""
    return object_at(properties, _SECTION, _CREDENTIALS, connected_registry)


def object_at(properties: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The object at a path, empty if there is anything else: everybody may write to a twin."""
    found: Any = properties
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _digest(fields: Mapping[str, Any], password: Secret) -> str:
    text = json.dumps({**fields, "password": password.reveal()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def size_of_properties(properties: Mapping[str, Any]) -> int:
    """What IoT Hub counts of desired or reported properties, in bytes: without its own fields."""
    return _size({name: value for name, value in properties.items() if not name.startswith("$")})


def _sealed_id(fields: Mapping[str, Any], sealed: str, *, content_id: str) -> str:
    text = json.dumps({**fields, "sealed": sealed, "content": content_id}, sort_keys=True)
    return f"{content_id}.{hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]}"


def _size(value: object) -> int:
    """What IoT Hub counts of a value, in bytes: names, and texts without control characters."""
    match value:
        case str():
            return len(_CONTROL.sub("", value).encode(errors="replace"))
        case bool():
            return 4
        case int() | float():
            return 8
        case Mapping():
            return sum(len(name.encode(errors="replace")) + _size(v) for name, v in value.items())
        case list() | tuple():
            return sum(map(_size, value))
        case _:
            return 0
