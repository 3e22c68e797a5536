"""The roles of those who call the HTTP API, and the function keys that have a name and roles."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Role(StrEnum):
    """What a caller may do. Its values are the values of the app roles in Entra."""

    READER = "Reader"
    """Read, and plan dry runs."""
    OPERATOR = "Operator"
    """Read, and change devices and kept messages."""
    MASS_REVOKE_APPROVER = "MassRevokeApprover"
    """Read, approve that many devices are revoked, and rebuild records."""


EVERY_ROLE = frozenset(Role)


class NamedKey(BaseModel):
    """A function key that has a name, for the audit, and roles. Only its hash is known here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    """SHA-256 of the key's value, as 64 lower-case hexadecimal digits."""
    roles: Annotated[frozenset[Role], Field(min_length=1)]


def named_key(value: str, keys: Iterable[NamedKey]) -> NamedKey | None:
    """The named key with this value. Takes as long for every value."""
    digest = hashlib.sha256(value.encode(errors="replace")).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    return found[0] if found else None


def allows(roles: frozenset[Role], needed: Role) -> bool:
    """Whether roles are enough: each role includes reading."""
    return needed in roles or (needed is Role.READER and bool(roles))
