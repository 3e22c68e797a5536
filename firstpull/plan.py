"""What is to be done for a device: a pure function of what was observed, the intent and the time.

The plan is what a dry run shows and what a worker applies. It is empty when nothing is to be
done. Every action says why it is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from firstpull.actions import (
    Action,
    CreateToken,
    Deliver,
    DisableSecretVersion,
    GeneratePassword,
    JoinConnectedRegistry,
    KeepPasswords,
    PutScopeMap,
    TakePlace,
    UpdateToken,
)
from firstpull.cloud import Slot, Twin, name_of, same_id
from firstpull.credentials import (
    SYNC_MARGIN,
    Credential,
    current_credential,
    slot_to_fill,
    slots_made_here,
    superseded_versions,
)
from firstpull.delivery import (
    Contents,
    entries_in,
    read_acknowledgement,
    read_entry,
    wire_expiry,
)
from firstpull.devices import DeviceKey
from firstpull.gate import Finding, first_finding
from firstpull.ledger import Standing
from firstpull.observation import CredentialView, Observed, PlaceView, takes_away
from firstpull.reasons import Reason
from firstpull.records import DeviceRecord, Holding, State
from firstpull.withdrawal import withdrawal


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the device says of the delivery that the record names."""

    logged_in: bool
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done, and how things stand where nothing is.

    `finding` is what stands in the way: no actions then but those that end a password. `answer`
    is the device's word on what is in its twin. `renew_at` is when the password there wants to be
    another.
    `takes_away`: the actions are of a withdrawal, and no others. `forgets`: they end what the
    device of before had, whose name this one has.
    `gone` are the holdings of which nothing is left when the actions are done. `is_settled` is
    false while the twin will hold another password than the one it is to hold.
    """

    actions: tuple[Action, ...] = ()
    finding: Finding | None = None
    answer: Answer | None = None
    renew_at: datetime | None = None
    takes_away: bool = False
    forgets: bool = False
    gone: tuple[Holding, ...] = ()
    is_settled: bool = True


def make_plan(observed: Observed, *, now: datetime, validity: timedelta) -> Plan:
    """What is to be done. `validity` is that of a new password."""
    if takes_away(observed.record):
        return _taking_away(observed)
    if observed.is_another_device:
        return _forgetting(observed)
    if (finding := first_finding(observed)) is not None:
        return Plan(finding=finding, actions=_ending_at_once(observed))
    twin, view, found = observed.twin, observed.chosen, observed.credential
    if twin is None or view is None or found is None:
        raise AssertionError("the gate lets no device pass without twin, place and credential")
    return _Planner(observed, twin, view, found, now=now, validity=validity).plan()


def _taking_away(observed: Observed) -> Plan:
    """All that has to go first. What could not be read is not known to be gone."""
    actions = withdrawal(
        observed.leaving, observed.twin, in_use=(), why="the device's access was revoked"
    )
    holdings = tuple(view.holding for view in observed.leaving)
    return Plan(actions=actions, takes_away=True, gone=() if observed.unread else holdings)


_AT_ONCE = "the passwords are to end at once"


def _starts_over(record: DeviceRecord) -> bool:
    """Whether a password is to end at once, and is still the one that was delivered."""
    rotation, delivery = record.rotation, record.delivery
    if rotation is None or not rotation.immediately:
        return False
    return rotation.replaces == (delivery.secret_version if delivery is not None else None)


def _ending_at_once(observed: Observed) -> tuple[Action, ...]:
    """What leaked ends, whatever stands in the way of another password."""
    found = observed.credential
    if found is None or observed.record.names is None or not _starts_over(observed.record):
        return ()
    return _ending(found, why=_AT_ONCE)


def _ending(found: CredentialView, *, why: str) -> tuple[Action, ...]:
    """All passwords of a token go, and what is stored of them."""
    actions: list[Action] = []
    if found.token is not None and found.token.passwords:
        actions.append(KeepPasswords(name=found.token.name, slots=frozenset(), why=why))
    actions += [
        DisableSecretVersion(secret=found.names.secret, version=version.version, why=why)
        for version in found.secrets
        if version.enabled
    ]
    return tuple(actions)


def _forgetting(observed: Observed) -> Plan:
    """All that the device of before could log in with goes; then this one is a new one.

    Nothing is given in the same pass: a second one could not tell the new password from the old
    ones. What is to be left goes in a pass of its own, whatever stands in this one's way.
    """
    found, why = observed.credential, "the device was registered anew: it is another device"
    return Plan(actions=_ending(found, why=why) if found is not None else (), forgets=True)


def has_not_answered(record: DeviceRecord, twin: Twin) -> bool:
    """Whether a twin holds what was delivered, and no answer that the record does not know."""
    if record.place is None or record.delivery is None or not twin.enabled:
        return False
    if record.observed_generation != record.generation:
        return False
    if twin.device_etag != record.hub_device_etag:
        return False
    key = record.place.connected_registry
    entry = read_entry(twin.desired, key)
    if entry is None or not entry.intact or entry.id != record.delivery.id:
        return False
    answer = read_acknowledgement(twin.reported, key)
    if answer is None or answer.delivery_id != record.delivery.id:
        return record.condition.reason is Reason.DELIVERED
    return not answer.logged_in and record.condition.reason is Reason.DEVICE_REPORTS_FAILURE


def adopts(record: DeviceRecord) -> bool:
    """Whether a token is about to be taken over with its passwords."""
    return record.names is None and record.intent.adopt is not None


def renewal_time(credential: Credential, device: DeviceKey) -> datetime:
    """When a password is replaced: at half its life, give or take a tenth by the device's hash."""
    life = credential.expires_at - credential.created_at
    jitter = int(device.digest("renewal")[:8], 16) / 0xFFFFFFFF
    return credential.created_at + life * (0.4 + 0.2 * jitter)


