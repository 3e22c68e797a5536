"""The warnings about a device that works."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from firstpull.model.azure_resources import ConnectedRegistry, ConnectedRegistryRef, Token, Twin
from firstpull.model.device_record import DeviceRecord, DeviceWarning
from firstpull.model.reasons import Reason
from firstpull.model.scope_actions import in_words, uncovered
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent

_DISCONNECTED = ("Offline", "Unhealthy")
"""Connection states in which a connected registry syncs nothing from Azure."""
_LAST_SHARE = 0.25
"""An adopted token's password expires soon in this last share of its life."""
_LONG_SILENT = timedelta(minutes=10)
"""A device that is on its site's network has answered by then."""


def warnings_for(
    record: DeviceRecord,
    *,
    connected_registry: ConnectedRegistry | None,
    synced_actions: frozenset[str] | None,
    token: Token | None,
    twin: Twin | None,
    now: datetime,
) -> tuple[DeviceWarning, ...]:
    """All current warnings, each since it first held.

    If `synced_actions` is None, the record's warning about repositories stays.
    """
    before = {warning.reason: warning for warning in record.status.warnings}
    found = dict(_found(record, connected_registry, token, now))
    if twin is not None and (silence := _silence(record, twin, now)) is not None:
        found[Reason.DELIVERY_NOT_READ] = silence
    ref = record.status.grant.ref if record.status.grant is not None else None
    known = before.get(Reason.REPOSITORIES_NOT_SYNCED)
    if ref is not None and synced_actions is not None:
        missing = uncovered(record.spec.intent.scope_actions, synced_actions)
        if missing:
            found[Reason.REPOSITORIES_NOT_SYNCED] = (
                f"{ref} does not sync {in_words(missing)}; pulls of them fail there."
            )
    elif known is not None and Reason.SYNCED_REPOSITORIES_NOT_KNOWN not in found:
        found[known.reason] = known.message
    return tuple(
        DeviceWarning(
            reason=reason,
            message=message,
            since=before[reason].since if reason in before else now,
        )
        for reason, message in sorted(found.items())
    )


def new_warnings(before: DeviceRecord, after: DeviceRecord) -> tuple[DeviceWarning, ...]:
    """The warnings of `after` whose reason `before` has not."""
    known = {warning.reason for warning in before.status.warnings}
    return tuple(warning for warning in after.status.warnings if warning.reason not in known)


def log_new_warnings(before: DeviceRecord, after: DeviceRecord) -> None:
    """Log each new warning."""
    for warning in new_warnings(before, after):
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
    """The warning after a revoke that a connected registry has not synced since; else none."""
    if connected_registry is None:
        return ()
    synced = connected_registry.last_sync_at
    if synced is not None and synced > since:
        return ()
    last = f"last synced at {synced:%Y-%m-%d %H:%M} UTC" if synced else "has never synced"
    message = f"{ref} {last}; until it syncs again, it still accepts the device."
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
        if grant is not None and connected_registry.sync_token_id is None:
            message = f"{grant.ref} has no sync token. Pulls of what it does not sync fail there."
            yield Reason.SYNCED_REPOSITORIES_NOT_KNOWN, message
    if grant is not None and state in _DISCONNECTED:
        yield (
            Reason.CONNECTED_REGISTRY_OFFLINE,
            f"{grant.ref} is {state}; changes reach it when it reconnects.",
        )
    delivery = record.status.delivery
    if delivery is not None:
        life = delivery.expires_at - delivery.at
        if now >= delivery.expires_at - record.delivery_kind.last_share * life:
            is_unanswered = record.status.acknowledged_at is None
            why = "the device has not logged in with it" if is_unanswered else "it is not replaced"
            end = f"{delivery.expires_at:%Y-%m-%d %H:%M} UTC"
            yield Reason.PASSWORD_EXPIRES_SOON, f"The password expires at {end}, and {why}."
    if record.status.adopted and delivery is None and token is not None:
        expires_at = _last_expiry_if_soon(token, now=now)
        if expires_at is not None:
            end = f"{expires_at:%Y-%m-%d %H:%M} UTC"
            message = f"The adopted token's password expires at {end}; rotate the device before."
            yield Reason.PASSWORD_EXPIRES_SOON, message
    if record.status.adopted and token is not None:
        endless = [p.slot.value for p in token.passwords if p.expires_at is None]
        if endless:
            which = f"{' and '.join(endless)} of {token.name}"
            message = f"firstpull did not make {which}, which never expires. Rotate the device."
            yield Reason.PASSWORD_NOT_OURS, message


def _silence(record: DeviceRecord, twin: Twin, now: datetime) -> str | None:
    """What its delivery kind says of a device that has not answered for long."""
    status, kind = record.status, record.delivery_kind
    delivery, grant = status.delivery, status.grant
    if delivery is None or grant is None or status.acknowledged_at is not None:
        return None
    answer = kind.acknowledgement(twin, grant.ref.name, synced_at=None)
    has_answered = answer is not None and answer.delivery_id == delivery.id
    return None if has_answered or now - delivery.at < _LONG_SILENT else kind.if_silent(twin)


def _last_expiry_if_soon(token: Token, *, now: datetime) -> datetime | None:
    """When the last live password expires, if that is soon; None if one never expires."""
    last = token.last_to_end(now)
    if last is None or last.expires_at is None:
        return None
    life = last.expires_at - last.created_at
    return last.expires_at if now >= last.expires_at - _LAST_SHARE * life else None
