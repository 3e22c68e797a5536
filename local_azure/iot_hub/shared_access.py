"""Shared access policies and signatures, as services and devices sign them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from urllib.parse import unquote

_SCHEME = "SharedAccessSignature "


class Right(StrEnum):
    """What a policy may allow. Writing to the registry includes reading it."""

    REGISTRY_READ = "RegistryRead"
    REGISTRY_WRITE = "RegistryWrite"
    SERVICE_CONNECT = "ServiceConnect"
    DEVICE_CONNECT = "DeviceConnect"


@dataclass(frozen=True)
class SharedAccessPolicy:
    """A hub's policy: a name, two keys, and what they open."""

    name: str
    rights: frozenset[Right]
    primary_key: str = field(repr=False)
    secondary_key: str = field(repr=False)

    def connection_string(self, host_name: str) -> str:
        """What a service is given to connect as this policy."""
        return (
            f"HostName={host_name};SharedAccessKeyName={self.name};"
            f"SharedAccessKey={self.primary_key}"
        )


def default_policies() -> dict[str, SharedAccessPolicy]:
    """The five policies of a new hub, by name, with new keys."""
    read, write = Right.REGISTRY_READ, Right.REGISTRY_WRITE
    rights = {
        "iothubowner": frozenset(Right),
        "service": frozenset({Right.SERVICE_CONNECT}),
        "device": frozenset({Right.DEVICE_CONNECT}),
        "registryRead": frozenset({read}),
        "registryReadWrite": frozenset({read, write}),
    }
    return {
        name: SharedAccessPolicy(name, allowed, primary_key=_new_key(), secondary_key=_new_key())
        for name, allowed in rights.items()
    }


class InvalidSignature(Exception):
    """Text that is no shared access signature."""


@dataclass(frozen=True)
class SharedAccessSignature:
    """A parsed `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`."""

    encoded_resource: str
    signature: bytes = field(repr=False)
    expires_at: int  # seconds since 1970
    policy: str | None

    @classmethod
    def parse(cls, text: str) -> SharedAccessSignature:
        """Raises InvalidSignature, whose text names no part of the signature."""
        if not text.startswith(_SCHEME):
            raise InvalidSignature("not a shared access signature")
        pairs = (part.partition("=") for part in text.removeprefix(_SCHEME).split("&"))
        fields = {name.strip(): value for name, _, value in pairs}
        try:
            return cls(
                encoded_resource=fields["sr"],
                signature=base64.b64decode(unquote(fields["sig"]), validate=True),
                expires_at=int(fields["se"]),
                policy=unquote(fields["skn"]) if fields.get("skn") else None,
            )
        except (KeyError, ValueError, binascii.Error) as error:
            raise InvalidSignature("a field is missing or malformed") from error

    @property
    def resource(self) -> tuple[str, ...]:
        """The decoded resource: the host, then the segments of a path if it has one."""
        return tuple(unquote(self.encoded_resource).rstrip("/").split("/"))

    def expired(self, now: datetime) -> bool:
        """Whether it no longer holds at this time."""
        return now.timestamp() >= self.expires_at

    def signed_with(self, keys: Iterable[str]) -> bool:
        """Whether one of these base64 keys made it."""
        text = f"{self.encoded_resource}\n{self.expires_at}".encode()
        return any(
            hmac.compare_digest(
                hmac.digest(base64.b64decode(key), text, hashlib.sha256), self.signature
            )
            for key in keys
        )


def same_host(one: str, other: str) -> bool:
    """Whether two host names are one hub's: ports and case do not count."""
    return _bare(one) == _bare(other)


def _bare(host_name: str) -> str:
    return host_name.lower().partition(":")[0]


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
