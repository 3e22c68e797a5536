"""Which passwords a device's token keeps, and which slot gets a new one: pure decisions.

A slot that the record or the twin names, or whose password nobody can account for, is live until
its expiry. Only an immediate rotation ends a live password.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from firstpull.model.azure_resources import Password, Slot, Token, Twin
from firstpull.model.clock import whole_second
from firstpull.model.delivery_kinds import entries_everywhere
from firstpull.model.device_record import DeviceRecord
from firstpull.model.last_request import is_of_rotation, merged, request_tags, rotation_tags
from firstpull.model.password_slots import (
    SYNC_MARGIN,
    Credential,
    address_tags,
    current_credential,
    passwords_in,
    renewal_time,
    slot_to_fill,
    slots_made_here,
    superseded_versions,
    valid_credentials,
)
from firstpull.model.twin_entry import Acknowledgement, wire_expiry
from firstpull.reconcile.actions import (
    Deliver,
    DisableSecretVersion,
    GeneratePassword,
    KeepPasswords,
    ProvisionAction,
)
from firstpull.reconcile.observe import CredentialView, Observed
from firstpull.reconcile.preconditions import Target, contents_of

PASSWORDS_END_AT_ONCE = "the passwords must end at once"


def ends_at_once(record: DeviceRecord) -> bool:
    """Whether a rotation ends every password of the token at once.

    It does until the pass that ended them has delivered a new one: a password that was made
    before the request never counts.
    """
    rotation = record.spec.rotation
    return rotation is not None and rotation.immediately


def is_rotated(record: DeviceRecord, twin: Twin, found: CredentialView) -> bool:
    """Whether the twin has a password that the rotation made, which the record does not know of."""
    rotation, token = record.spec.rotation, found.token
    if rotation is None or token is None:
        return False
    entries = [entry for _, _, entry in entries_everywhere(twin)]
    delivered = {entry.expires for entry in entries if entry.intact and entry.is_for(token.name)}
    return any(
        password.expires_at is not None and wire_expiry(password.expires_at) in delivered
        for version in found.secrets
        if version.enabled and is_of_rotation(version, rotation)
        for password in passwords_in(token, version)
    )


def end_passwords(observed: Observed, *, why: str) -> tuple[ProvisionAction, ...]:
    """The actions that remove the token's passwords and disable their secret versions."""
    view, found = observed.chosen, observed.credential
    if view is None or found is None:
        return ()
    actions: list[ProvisionAction] = []
    if found.token is not None and found.token.passwords:
        actions.append(
            KeepPasswords(
                registry=view.ref.registry, name=found.token.name, slots=frozenset(), why=why
            )
        )
    actions += [
        DisableSecretVersion(secret=found.names.secret, version=version.version, why=why)
        for version in found.secrets
        if version.enabled
    ]
    return tuple(actions)


def _settled(answer: Acknowledgement | None, record: DeviceRecord) -> Acknowledgement | None:
    """The answer; one that counted as a login once needs no other sync."""
    status = record.status
    if answer is None or not answer.awaits_sync or status.delivery is None:
        return answer
    was_acknowledged = status.acknowledged_at is not None
    if not was_acknowledged or answer.delivery_id != status.delivery.id:
        return answer
    return replace(answer, logged_in=True, awaits_sync=False)