def contents_of(
    view: PlaceView, credential: Credential, *, address: str, repositories: tuple[str, ...]
) -> Contents:
    """What the twin is to hold for this credential, but for the password."""
    return Contents(
        address=address,
        username=name_of(view.token_id),
        secret_version=credential.version,
        expires_at=credential.expires_at,
        repositories=repositories,
        ca=view.entry.ca if view.entry else None,
        insecure=view.entry.insecure if view.entry else False,
    )


_NO_FREE_SLOT = Finding(
    state=State.WAITING,
    reason=Reason.NO_FREE_SLOT,
    message="Both passwords of the token may be in use, and the value of neither is known.",
    remedy="Delete the password that no device uses, or rotate the device immediately, which ends "
    "both; otherwise the earlier expiry frees a slot.",
)


class _Planner:
    """Collects the actions for a device that passed the gate."""

    def __init__(
        self,
        observed: Observed,
        twin: Twin,
        view: PlaceView,
        found: CredentialView,
        *,
        now: datetime,
        validity: timedelta,
    ) -> None:
        self._record = observed.record
        self._view = view
        self._found = found
        self._now = now
        self._validity = validity
        key = view.place.connected_registry
        self._leaving = observed.leaving
        self._unread = observed.unread
        self._twin = twin
        self._entry = read_entry(twin.desired, key)
        self._acknowledgement = read_acknowledgement(twin.reported, key)
        delivery = self._record.delivery
        self._delivered = delivery.secret_version if delivery is not None else None
        self._starts_over = _starts_over(self._record)
        self._current = (
            None
            if self._starts_over
            else current_credential(found.token, found.secrets, now=now, delivered=self._delivered)
        )

    def plan(self) -> Plan:
        slot = self._slot_for_new_password()
        if slot is None and self._current is None and not self._leaves_passwords_alone():
            return Plan(finding=_NO_FREE_SLOT)
        kept = self._keep_passwords()
        actions = (
            *self._place(),
            *self._scope_map(),
            *self._token(),
            *kept,
            *self._generate(slot),
            *self._join(),
            *self._deliver(),
            *self._disable(kept),
        )
        if not actions and self._wants_rotation() and slot is None and self._is_acknowledged():
            return Plan(finding=_NO_FREE_SLOT)
        answer = self._answer()
        gone: tuple[Holding, ...] = ()
        has_arrived = not actions and answer is not None and answer.logged_in
        if has_arrived and not self._unread:
            why = "the device has logged in with what it has now"
            here = (self._view.place.connected_registry,)
            actions = withdrawal(self._leaving, self._twin, in_use=here, why=why)
            gone = tuple(view.holding for view in self._leaving)
        return Plan(
            actions=actions,
            answer=answer,
            renew_at=self._next_change(),
            takes_away=has_arrived,
            gone=gone,
            is_settled=self._is_settled_after(actions),
        )

    def _place(self) -> tuple[Action, ...]:
        reserved = self._view.ledger.get(self._view.token_id) is not None
        if self._record.place is not None and reserved:
            return ()
        place = self._view.place
        why = f"{place} is the first connected registry asked for that has room"
        if self._record.place is not None:
            why = f"the ledger of {place} has lost the device"
        return (TakePlace(place=place, names=self._found.names, why=why),)

    def _scope_map(self) -> tuple[Action, ...]:
        wanted = self._record.scope_actions_at(self._view.place.registry)
        found = self._found.scope_map
        if found is not None and found.actions == wanted:
            return ()
        why = "no scope map has these actions" if found is None else "its actions were changed"
        return (PutScopeMap(name=self._found.scope_map_name, actions=wanted, why=why),)

    def _token(self) -> tuple[Action, ...]:
        token, scope_map = self._found.token, self._found.scope_map_name
        if token is None:
            why = "the device has no token"
            return (CreateToken(name=self._found.names.token, scope_map=scope_map, why=why),)
        if not token.enabled:
            why = "the token is disabled"
        elif not same_id(token.scope_map_id, self._found.scope_map_id):
            why = "the token has another scope map"
        else:
            return ()
        return (UpdateToken(name=token.name, scope_map=scope_map, why=why),)

    def _keep_passwords(self) -> tuple[KeepPasswords, ...]:
        """Passwords that have to go: those that leaked, and the one before.

        The one before goes when the device has logged in with the new one; then it is known
        whose it was, and that nothing names it any more. Those of an adopted token were this
        device's too.
        """
        token = self._found.token
        if token is None or not token.passwords:
            return ()
        there = frozenset(password.slot for password in token.passwords)
        if self._starts_over:
            keep, why = frozenset[Slot](), _AT_ONCE
        elif self._has_switched():
            made = there if self._record.adopted else slots_made_here(token, self._found.secrets)
            spent = made - self._slots_in_use()
            keep, why = there - spent, "the device has logged in with the password after it"
        else:
            return ()
        return (KeepPasswords(name=token.name, slots=keep, why=why),) if keep != there else ()

    def _has_switched(self) -> bool:
        """Whether the device said that it has logged in with the newest password there is."""
        answer, current, delivery = self._answer(), self._current, self._record.delivery
        if answer is None or current is None or delivery is None or self._entry is None:
            return False
        return (
            answer.logged_in
            and delivery.secret_version == current.version
            and self._entry.id == delivery.id
            and not self._record.slots_requested
        )

    def _leaves_passwords_alone(self) -> bool:
        """Whether the token was adopted and has a password that may be in use.

        A device that moves has to be told of its new place, and so of a password.
        """
        token = self._found.token
        is_told = self._record.delivery is not None or bool(self._record.leaving)
        if not self._is_adopted or is_told or self._starts_over or self._wants_rotation():
            return False
        if token is None:
            return False
        return any(password.is_live(self._now) for password in token.passwords)

    @property
    def _is_adopted(self) -> bool:
        """Whether the passwords are somebody else's, now or when this plan begins."""
        return self._record.adopted or adopts(self._record)

    def _slot_for_new_password(self) -> Slot | None:
        """None where no new password is needed, or where no slot is free."""
        if self._leaves_passwords_alone():
            return None
        if self._current is not None and not self._renewal_is_due(self._current):
            return None
        if self._starts_over:
            return Slot.ONE
        return slot_to_fill(
            self._found.token,
            now=self._now,
            requested=self._record.slots_requested,
            in_use=self._slots_in_use(),
        )

    def _slots_in_use(self) -> frozenset[Slot]:
        """The slots that the record names, that the twin names, and the one that is valid."""
        delivery, token = self._record.delivery, self._found.token
        expiries = {
            entry.expires
            for entry in entries_in(self._twin.desired).values()
            if token is not None and entry.is_for(token.name)
        }
        in_twin = (
            password.slot
            for password in (token.passwords if token else ())
            if password.expires_at and wire_expiry(password.expires_at) in expiries
        )
        recorded = (holder.slot for holder in (delivery, self._current) if holder is not None)
        return frozenset((*recorded, *in_twin))

    def _renewal_is_due(self, current: Credential) -> bool:
        """Never before the last one was acknowledged: a device that is away keeps what it knows."""
        if not self._is_acknowledged():
            return False
        is_half_over = self._now >= renewal_time(current, self._record.device)
        return is_half_over or self._wants_rotation()

    def _is_acknowledged(self) -> bool:
        return self._record.acknowledged_at is not None

    def _wants_rotation(self) -> bool:
        """Whether the password that somebody wants replaced is still the newest."""
        rotation, current = self._record.rotation, self._current
        if rotation is None:
            return False
        return current is None or current.version == rotation.replaces

    def _is_settled_after(self, actions: tuple[Action, ...]) -> bool:
        """Whether the twin then holds the newest password, and not one to be replaced."""
        rotation, current = self._record.rotation, self._current
        delivered = self._delivered
        for action in actions:
            if isinstance(action, Deliver):
                delivered = action.credential.version if action.credential is not None else None
                if delivered is None:
                    return True  # it is new
        if current is not None and delivered not in (None, current.version):
            return False
        if rotation is None:
            return True
        return delivered != rotation.replaces

    def _next_change(self) -> datetime | None:
        """When the password in the twin wants to be another: now, where a newer one is stored."""
        delivery, current = self._record.delivery, self._current
        if current is None:
            return self._end_of_adopted_passwords()
        if delivery is not None and delivery.secret_version != current.version:
            return self._now
        return renewal_time(current, self._record.device)

    def _end_of_adopted_passwords(self) -> datetime | None:
        """When an adopted device wants a password of ours: None where one of its has no end."""
        token = self._found.token
        if token is None or not self._leaves_passwords_alone():
            return None
        last = token.last_to_end(self._now)
        return last.expires_at if last is not None else None

    def _generate(self, slot: Slot | None) -> tuple[Action, ...]:
        if slot is None:
            return ()
        if self._wants_rotation():
            why = "another password was asked for"
        elif self._current is not None:
            why = "the password is past half its life"
        else:
            why = "no stored password of the token is valid"
        expires_at = (self._now + self._validity).replace(microsecond=0)
        return (GeneratePassword(slot=slot, expires_at=expires_at, why=why),)

    def _join(self) -> tuple[Action, ...]:
        registry, entry = self._view.connected_registry, self._view.ledger.get(self._view.token_id)
        listed = registry is not None and registry.lists(self._view.token_id)
        is_member = entry is not None and entry.standing is Standing.MEMBER
        if listed and is_member:
            return ()
        why = "the list was overwritten" if is_member else "the token is not in the list"
        return (JoinConnectedRegistry(place=self._view.place, why=why),)

    def _deliver(self) -> tuple[Action, ...]:
        address, current = self._view.address, self._current
        if address is None or (current is None and self._leaves_passwords_alone()):
            return ()
        why = "there is a new password"
        if current is not None:
            late = self._reason_to_deliver(current, address)
            if late is None:
                return ()
            why = late
        return (
            Deliver(
                place=self._view.place,
                address=address,
                credential=current,
                replaces=frozenset(self._entry.fields) if self._entry else frozenset(),
                found_id=self._entry.id if self._entry and self._entry.intact else None,
                why=why,
            ),
        )

    def _reason_to_deliver(self, current: Credential, address: str) -> str | None:
        entry, delivery = self._entry, self._record.delivery
        if entry is None:
            return "the twin holds no credentials"
        if delivery is None or delivery.id != entry.id or not entry.intact:
            return "the twin holds something else"
        if delivery.secret_version != current.version:
            return "there is a newer password" if self._may_switch(current) else None
        contents = contents_of(
            self._view, current, address=address, repositories=self._record.intent.repositories
        )
        outdated = entry.fields != contents.without_password()
        return "what is in the twin is out of date" if outdated else None

    def _may_switch(self, current: Credential) -> bool:
        """Whether the connected registry can know the newer password.

        Inferred from the time of its last sync. Once the old password has expired, waiting
        helps nobody.
        """
        delivery, registry = self._record.delivery, self._view.connected_registry
        if delivery is None or delivery.expires_at <= self._now:
            return True
        synced = registry.last_sync_at if registry is not None else None
        return synced is not None and synced >= current.created_at + SYNC_MARGIN

    def _disable(self, kept: tuple[KeepPasswords, ...]) -> tuple[Action, ...]:
        token = None if self._starts_over else self._found.token
        for action in kept:
            token = token.with_passwords_in(action.slots) if token is not None else None
        why = "its password is no longer the token's"
        return tuple(
            DisableSecretVersion(secret=self._found.names.secret, version=version, why=why)
            for version in superseded_versions(token, self._found.secrets)
        )

    def _answer(self) -> Answer | None:
        answer, delivery = self._acknowledgement, self._record.delivery
        if answer is None or delivery is None or answer.delivery_id != delivery.id:
            return None
        return Answer(logged_in=answer.logged_in, reason=answer.reason)
