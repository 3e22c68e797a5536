"""Token passwords, kept as salted digests; a value is returned once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

PasswordName = Literal["password1", "password2"]
PASSWORD_NAMES: tuple[PasswordName, ...] = ("password1", "password2")

_ALPHABET = string.ascii_letters + string.digits + "=/+"
_LENGTH = 32
_SALT_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Password:
    """One of a token's two passwords. `expiry` is None for one that does not expire."""

    name: PasswordName
    creation_time: datetime
    expiry: datetime | None
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def accepts(self, value: str, *, now: datetime) -> bool:
        """Whether `value` is this password and has not expired."""
        unexpired = self.expiry is None or now < self.expiry
        return hmac.compare_digest(_digest(value, self.salt), self.digest) and unexpired


def make_password(
    name: PasswordName, *, now: datetime, expiry: datetime | None
) -> tuple[Password, str]:
    """A new password and its value of 32 characters, which is not stored."""
    value = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    salt = secrets.token_bytes(_SALT_BYTES)
    password = Password(
        name=name, creation_time=now, expiry=expiry, salt=salt, digest=_digest(value, salt)
    )
    return password, value


def _digest(value: str, salt: bytes) -> bytes:
    # The values hold about 190 random bits: a slow digest would protect nothing.
    return hashlib.blake2b(value.encode(), salt=salt).digest()