class Passwords:
    """What to do about the passwords of a device whose preconditions hold."""

    def __init__(
        self,
        record: DeviceRecord,
        target: Target,
        *,
        identity: str | None,
        now: datetime,
        validity: timedelta,
    ) -> None:
        self._record = record
        self._status = record.status
        self._target = target
        self._registry = target.view.ref.registry
        self._found = target.credential
        self._view = target.view
        self._identity = identity
        self._now = now
        self._validity = validity
        self._kind = record.delivery_kind
        key, registry = target.view.ref.name, target.view.connected_registry
        self._entry = self._kind.entry(target.twin, key)
        answer = self._kind.acknowledgement(
            target.twin, key, synced_at=registry.last_sync_at if registry is not None else None
        )
        self._acknowledgement = _settled(answer, record)
        delivery = record.status.delivery
        self._delivered = delivery.secret_version if delivery is not None else None
        self._ends_at_once = ends_at_once(record) and not is_rotated(
            record, target.twin, target.credential
        )
        self._requested = record.requested_slots(target.view.token_id)
        found = self._found
        self.current: Credential | None = (
            None
            if self._ends_at_once
            else current_credential(found.token, found.secrets, now=now, delivered=self._delivered)
        )

    def to_deliver(self) -> Credential | None:
        """The password for the twin: the newest that the connected registry has.

        Where it has none, the delivered one as long as it is valid: the device may have to read an
        entry again that was removed or edited, and have nothing else to log in with.
        """
        current, delivery, found = self.current, self._status.delivery, self._found
        if current is None or delivery is None or self._is_synced(current):
            return current
        valid = valid_credentials(
            found.token, found.secrets, now=self._now, delivered=self._delivered
        )
        synced = [credential for credential in valid if self._is_synced(credential)]
        delivered = [credential for credential in valid if credential.version == self._delivered]
        return max(synced or delivered, key=lambda c: c.created_at, default=current)

    def keep(self, *, to_fill: Slot | None) -> tuple[KeepPasswords, ...]:
        """Remove passwords that must end at once, or those before the acknowledged one.

        An earlier password goes if firstpull made it and nothing names its slot any more; so does
        one whose value was lost, unless its slot is `to_fill`. The passwords of an adopted token
        were this device's too.
        """
        token = self._found.token
        if token is None or not token.passwords:
            return ()
        there = frozenset(password.slot for password in token.passwords)
        if self._ends_at_once:
            keep, why = frozenset[Slot](), PASSWORDS_END_AT_ONCE
        elif self._has_switched():
            lost = self._lost_slots() - {to_fill}
            retired = (self._ending_slots(token) | lost) - self._slots_in_use()
            keep, why = there - retired, "the device has logged in with a newer password"
        else:
            return ()
        if keep == there:
            return ()
        return (KeepPasswords(registry=self._registry, name=token.name, slots=keep, why=why),)

    def _lost_slots(self) -> frozenset[Slot]:
        """The slots that were requested, and whose password no device can have.

        A stored one may have been in the twin until a pass died. Where an old password stays to
        its expiry, that one does too.
        """
        token = self._found.token
        if token is None or self._frees_old_slot():
            return self._requested
        return self._requested - slots_made_here(token, self._found.secrets)

    def _frees_old_slot(self) -> bool:
        return self._kind.frees_old_slot(self._record.spec.intent.delivery_options)

    def _ending_slots(self, token: Token) -> frozenset[Slot]:
        """The slots whose password ends when the device has logged in with a newer one."""
        if not self._frees_old_slot():
            return frozenset()
        if self._status.adopted:
            return frozenset(password.slot for password in token.passwords)
        return slots_made_here(token, self._found.secrets)

    def _has_switched(self) -> bool:
        """Whether the device has acknowledged the newest password."""
        answer, current, delivery = self.answer(), self.current, self._status.delivery
        if answer is None or current is None or delivery is None or self._entry is None:
            return False
        return (
            answer.logged_in
            and delivery.secret_version == current.version
            and self._entry.id == delivery.id
        )

    def are_left_alone(self) -> bool:
        """Whether the token was adopted and has a password that may be in use.

        A device that moves needs a delivery with its new address, and so a new password.
        """
        token = self._found.token
        needs_delivery = self._status.delivery is not None or bool(self._status.retiring)
        if not self._is_adopted or needs_delivery or self._ends_at_once or self.wants_rotation():
            return False
        if token is None:
            return False
        return any(password.is_live(self._now) for password in token.passwords)

    @property
    def _is_adopted(self) -> bool:
        """Whether the token is adopted, or this plan adopts it."""
        return self._status.adopted or self._record.token_to_adopt is not None

    def free_slot(self) -> Slot | None:
        """The slot to fill, None if no new password is due or no slot is free."""
        if self.are_left_alone():
            return None
        if self.current is not None and not self._renewal_is_due(self.current):
            return None
        if self._ends_at_once:
            return Slot.ONE
        return slot_to_fill(
            self._found.token,
            now=self._now,
            requested=self._lost_slots(),
            in_use=self._slots_in_use(),
        )

    def _slots_in_use(self) -> frozenset[Slot]:
        """The slots of the recorded delivery, of the twin's entries and of the current password.

        The delivery's slot counts while it has the delivered password: once that has expired, a
        pass that died may have left another there, which no device has.
        """
        delivery, token = self._status.delivery, self._found.token
        there = token.password(delivery.slot) if token and delivery else None
        if delivery is not None and (there is None or there.expires_at != delivery.expires_at):
            delivery = None
        expiries = self._expiries_in_twin()
        in_twin = (
            password.slot
            for password in (token.passwords if token else ())
            if password.expires_at and wire_expiry(password.expires_at) in expiries
        )
        recorded = (holder.slot for holder in (delivery, self.current) if holder is not None)
        return frozenset((*recorded, *in_twin))

    def _expiries_in_twin(self) -> set[str | None]:
        """`expiresOn` of the twin's entries for the token."""
        entries = entries_everywhere(self._target.twin)
        token = self._view.token_id.name
        return {entry.expires for _, _, entry in entries if entry.is_for(token)}

    def _expiry(self, slot: Slot) -> datetime:
        """When a new password expires: its expiry, which no other has, names it in the twin.

        Two passwords are made in one second where the clock is set back, or hosts are apart.
        """
        token = self._found.token
        passwords = token.passwords if token is not None else ()
        expires_at = whole_second(self._latest_expiry(slot, passwords))
        taken = self._expiries_in_twin()
        taken |= {wire_expiry(p.expires_at) for p in passwords if p.expires_at is not None}
        while wire_expiry(expires_at) in taken:
            expires_at -= timedelta(seconds=1)
        return expires_at

    def _latest_expiry(self, slot: Slot, passwords: Iterable[Password]) -> datetime:
        """The end of a whole life; earlier where the old password stays to its expiry.

        The next password can be made when the other slot is free, and may be made then. It has to
        outlive this one by the time in which an expiry is worth a warning: both slots would be
        taken until they expire, and nothing could replace two that expire together.
        """
        expires_at = self._now + self._validity
        others = [each for each in passwords if each.slot is not slot and each.is_live(self._now)]
        expiries = [each.expires_at for each in others if each.expires_at is not None]
        if self._frees_old_slot() or len(expiries) < len(others):
            return expires_at
        other_is_free_at = max([self._now, *expiries])
        return min(expires_at, other_is_free_at + self._validity * (1 - self._kind.last_share))

    def _renewal_is_due(self, current: Credential) -> bool:
        """Whether to replace the current password; never before the device acknowledged it."""
        if not self.is_acknowledged():
            return False
        is_half_over = self._now >= renewal_time(current, self._record.device)
        return is_half_over or self.wants_rotation()

    def is_acknowledged(self) -> bool:
        """Whether the device has logged in with what was delivered last."""
        return self._status.acknowledged_at is not None

    def wants_rotation(self) -> bool:
        """Whether a rotation is requested and the newest password is still the one to replace."""
        rotation, current = self._record.spec.rotation, self.current
        if rotation is None:
            return False
        return current is None or current.version == rotation.replaces

    def waits_for_device(self) -> bool:
        """Whether a rotation has to wait until the device has logged in."""
        answer = self.answer()
        has_logged_in = self.is_acknowledged() or (answer is not None and answer.logged_in)
        return self.current is not None and self.wants_rotation() and not has_logged_in

    def next_change(self) -> datetime | None:
        """When the delivered password is due for replacement; now, if a newer one is stored."""
        delivery, current = self._status.delivery, self.current
        if current is None:
            return self._end_of_adopted()
        if delivery is not None and delivery.secret_version != current.version:
            return self._now
        return renewal_time(current, self._record.device)

    def _end_of_adopted(self) -> datetime | None:
        """When the adopted passwords have all expired; None if one never expires."""
        token = self._found.token
        if token is None or not self.are_left_alone():
            return None
        last = token.last_to_end(self._now)
        return last.expires_at if last is not None else None

    def generate(self, slot: Slot | None) -> tuple[GeneratePassword, ...]:
        """A new password in a slot."""
        if slot is None:
            return ()
        if self.wants_rotation():
            why = "another password was asked for"
        elif self.current is not None:
            why = "the password is past half its life"
        else:
            why = "no stored password of the token is valid"
        tags = request_tags(self._record, ref=self._view.ref, identity=self._identity)
        tags |= rotation_tags(self._record)
        tags |= address_tags(contents_of(self._record, self._target).address)
        # A pass that requested the slot may have made none: the token was still being created.
        has_one = self._found.token is not None and self._found.token.password(slot) is not None
        return (
            GeneratePassword(
                registry=self._registry,
                names=self._found.names,
                slot=slot,
                expires_at=self._expiry(slot),
                request=merged({}, tags),
                repeats=slot in self._requested and has_one,
                why=why,
            ),
        )

    def may_switch(self, to: Credential) -> bool:
        """Whether the twin may get another password: the connected registry has it.

        When the old password has expired, there is no reason to wait.
        """
        delivery = self._status.delivery
        return delivery is None or delivery.expires_at <= self._now or self._is_synced(to)

    def _is_synced(self, credential: Credential) -> bool:
        """Whether the connected registry has a password, by the time of its last sync."""
        registry = self._view.connected_registry
        synced = registry.last_sync_at if registry is not None else None
        return synced is not None and synced >= credential.created_at + SYNC_MARGIN

    def disable(self, kept: tuple[KeepPasswords, ...]) -> tuple[DisableSecretVersion, ...]:
        """The secret versions whose password the token has no longer, once `kept` is applied."""
        token = None if self._ends_at_once else self._found.token
        for action in kept:
            token = token.with_passwords_in(action.slots) if token is not None else None
        why = "its password is no longer the token's"
        return tuple(
            DisableSecretVersion(secret=self._found.names.secret, version=version, why=why)
            for version in superseded_versions(token, self._found.secrets)
        )

    def answer(self) -> Acknowledgement | None:
        """The device's answer to the recorded delivery."""
        answer, delivery = self._acknowledgement, self._status.delivery
        if answer is None or delivery is None or answer.delivery_id != delivery.id:
            return None
        return answer

    def has_newest_after(self, deliver: tuple[Deliver, ...]) -> bool:
        """Whether the twin then has the newest password, and so what the intent asks for."""
        delivered, current = self._delivered_after(deliver), self.current
        return current is None or delivered in (None, current.version)

    def is_rotated_after(self, deliver: tuple[Deliver, ...]) -> bool:
        """Whether the twin then has not the password to replace."""
        rotation = self._record.spec.rotation
        if rotation is None or any(action.credential is None for action in deliver):
            return True
        return not self._ends_at_once and self._delivered_after(deliver) != rotation.replaces

    def _delivered_after(self, deliver: tuple[Deliver, ...]) -> str | None:
        versions = [action.credential.version for action in deliver if action.credential]
        return versions[-1] if versions else self._delivered
