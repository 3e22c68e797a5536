"""Which password of a token is whose: the rules of the two slots.

A password is known by its slot and the time it was made, which both the token and the tags of
its secret version carry. A slot that may be in use is live until its expiry and is never filled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from firstpull.model.azure_resources import NewPassword, Password, SecretVersion, Slot, Token
from firstpull.model.device_key import DeviceKey

SYNC_MARGIN = timedelta(seconds=5)
"""A sync that began this long after a change is taken to have carried it."""
_SLOT_TAG = "slot"
_CREATED_TAG = "createdAt"


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A password of the token whose value is in Key Vault, in this version."""

    slot: Slot
    version: str
    created_at: datetime
    expires_at: datetime


def tags_for(password: NewPassword, *, more: Mapping[str, str]) -> dict[str, str]:
    """The tags of a secret version that tie it to a password."""
    return {**more, _SLOT_TAG: password.slot.value, _CREATED_TAG: _stamp(password.created_at)}


def current_credential(
    token: Token | None,
    versions: Collection[SecretVersion],
    *,
    now: datetime,
    delivered: str | None = None,
) -> Credential | None:
    """The newest password that is valid, is stored, and can be read.

    `delivered` is the version that the record names.
    """
    found = [
        Credential(
            slot=password.slot,
            version=version,
            created_at=password.created_at,
            expires_at=password.expires_at,
        )
        for password, version in _stored(token, versions, delivered)
        if password.expires_at is not None and now < password.expires_at
    ]
    return max(found, key=lambda credential: credential.created_at, default=None)


def slot_to_fill(
    token: Token | None,
    *,
    now: datetime,
    requested: Collection[Slot],
    in_use: Collection[Slot],
) -> Slot | None:
    """The slot for a new password, None where both may be in use.

    A slot that was asked for and whose value reached neither Key Vault nor a twin is nobody's:
    it is filled first, so that a second attempt ends like the first would have. `in_use` are
    the slots that the record or the twin names.
    """
    lost = [slot for slot in Slot if slot in requested and slot not in in_use]
    empty = [slot for slot in Slot if _is_empty(token, slot, now)]
    return next(iter((*lost, *empty)), None)


def renewal_time(credential: Credential, device: DeviceKey) -> datetime:
    """When to replace a password: at half its life, give or take a tenth by the device's hash."""
    life = credential.expires_at - credential.created_at
    jitter = int(device.digest("renewal")[:8], 16) / 0xFFFFFFFF
    return credential.created_at + life * (0.4 + 0.2 * jitter)


def slots_made_here(token: Token, versions: Collection[SecretVersion]) -> frozenset[Slot]:
    """The slots whose password was stored once, so that it is known whose it is."""
    return frozenset(
        password.slot
        for password in token.passwords
        if any(_belongs(version, password) for version in versions)
    )


def superseded_versions(
    token: Token | None, versions: Collection[SecretVersion]
) -> tuple[str, ...]:
    """The enabled versions whose password is no longer the token's.

    A write that was repeated because its answer was lost leaves a password in two: both stay, for
    a listing shows the latest only.
    """
    passwords = token.passwords if token is not None else ()
    return tuple(
        version.version
        for version in versions
        if version.enabled and not any(_belongs(version, password) for password in passwords)
    )


def _stored(
    token: Token | None, versions: Collection[SecretVersion], delivered: str | None
) -> Iterator[tuple[Password, str]]:
    """The passwords that are stored, each with one enabled version: the delivered one first."""
    for password in token.passwords if token is not None else ():
        found = {v.version for v in versions if v.enabled and _belongs(v, password)}
        if found:
            yield password, delivered if delivered in found else min(found)


def _is_empty(token: Token | None, slot: Slot, now: datetime) -> bool:
    password = token.password(slot) if token is not None else None
    return password is None or not password.is_live(now)


def _belongs(version: SecretVersion, password: Password) -> bool:
    return version.tags.get(_SLOT_TAG) == password.slot.value and version.tags.get(
        _CREATED_TAG
    ) == _stamp(password.created_at)


def _stamp(at: datetime) -> str:
    """To the millisecond, cut off: the service writes more digits than a datetime holds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
