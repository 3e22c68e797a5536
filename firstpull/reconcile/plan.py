"""The plan for a device: a pure function of the observation, the record and the time.

A dry run shows the plan, and a worker applies it in its order. Every action has a reason. An
empty plan takes no claim and writes nothing in Azure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from firstpull.model.azure_resources import Slot, Twin
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.password_slots import (
    SYNC_MARGIN,
    Credential,
    current_credential,
    renewal_time,
    slot_to_fill,
    slots_made_here,
    superseded_versions,
)
from firstpull.model.reasons import Reason
from firstpull.model.twin_entry import (
    Acknowledgement,
    Contents,
    entries_in,
    read_acknowledgement,
    read_entry,
    wire_expiry,
)
from firstpull.reconcile.actions import (
    CreateToken,
    Deliver,
    DisableSecretVersion,
    GeneratePassword,
    JoinConnectedRegistry,
    KeepPasswords,
    PlannedAction,
    ProvisionAction,
    PutScopeMap,
    ReserveRoom,
    SideBySide,
    TeardownAction,
    UpdateToken,
)
from firstpull.reconcile.checks import (
    Difference,
    RegistrySnapshot,
    Snapshot,
    StoredSecretState,
    differences,
)
from firstpull.reconcile.observe import CredentialView, GrantView, Observed
from firstpull.reconcile.plan_teardown import plan_teardown
from firstpull.reconcile.preconditions import NO_FREE_SLOT, Blocker, Target, check_preconditions


@dataclass(frozen=True, kw_only=True)
class BlockedPlan:
    """A precondition does not hold. The actions only end passwords that must end at once."""

    blocker: Blocker
    actions: tuple[ProvisionAction, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TeardownPlan:
    """Tear grants down. `gone` are the grants of which the actions leave nothing."""

    actions: tuple[TeardownAction, ...]
    gone: tuple[Grant, ...]


@dataclass(frozen=True, kw_only=True)
class ResetPlan:
    """Revoke the credentials of a deleted device that had the same id.

    The same pass provisions nothing: the next pass could not tell new passwords from old ones.
    """

    actions: tuple[ProvisionAction, ...]


@dataclass(frozen=True, kw_only=True)
class ProvisionPlan:
    """Provision what the record asks for; when it is acknowledged, tear the old grants down.

    `answer` is the device's acknowledgement of the recorded delivery. `renew_at` is when the
    delivered password is next due for replacement; now, if a newer one is stored. `is_settled`
    is false while the twin still has a password to replace.
    """

    grant: Grant
    steps: tuple[ProvisionAction | SideBySide, ...]
    retire: TeardownPlan | None
    answer: Acknowledgement | None
    renew_at: datetime | None
    is_settled: bool

    @property
    def actions(self) -> tuple[PlannedAction, ...]:
        """All actions, in order."""
        actions: list[PlannedAction] = []
        for step in self.steps:
            lanes = step.lanes if isinstance(step, SideBySide) else ((step,),)
            actions += [action for lane in lanes for action in lane]
        return (*actions, *(self.retire.actions if self.retire else ()))

    @property
    def slots_to_fill(self) -> frozenset[Slot]:
        """The slots that get a new password."""
        return frozenset(a.slot for a in self.actions if isinstance(a, GeneratePassword))


type Plan = BlockedPlan | TeardownPlan | ResetPlan | ProvisionPlan


def make_plan(observed: Observed, *, now: datetime, validity: timedelta) -> Plan:
    """The plan for an observed device. `validity` is that of a new password."""
    record = observed.record
    if record.needs_teardown:
        why = "the device's access was revoked"
        return _teardown(observed, observed.retiring, in_use=(), why=why)
    if observed.is_another_device:
        why = "the device was registered anew: it is another device"
        return ResetPlan(actions=_end_passwords(observed, why=why))
    target = check_preconditions(observed)
    if isinstance(target, Blocker):
        ends = _ends_at_once(record) and record.status.grant is not None
        why = _PASSWORDS_END_AT_ONCE
        return BlockedPlan(
            blocker=target, actions=_end_passwords(observed, why=why) if ends else ()
        )
    return _Planner(observed, target, now=now, validity=validity).plan()


_PASSWORDS_END_AT_ONCE = "the passwords must end at once"


def _teardown(
    observed: Observed, views: tuple[GrantView, ...], *, in_use: tuple[str, ...], why: str
) -> TeardownPlan:
    """The teardown of these grants; none counts as gone if a part could not be read."""
    return TeardownPlan(
        actions=plan_teardown(views, observed.twin, in_use=in_use, why=why),
        gone=() if observed.unread else tuple(view.grant for view in views),
    )


def _ends_at_once(record: DeviceRecord) -> bool:
    """Whether a rotation ends the delivered password at once."""
    rotation, delivery = record.spec.rotation, record.status.delivery
    if rotation is None or not rotation.immediately:
        return False
    return rotation.replaces == (delivery.secret_version if delivery is not None else None)


def _end_passwords(observed: Observed, *, why: str) -> tuple[ProvisionAction, ...]:
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


def is_still_unacknowledged(record: DeviceRecord, twin: Twin) -> bool:
    """Whether the twin has the delivery, and no acknowledgement that is new to the record."""
    status = record.status
    if status.grant is None or status.delivery is None or not twin.enabled:
        return False
    if status.observed_generation != record.spec.generation:
        return False
    if twin.device_etag != status.hub_device_etag:
        return False
    key = status.grant.ref.name
    entry = read_entry(twin.desired, key)
    if entry is None or not entry.intact or entry.id != status.delivery.id:
        return False
    answer = read_acknowledgement(twin.reported, key)
    if answer is None or answer.delivery_id != status.delivery.id:
        return status.condition.reason is Reason.DELIVERED
    return not answer.logged_in and status.condition.reason is Reason.DEVICE_REPORTS_FAILURE


def snapshot_of(observed: Observed, target: Target, *, deployment: str) -> Snapshot:
    """The snapshot of an observed device, for the checks."""
    found, delivery = target.credential, observed.record.status.delivery
    return Snapshot(
        record=observed.record,
        grant=Grant(ref=target.view.ref, names=found.names),
        deployment=deployment,
        registry=RegistrySnapshot(
            token=found.token,
            scope_map=found.scope_map,
            connected_registry=target.view.connected_registry,
        ),
        ledger=target.view.ledger,
        secret=_stored_state(found, delivery.secret_version if delivery else None),
        twin=target.twin,
    )


def _stored_state(found: CredentialView, version: str | None) -> StoredSecretState:
    delivered = next((v for v in found.secrets if v.version == version), None)
    if delivered is None:
        return StoredSecretState.MISSING
    return StoredSecretState.READABLE if delivered.enabled else StoredSecretState.DISABLED


class _Planner:
    """Collects the steps for a device whose preconditions hold."""

    def __init__(
        self, observed: Observed, target: Target, *, now: datetime, validity: timedelta
    ) -> None:
        self._observed = observed
        self._record = observed.record
        self._status = observed.record.status
        self._target = target
        self._view = target.view
        self._registry = target.view.ref.registry
        self._token_id = target.view.token_id
        self._found = target.credential
        self._now = now
        self._validity = validity
        key = target.view.ref.name
        self._entry = read_entry(target.twin.desired, key)
        self._acknowledgement = read_acknowledgement(target.twin.reported, key)
        delivery = self._status.delivery
        self._delivered = delivery.secret_version if delivery is not None else None
        self._ends_at_once = _ends_at_once(self._record)
        self._current = (
            None
            if self._ends_at_once
            else current_credential(
                self._found.token, self._found.secrets, now=now, delivered=self._delivered
            )
        )
        snapshot = snapshot_of(observed, target, deployment=observed.deployment)
        self._differences = frozenset(differences(snapshot))

    def plan(self) -> ProvisionPlan | BlockedPlan:
        slot = self._slot_for_new_password()
        if slot is None and self._current is None and not self._leaves_passwords_alone():
            return BlockedPlan(blocker=NO_FREE_SLOT)
        kept = self._keep_passwords()
        passwords: tuple[ProvisionAction, ...] = (*kept, *self._generate(slot))
        join: tuple[ProvisionAction, ...] = self._join()
        both = (SideBySide((passwords, join)),) if passwords and join else (*passwords, *join)
        steps: tuple[ProvisionAction | SideBySide, ...] = (
            *self._reserve(),
            *self._scope_map(),
            *self._token(),
            *both,
            *self._deliver(),
            *self._disable(kept),
        )
        if not steps and self._wants_rotation() and slot is None and self._is_acknowledged():
            return BlockedPlan(blocker=NO_FREE_SLOT)
        answer = self._answer()
        has_arrived = not steps and answer is not None and answer.logged_in
        return ProvisionPlan(
            grant=Grant(ref=self._view.ref, names=self._found.names),
            steps=steps,
            retire=self._retire() if has_arrived else None,
            answer=answer,
            renew_at=self._next_change(),
            is_settled=self._is_settled_after(steps),
        )

    def _retire(self) -> TeardownPlan | None:
        """Tear the old grants down, unless a part of them could not be read."""
        if self._observed.unread:
            return TeardownPlan(actions=(), gone=())
        return _teardown(
            self._observed,
            self._observed.retiring,
            in_use=(self._view.ref.name,),
            why="the device has logged in with its new grant",
        )

    def _why(self, *checked: Difference) -> str | None:
        """The first of these differences that exists, in words."""
        return next((d.value for d in checked if d in self._differences), None)

    def _reserve(self) -> tuple[ReserveRoom, ...]:
        reserved = self._view.ledger.get(self._token_id) is not None
        if self._status.grant is not None and reserved:
            return ()
        why = f"{self._view.ref} is the first connected registry asked for that has room"
        if self._status.grant is not None:
            why = Difference.LEDGER_ENTRY_MISSING.value
        return (
            ReserveRoom(
                ref=self._view.ref,
                token_id=self._token_id,
                capacity=self._target.entry.capacity,
                why=why,
            ),
        )

    def _scope_map(self) -> tuple[PutScopeMap, ...]:
        why = self._why(Difference.SCOPE_MAP_MISSING, Difference.SCOPE_MAP_CHANGED)
        if why is None:
            return ()
        wanted = self._record.scope_actions_at(self._registry)
        name = self._found.scope_map_name
        return (PutScopeMap(registry=self._registry, name=name, actions=wanted, why=why),)

    def _token(self) -> tuple[CreateToken | UpdateToken, ...]:
        name, scope_map = self._found.names.token, self._found.scope_map_id
        if (why := self._why(Difference.TOKEN_MISSING)) is not None:
            return (CreateToken(registry=self._registry, name=name, scope_map=scope_map, why=why),)
        why = self._why(Difference.TOKEN_DISABLED, Difference.OTHER_SCOPE_MAP)
        if why is None:
            return ()
        return (UpdateToken(registry=self._registry, name=name, scope_map=scope_map, why=why),)

    def _keep_passwords(self) -> tuple[KeepPasswords, ...]:
        """Remove passwords that must end at once, or those before the acknowledged one.

        An earlier password goes if firstpull made it and nothing names its slot any more. The
        passwords of an adopted token were this device's too.
        """
        token = self._found.token
        if token is None or not token.passwords:
            return ()
        there = frozenset(password.slot for password in token.passwords)
        if self._ends_at_once:
            keep, why = frozenset[Slot](), _PASSWORDS_END_AT_ONCE
        elif self._has_switched():
            made = there if self._status.adopted else slots_made_here(token, self._found.secrets)
            retired = made - self._slots_in_use()
            keep, why = there - retired, "the device has logged in with a newer password"
        else:
            return ()
        if keep == there:
            return ()
        return (KeepPasswords(registry=self._registry, name=token.name, slots=keep, why=why),)

    def _has_switched(self) -> bool:
        """Whether the device has acknowledged the newest password."""
        answer, current, delivery = self._answer(), self._current, self._status.delivery
        if answer is None or current is None or delivery is None or self._entry is None:
            return False
        return (
            answer.logged_in
            and delivery.secret_version == current.version
            and self._entry.id == delivery.id
            and not self._status.slots_requested
        )

    def _leaves_passwords_alone(self) -> bool:
        """Whether the token was adopted and has a password that may be in use.

        A device that moves needs a delivery with its new address, and so a new password.
        """
        token = self._found.token
        needs_delivery = self._status.delivery is not None or bool(self._status.retiring)
        if not self._is_adopted or needs_delivery or self._ends_at_once or self._wants_rotation():
            return False
        if token is None:
            return False
        return any(password.is_live(self._now) for password in token.passwords)

    @property
    def _is_adopted(self) -> bool:
        """Whether the token is adopted, or this plan adopts it."""
        return self._status.adopted or self._record.token_to_adopt is not None

    def _slot_for_new_password(self) -> Slot | None:
        """The slot to fill, None if no new password is due or no slot is free."""
        if self._leaves_passwords_alone():
            return None
        if self._current is not None and not self._renewal_is_due(self._current):
            return None
        if self._ends_at_once:
            return Slot.ONE
        return slot_to_fill(
            self._found.token,
            now=self._now,
            requested=self._status.slots_requested,
            in_use=self._slots_in_use(),
        )

    def _slots_in_use(self) -> frozenset[Slot]:
        """The slots of the recorded delivery, of the twin's entries and of the current password."""
        delivery, token = self._status.delivery, self._found.token
        expiries = {
            entry.expires
            for entry in entries_in(self._target.twin.desired).values()
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
        """Whether to replace the current password; never before the device acknowledged it."""
        if not self._is_acknowledged():
            return False
        is_half_over = self._now >= renewal_time(current, self._record.device)
        return is_half_over or self._wants_rotation()

    def _is_acknowledged(self) -> bool:
        return self._status.acknowledged_at is not None

    def _wants_rotation(self) -> bool:
        """Whether a rotation is requested and the newest password is still the one to replace."""
        rotation, current = self._record.spec.rotation, self._current
        if rotation is None:
            return False
        return current is None or current.version == rotation.replaces

    def _is_settled_after(self, steps: tuple[ProvisionAction | SideBySide, ...]) -> bool:
        """Whether the twin then has the newest password, and not the one to replace."""
        rotation, current = self._record.spec.rotation, self._current
        delivered = self._delivered
        for step in steps:
            if isinstance(step, Deliver):
                if step.credential is None:
                    return True  # the plan makes and delivers a new password
                delivered = step.credential.version
        if current is not None and delivered not in (None, current.version):
            return False
        if rotation is None:
            return True
        return delivered != rotation.replaces

    def _next_change(self) -> datetime | None:
        delivery, current = self._status.delivery, self._current
        if current is None:
            return self._end_of_adopted_passwords()
        if delivery is not None and delivery.secret_version != current.version:
            return self._now
        return renewal_time(current, self._record.device)

    def _end_of_adopted_passwords(self) -> datetime | None:
        """When the adopted passwords have all expired; None if one never expires."""
        token = self._found.token
        if token is None or not self._leaves_passwords_alone():
            return None
        last = token.last_to_end(self._now)
        return last.expires_at if last is not None else None

    def _generate(self, slot: Slot | None) -> tuple[GeneratePassword, ...]:
        if slot is None:
            return ()
        if self._wants_rotation():
            why = "another password was asked for"
        elif self._current is not None:
            why = "the password is past half its life"
        else:
            why = "no stored password of the token is valid"
        return (
            GeneratePassword(
                registry=self._registry,
                names=self._found.names,
                slot=slot,
                expires_at=(self._now + self._validity).replace(microsecond=0),
                why=why,
            ),
        )

    def _join(self) -> tuple[JoinConnectedRegistry, ...]:
        why = self._why(Difference.NOT_LISTED, Difference.LEDGER_ENTRY_MISSING)
        if why is None:
            return ()
        return (
            JoinConnectedRegistry(
                ref=self._view.ref,
                token_id=self._token_id,
                capacity=self._target.entry.capacity,
                why=why,
            ),
        )

    def _deliver(self) -> tuple[Deliver, ...]:
        current = self._current
        if current is None and self._leaves_passwords_alone():
            return ()
        contents = self._contents()
        why = self._reason_to_deliver(current, contents) if current else "there is a new password"
        if why is None:
            return ()
        return (
            Deliver(
                ref=self._view.ref,
                secret=self._found.names.secret,
                contents=contents,
                credential=current,
                replaces=frozenset(self._entry.fields) if self._entry else frozenset(),
                found_id=self._entry.id if self._entry and self._entry.intact else None,
                twin_etag=self._target.twin.etag,
                why=why,
            ),
        )

    def _contents(self) -> Contents:
        """The contents of the twin's entry."""
        return Contents(
            address=self._target.address,
            username=self._token_id.name,
            repositories=self._record.spec.intent.repositories,
            ca=self._target.entry.ca,
            insecure=self._target.entry.insecure,
        )

    def _reason_to_deliver(self, current: Credential, contents: Contents) -> str | None:
        entry, delivery = self._entry, self._status.delivery
        if entry is None:
            return Difference.ENTRY_MISSING.value
        if delivery is None or Difference.ENTRY_CHANGED in self._differences:
            return Difference.ENTRY_CHANGED.value
        if delivery.secret_version != current.version:
            return "there is a newer password" if self._may_switch(current) else None
        outdated = entry.fields != contents.without_password(current.expires_at)
        return "what is in the twin is out of date" if outdated else None

    def _may_switch(self, current: Credential) -> bool:
        """Whether the connected registry has the newer password, by the time of its last sync.

        When the old password has expired, there is no reason to wait.
        """
        delivery, registry = self._status.delivery, self._view.connected_registry
        if delivery is None or delivery.expires_at <= self._now:
            return True
        synced = registry.last_sync_at if registry is not None else None
        return synced is not None and synced >= current.created_at + SYNC_MARGIN

    def _disable(self, kept: tuple[KeepPasswords, ...]) -> tuple[DisableSecretVersion, ...]:
        token = None if self._ends_at_once else self._found.token
        for action in kept:
            token = token.with_passwords_in(action.slots) if token is not None else None
        why = "its password is no longer the token's"
        return tuple(
            DisableSecretVersion(secret=self._found.names.secret, version=version, why=why)
            for version in superseded_versions(token, self._found.secrets)
        )

    def _answer(self) -> Acknowledgement | None:
        """The device's answer to the recorded delivery."""
        answer, delivery = self._acknowledgement, self._status.delivery
        if answer is None or delivery is None or answer.delivery_id != delivery.id:
            return None
        return answer
