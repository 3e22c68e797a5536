"""Shared access signatures of devices and of services with the owner's policy."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

_SCHEME = "SharedAccessSignature "


def new_key() -> str:
    """32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True)
class SharedAccessPolicy:
    """The hub's policy that allows everything; the four narrower ones do not exist here."""

    name: str = "iothubowner"
    key: str = field(default_factory=new_key, repr=False)

    def connection_string(self, host_name: str) -> str:
        """The connection string of a service with this policy."""
        return f"HostName={host_name};SharedAccessKeyName={self.name};SharedAccessKey={self.key}"


class InvalidSignature(Exception):
    """A text that is not a shared access signature."""


@dataclass(frozen=True)
class SharedAccessSignature:
    """A parsed `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`."""

    encoded_resource: str
    signature: bytes = field(repr=False)
    expires_at: int  # seconds since 1970
    policy: str | None

    @classmethod
    def parse(cls, text: str) -> SharedAccessSignature:
        """Raises InvalidSignature, whose text contains no part of the signature."""
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
        """Whether it has expired by this time."""
        return now.timestamp() >= self.expires_at

    def signed_with(self, keys: Iterable[str]) -> bool:
        """Whether one of these base64 keys signed it."""
        text = f"{self.encoded_resource}\n{self.expires_at}".encode()
        return any(
            hmac.compare_digest(
                hmac.digest(base64.b64decode(key), text, hashlib.sha256), self.signature
            )
            for key in keys
        )


def same_host(one: str, other: str) -> bool:
    """Whether two host names are equal without ports and case."""
    return one.lower().partition(":")[0] == other.lower().partition(":")[0]
