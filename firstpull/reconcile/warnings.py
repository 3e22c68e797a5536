"""What somebody should know of a device that is as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from firstpull.model.azure_resources import ConnectedRegistry, ConnectedRegistryRef, Token
from firstpull.model.device_record import DeviceRecord, DeviceWarning
from firstpull.model.reasons import Reason
from firstpull.model.scope_actions import in_words, uncovered
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent

_OUT_OF_TOUCH = ("Offline", "Unhealthy")
"""Connection states in which a connected registry takes nothing over from Azure."""
_NEAR = 0.25
"""The share of a password's life that is left when its end is near."""


def warnings_for(
    record: DeviceRecord,
    *,
    connected_registry: ConnectedRegistry | None,
    synced_actions: frozenset[str] | None,
    token: Token | None,
    now: datetime,
) -> tuple[DeviceWarning, ...]:
    """All warnings, each since it first held. Where `synced_actions` are not known, as before."""
    before = {warning.reason: warning for warning in record.status.warnings}
    found = dict(_found(record, connected_registry, token, now))
    ref = record.status.grant.ref if record.status.grant is not None else None
    if ref is not None and synced_actions is not None:
        missing = uncovered(record.spec.intent.scope_actions, synced_actions)
        if missing:
            found[Reason.REPOSITORIES_NOT_SYNCED] = (
                f"{ref} does not sync {in_words(missing)}; pulls of them fail there."
            )
    elif (known := before.get(Reason.REPOSITORIES_NOT_SYNCED)) is not None:
        found[known.reason] = known.message
    return tuple(
        DeviceWarning(
            reason=reason,
            message=message,
            since=before[reason].since if reason in before else now,
        )
        for reason, message in sorted(found.items())
    )


def log_new_warnings(before: DeviceRecord, after: DeviceRecord) -> None:
    """Log the warnings that a device has now and had not."""
    known = {warning.reason for warning in before.status.warnings}
    for warning in after.status.warnings:
        if warning.reason not in known:
            emit_warning(
                LogEvent.DEVICE_WARNING_RAISED,
                hub=after.device.hub,
                device_id=after.device.device_id,
                reason=warning.reason.value,
            )


def awaiting_sync(
    ref: ConnectedRegistryRef,
    connected_registry: ConnectedRegistry | None,
    *,
    since: datetime,
    now: datetime,
) -> tuple[DeviceWarning, ...]:
    """After a revoke: the connected registry lets the device in until it has synced."""
    if connected_registry is None:
        return ()
    synced = connected_registry.last_sync_at
    if synced is not None and synced > since:
        return ()
    last = f"last synced at {synced:%Y-%m-%d %H:%M} UTC" if synced else "has never synced"
    message = f"{ref} {last}; until it syncs again, it accepts what it knew."
    return (DeviceWarning(reason=Reason.AWAITING_SYNC, message=message, since=now),)


def _found(
    record: DeviceRecord,
    connected_registry: ConnectedRegistry | None,
    token: Token | None,
    now: datetime,
) -> Iterator[tuple[Reason, str]]:
    grant, state = record.status.grant, None
    if connected_registry is not None:
        state = connected_registry.connection_state
    if grant is not None and state in _OUT_OF_TOUCH:
        yield (
            Reason.CONNECTED_REGISTRY_OFFLINE,
            f"{grant.ref} is {state}; changes reach it when it is back.",
        )
    delivery = record.status.delivery
    if delivery is not None and record.status.acknowledged_at is None:
        life = delivery.expires_at - delivery.at
        if now >= delivery.expires_at - _NEAR * life:
            end = f"{delivery.expires_at:%Y-%m-%d %H:%M} UTC"
            message = f"The password ends at {end}, and the device has not said that it logged in."
            yield Reason.PASSWORD_EXPIRES_SOON, message
    if record.status.adopted and delivery is None and token is not None:
        ending = _ending_soon(token, now=now)
        if ending is not None:
            end = f"{ending:%Y-%m-%d %H:%M} UTC"
            message = f"The password of the adopted token ends at {end}; rotate the device before."
            yield Reason.PASSWORD_EXPIRES_SOON, message
    if record.status.adopted and token is not None:
        endless = [p.slot.value for p in token.passwords if p.expires_at is None]
        if endless:
            which = f"{' and '.join(endless)} of {token.name}"
            message = f"Made by hand, and without an end: {which}. Rotate the device to replace it."
            yield Reason.PASSWORD_NOT_OURS, message


def _ending_soon(token: Token, *, now: datetime) -> datetime | None:
    """When the last password ends, where that is near; None where one has no end."""
    last = token.last_to_end(now)
    if last is None or last.expires_at is None:
        return None
    life = last.expires_at - last.created_at
    return last.expires_at if now >= last.expires_at - _NEAR * life else None
