"""The rules of a token's two password slots.

Slot and creation time identify a password; the token and the tags of the secret version carry
both. A slot that may be in use is live until its expiry, and firstpull never fills a live slot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from firstpull.model.azure_resources import (
    NewPassword,
    Password,
    SecretVersion,
    Slot,
    StoredSecret,
    Token,
)
from firstpull.model.clock import is_possible
from firstpull.model.device_key import DeviceKey

SYNC_MARGIN = timedelta(seconds=5)
"""A connected registry that synced this long after a change is assumed to have the change."""
_USERNAME_TAG = "username"
_TOKEN_TAG = "token"  # noqa: S105 - a tag's name, not a password
"""The name of the tag `username` in versions that earlier releases stored."""
ADDRESS_TAG = "address"
_LONGEST_TAG = 256
"""Characters in a tag's value (about-keys-secrets-certificates)."""
_SLOT_TAG = "slot"
_CREATED_TAG = "createdAt"


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A password of the token, and the secret version that has its value."""

    slot: Slot
    version: str
    created_at: datetime
    expires_at: datetime


def tags_for(password: NewPassword, *, more: Mapping[str, str]) -> dict[str, str]:
    """The tags of a secret version that identify its password."""
    return {**more, _SLOT_TAG: password.slot.value, _CREATED_TAG: stamp(password.created_at)}


def owner_tags(device: DeviceKey, *, deployment: str, token: str) -> dict[str, str]:
    """The tags that say whose a secret version is, and which user name its password is for."""
    return {**_device_tags(device, deployment=deployment), _USERNAME_TAG: token}


def address_tags(address: str) -> dict[str, str]:
    """The tag that says where a password logs in; none for an address that no tag can hold.

    With `username`, a tool that reads the vault can build a login of one secret version.
    """
    return {ADDRESS_TAG: address} if len(address) <= _LONGEST_TAG else {}


def with_address(tags: Mapping[str, str], address: str) -> dict[str, str]:
    """A version's tags, with this address in place of another."""
    return {k: v for k, v in tags.items() if k != ADDRESS_TAG} | address_tags(address)


def names_another_address(version: SecretVersion, address: str) -> bool:
    """Whether a version's tags name another address. Those of earlier releases name none."""
    return version.tags.get(ADDRESS_TAG, address) != address


def _device_tags(device: DeviceKey, *, deployment: str) -> dict[str, str]:
    return {"deployment": deployment, "hub": device.hub, "deviceId": device.device_id}


def owner_of(secret: StoredSecret, *, deployment: str) -> DeviceKey | None:
    """The device for which this deployment stored a secret, by its tags."""
    hub, device_id = secret.tags.get("hub"), secret.tags.get("deviceId")
    if hub is None or device_id is None:
        return None
    device = DeviceKey(hub=hub, device_id=device_id)
    return device if is_made_for(secret, device, deployment=deployment) else None


def is_made_for(
    version: SecretVersion | StoredSecret, device: DeviceKey, *, deployment: str
) -> bool:
    """Whether this deployment stored the version for this device, by its tags."""
    has_token = _USERNAME_TAG in version.tags or _TOKEN_TAG in version.tags
    return has_token and (
        _device_tags(device, deployment=deployment).items() <= version.tags.items()
    )


def ended_slots(token: Token, versions: Collection[SecretVersion]) -> frozenset[Slot]:
    """The slots whose password firstpull made, and whose every version is disabled."""
    enabled = [version for version in versions if version.enabled]
    return slots_made_here(token, versions) - slots_made_here(token, enabled)


def token_of(version: SecretVersion | StoredSecret) -> str | None:
    """The token that a version's tags name, None for one without tags of firstpull."""
    return version.tags.get(_USERNAME_TAG) or version.tags.get(_TOKEN_TAG)


def current_credential(
    token: Token | None,
    versions: Collection[SecretVersion],
    *,
    now: datetime,
    delivered: str | None = None,
) -> Credential | None:
    """The newest password that is valid, stored and readable.

    `delivered` is the version that the record names.
    """
    found = valid_credentials(token, versions, now=now, delivered=delivered)
    return max(found, key=lambda credential: credential.created_at, default=None)


def valid_credentials(
    token: Token | None,
    versions: Collection[SecretVersion],
    *,
    now: datetime,
    delivered: str | None = None,
) -> list[Credential]:
    """The passwords that are valid, stored and readable."""
    return [
        Credential(
            slot=password.slot,
            version=version,
            created_at=password.created_at,
            expires_at=password.expires_at,
        )
        for password, version in _stored(token, versions, delivered)
        if password.expires_at is not None and now < password.expires_at
    ]


def slot_to_fill(
    token: Token | None,
    *,
    now: datetime,
    requested: Collection[Slot],
    in_use: Collection[Slot],
) -> Slot | None:
    """The slot for a new password, None where both slots may be in use.

    A requested slot comes first if its value reached neither Key Vault nor a twin: no device has
    that password, and a retry then ends as the first attempt would have. `in_use` are the slots
    that the record or the twin names.
    """
    lost = [slot for slot in Slot if slot in requested and slot not in in_use]
    empty = [slot for slot in Slot if _is_empty(token, slot, now)]
    return next(iter((*lost, *empty)), None)


def renewal_time(credential: Credential, device: DeviceKey) -> datetime:
    """When to replace a password: at 0.4 to 0.6 of its life, by the device's hash."""
    life = credential.expires_at - credential.created_at
    jitter = int(device.digest("renewal")[:8], 16) / 0xFFFFFFFF
    return credential.created_at + life * (0.4 + 0.2 * jitter)


def slots_made_here(token: Token, versions: Collection[SecretVersion]) -> frozenset[Slot]:
    """The slots whose password is in a secret version, so that firstpull made it."""
    return frozenset(
        password.slot
        for password in token.passwords
        if any(_belongs(version, password) for version in versions)
    )


def passwords_in(token: Token, version: SecretVersion) -> tuple[Password, ...]:
    """The passwords of a token that a version has: one or none."""
    return tuple(password for password in token.passwords if _belongs(version, password))


def superseded_versions(
    token: Token | None, versions: Collection[SecretVersion]
) -> tuple[str, ...]:
    """The enabled versions whose password the token no longer has.

    A write that was repeated after a lost answer stores one password in two versions. Both stay
    enabled, because a listing shows only the latest version.
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
    """The stored passwords, each with one enabled version, preferably the delivered one."""
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
    ) == stamp(password.created_at)


def made_at(version: SecretVersion) -> datetime | None:
    """When the password in a version was made, None for a version without one of firstpull."""
    return read_stamp(version.tags.get(_CREATED_TAG))


def read_stamp(text: str | None) -> datetime | None:
    """The time in a tag that `stamp` made, None for anything else."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if is_possible(found) else None


def stamp(at: datetime) -> str:
    """A time cut to the millisecond: the service writes more digits than a datetime holds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
