"""The plan for a device: a pure function of the observation, the record and the time.

A dry run shows the plan, and a worker applies it in its order. Every action has a reason. An
empty plan takes no claim and writes nothing in Azure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from firstpull.model.azure_resources import Slot, Twin
from firstpull.model.delivery_kinds import Problem, entries_everywhere, twin_at
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.password_slots import Credential, ended_slots
from firstpull.model.reasons import Reason
from firstpull.model.twin_entry import Acknowledgement, Contents
from firstpull.reconcile.actions import (
    CreateToken,
    Deliver,
    GeneratePassword,
    JoinConnectedRegistry,
    PlannedAction,
    ProvisionAction,
    PutScopeMap,
    ReserveRoom,
    SideBySide,
    TagSecret,
    TeardownAction,
    UpdateToken,
    actions_of,
    side_by_side,
)
from firstpull.reconcile.checks import (
    Difference,
    RegistrySnapshot,
    Snapshot,
    StoredSecretState,
    differences,
)
from firstpull.reconcile.observe import CredentialView, Observed
from firstpull.reconcile.plan_passwords import (
    PASSWORDS_END_AT_ONCE,
    Passwords,
    end_passwords,
    ends_at_once,
    is_rotated,
)
from firstpull.reconcile.plan_tags import tags_of_change, tags_of_teardown, with_addresses
from firstpull.reconcile.plan_teardown import plan_teardown
from firstpull.reconcile.preconditions import (
    AWAITING_DEVICE,
    NO_FREE_SLOT,
    NO_SLOT_TO_ROTATE,
    SEALING_KEY_NOT_KNOWN,
    Blocker,
    Target,
    blocker_of,
    check_preconditions,
    contents_of,
    wanted_delivery,
)


@dataclass(frozen=True, kw_only=True)
class BlockedPlan:
    """A precondition does not hold. The actions only end passwords that must end at once."""

    blocker: Blocker
    actions: tuple[ProvisionAction, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TeardownPlan:
    """Tear grants down. `gone` are the grants of which the actions leave nothing."""

    steps: tuple[TeardownAction | SideBySide[TeardownAction], ...]
    gone: tuple[Grant, ...]

    @property
    def actions(self) -> tuple[TeardownAction, ...]:
        """All actions, in order."""
        return actions_of(self.steps)


@dataclass(frozen=True, kw_only=True)
class ResetPlan:
    """End the passwords of a deleted device that had the same id; a request is for the new one.

    The same pass provisions nothing: the next pass could not tell new passwords from old ones.
    """

    actions: tuple[ProvisionAction, ...]


@dataclass(frozen=True, kw_only=True)
class GonePlan:
    """Revoke a device that was deleted; nobody has asked for the new one of the same id."""

    gone: str
    actions: tuple[()] = ()


@dataclass(frozen=True, kw_only=True)
class ProvisionPlan:
    """Provision what the record asks for; when it is acknowledged, tear the old grants down.

    `answer` is the device's acknowledgement of the recorded delivery. `renew_at` is when the
    delivered password is next due for replacement; now, if a newer one is stored. `has_newest`:
    the twin then has the newest password, and so what the intent asks for. `is_rotated` is false
    while a rotation is not carried out; `waits_for` says what for.
    """

    grant: Grant
    steps: tuple[ProvisionAction | SideBySide[ProvisionAction], ...]
    retire: TeardownPlan | None
    answer: Acknowledgement | None
    renew_at: datetime | None
    has_newest: bool
    is_rotated: bool
    waits_for: Blocker | None

    @property
    def actions(self) -> tuple[PlannedAction, ...]:
        """All actions, in order."""
        return (*actions_of(self.steps), *(self.retire.actions if self.retire else ()))

    @property
    def slots_to_fill(self) -> frozenset[Slot]:
        """The slots that get a new password."""
        return frozenset(a.slot for a in self.actions if isinstance(a, GeneratePassword))


type Plan = BlockedPlan | TeardownPlan | ResetPlan | GonePlan | ProvisionPlan


def make_plan(observed: Observed, *, now: datetime, validity: timedelta) -> Plan:
    """The plan for an observed device. `validity` is that of a new password."""
    record = observed.record
    if record.needs_teardown:
        ending = [view for view in observed.retiring if not view.shares_token]
        return _teardown(
            observed,
            in_use=(),
            tags=tags_of_teardown(observed, ending),
            why="the device's access was revoked",
        )
    seen = record.status.hub_generation_id
    if observed.is_another_device and seen is not None and not record.was_asked_for_since:
        return GonePlan(gone=seen)
    if observed.is_another_device:
        why = "the device was registered anew: it is another device"
        return ResetPlan(actions=end_passwords(observed, why=why))
    target = check_preconditions(observed)
    if isinstance(target, Blocker):
        ends = ends_at_once(record) and record.status.grant is not None
        if observed.twin is not None and observed.credential is not None:
            ends = ends and not is_rotated(record, observed.twin, observed.credential)
        why = PASSWORDS_END_AT_ONCE
        return BlockedPlan(blocker=target, actions=end_passwords(observed, why=why) if ends else ())
    if _may_be_anothers_passwords(record, target):
        why = "nothing shows that this device has the passwords of its token"
        return ResetPlan(actions=end_passwords(observed, why=why))
    return _Planner(observed, target, now=now, validity=validity).plan()


def _may_be_anothers_passwords(record: DeviceRecord, target: Target) -> bool:
    """Whether a token taken back has passwords that the device of today may not have.

    Its record is lost, and with it the identity that the passwords were for. The twin ends with
    its identity, so an entry for the token shows that it is the same. What a teardown has begun
    to end never comes back.
    """
    found = target.credential
    token = found.token
    if record.status.grant is not None or not found.is_made_here or token is None:
        return False
    if token.name in record.retiring_tokens_in(target.view.ref.registry) or not token.passwords:
        return False
    has_entry = any(e.is_for(token.name) for _, _, e in entries_everywhere(target.twin))
    return not (token.enabled and has_entry) or bool(ended_slots(token, found.secrets))


def _teardown(
    observed: Observed, *, in_use: tuple[Grant, ...], tags: Iterable[TagSecret] = (), why: str
) -> TeardownPlan:
    """The teardown of the retiring grants; none counts as gone if a part could not be read."""
    views = observed.retiring
    return TeardownPlan(
        steps=plan_teardown(views, observed.twin, in_use=in_use, tags=tags, why=why),
        gone=() if observed.unread else tuple(view.grant for view in views),
    )


def is_still_unacknowledged(record: DeviceRecord, twin: Twin) -> bool:
    """Whether the twin has the delivery, and no acknowledgement that is new to the record.

    Where the answer depends on a sync, the twin alone cannot tell.
    """
    status = record.status
    if status.grant is None or status.delivery is None or not twin.enabled:
        return False
    if twin.device_etag != status.hub_device_etag:
        return False
    rotation, is_held_up = record.spec.rotation, status.condition.reason is Reason.AWAITING_DEVICE
    expected = {rotation.generation} if rotation is not None and is_held_up else set[int]()
    key, kind = status.grant.ref.name, record.delivery_kind
    entry = kind.entry(twin, key)
    is_there = entry is not None and entry.intact and entry.id == status.delivery.id
    if record.pending - expected or not is_there:
        return False
    answer = kind.acknowledgement(twin, key, synced_at=None)
    is_unanswered = answer is None or answer.delivery_id != status.delivery.id
    if is_held_up:
        return answer is None or is_unanswered or not answer.logged_in
    if answer is None or is_unanswered:
        return status.condition.reason is Reason.DELIVERED
    # Whether the connected registry has synced since shows in a whole pass only.
    is_failure = not answer.logged_in and not answer.awaits_sync
    return is_failure and status.condition.reason is Reason.DEVICE_REPORTS_FAILURE


def snapshot_of(observed: Observed, target: Target) -> Snapshot:
    """The snapshot of an observed device, for the checks."""
    found, delivery = target.credential, observed.record.status.delivery
    return Snapshot(
        record=observed.record,
        grant=_grant_of(observed, target),
        deployment=observed.deployment,
        registry=RegistrySnapshot(
            token=found.token,
            scope_map=found.scope_map,
            connected_registry=target.view.connected_registry,
        ),
        ledger=target.view.ledger,
        secret=_stored_state(found, delivery.secret_version if delivery else None),
        twin=target.twin,
    )


def _grant_of(observed: Observed, target: Target) -> Grant:
    """The grant that the record has, or that the next claim gives it."""
    return Grant(
        ref=target.view.ref,
        names=target.credential.names,
        delivery=observed.record.delivery_kind.name,
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
        self._kind = observed.record.delivery_kind
        self._grant = _grant_of(observed, target)
        self._contents = contents_of(observed.record, target)
        self._entry = self._kind.entry(target.twin, target.view.ref.name)
        self._passwords = Passwords(
            observed.record,
            target,
            identity=observed.hub_generation_id,
            now=now,
            validity=validity,
        )
        snapshot = snapshot_of(observed, target)
        self._differences = frozenset(differences(snapshot))

    def plan(self) -> ProvisionPlan | BlockedPlan:
        passwords, slot = self._passwords, self._passwords.free_slot()
        if slot is None and passwords.current is None and not passwords.are_left_alone():
            return BlockedPlan(blocker=NO_FREE_SLOT)
        kept, withheld = passwords.keep(to_fill=slot), self._withheld()
        deliver = self._deliver(withheld)
        is_withheld = withheld is not None and not deliver and self._lacks_delivery()
        key = self._record.spec.intent.sealing_key
        if (deliver or slot is not None) and key is not None and key.public is None:
            return BlockedPlan(blocker=SEALING_KEY_NOT_KNOWN)
        lanes: tuple[tuple[ProvisionAction, ...], ...] = (
            (*kept, *passwords.generate(slot)),
            self._join(),
        )
        steps: tuple[ProvisionAction | SideBySide[ProvisionAction], ...] = (
            *self._reserve(),
            *self._scope_map(),
            *self._token(),
            *side_by_side(*lanes),
            *deliver,
            *passwords.disable(kept),
            *self._tag_secrets(fills_own=slot is not None),
        )
        if (
            not steps
            and slot is None
            and passwords.wants_rotation()
            and passwords.is_acknowledged()
        ):
            return BlockedPlan(blocker=NO_SLOT_TO_ROTATE)
        answer = passwords.answer()
        has_arrived = not steps and answer is not None and answer.logged_in
        return ProvisionPlan(
            grant=self._grant,
            steps=steps,
            retire=self._retire() if has_arrived else None,
            answer=answer,
            renew_at=passwords.next_change(),
            has_newest=not is_withheld and passwords.has_newest_after(deliver),
            is_rotated=passwords.is_rotated_after(deliver),
            waits_for=self._waits_for(withheld if is_withheld else None),
        )

    def _waits_for(self, withheld: Problem | None) -> Blocker | None:
        if withheld is not None:
            return blocker_of(withheld)
        return AWAITING_DEVICE if self._passwords.waits_for_device() else None

    def _withheld(self) -> Problem | None:
        """Why a person has to write the delivery."""
        chosen = self._passwords.to_deliver()
        version = f"/{chosen.version}" if chosen is not None else ""
        return self._kind.withheld(
            self._target.twin,
            wanted_delivery(self._record, self._target),
            secret=f"{self._found.names.secret}{version}",
            expires_at=chosen.expires_at if chosen is not None else None,
        )

    def _lacks_delivery(self) -> bool:
        """Whether there is something to deliver, now or when its password is made."""
        chosen = self._passwords.to_deliver()
        if chosen is None:
            return not self._passwords.are_left_alone()
        return self._reason_to_deliver(chosen, self._contents) is not None

    def _is_written(self, chosen: Credential | None) -> bool:
        """Whether the entry is there already, but for the password, which nobody has compared."""
        entry = self._entry
        if entry is None or chosen is None or not entry.intact:
            return False
        return entry.fields == self._kind.fields(self._contents, chosen.expires_at)

    def _retire(self) -> TeardownPlan:
        """Tear the old grants down, unless a part of them could not be read."""
        if self._observed.unread:
            return TeardownPlan(steps=(), gone=())
        return _teardown(
            self._observed,
            in_use=(self._grant,),
            why="the device has logged in with its new grant",
        )

    def _tag_secrets(self, *, fills_own: bool) -> tuple[TagSecret, ...]:
        """The secrets name change and address in their tags; a new password is stored with them."""
        here, is_adopted = self._grant, self._passwords.are_left_alone()
        tagged = tags_of_change(
            self._observed, here, self._found.secrets, is_adopted=is_adopted, fills_own=fills_own
        )
        current = self._passwords.current
        return tuple(
            with_addresses(
                tagged,
                here.names.secret,
                self._found.secrets,
                current=current.version if current is not None else None,
                address=contents_of(self._record, self._target).address,
            )
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

    def _deliver(self, withheld: Problem | None) -> tuple[Deliver, ...]:
        chosen = self._passwords.to_deliver()
        if chosen is None and self._passwords.are_left_alone():
            return ()
        contents, target_twin = self._contents, self._written_twin()
        if target_twin is None or (withheld is not None and not self._is_written(chosen)):
            return ()
        why = self._reason_to_deliver(chosen, contents) if chosen else "there is a new password"
        if why is None:
            return ()
        return (
            Deliver(
                ref=self._view.ref,
                delivery=self._kind.name,
                secret=self._found.names.secret,
                contents=contents,
                credential=chosen,
                replaces=self._kind.replaced(self._target.twin, self._view.ref.name),
                found_id=self._entry.id if self._entry and self._entry.intact else None,
                twin_etag=target_twin.etag,
                withheld=withheld,
                why=why,
            ),
        )

    def _written_twin(self) -> Twin | None:
        """The twin that gets the entry; the kind's preconditions make sure that it is there."""
        return twin_at(self._kind, self._target.twin)

    def _reason_to_deliver(self, chosen: Credential, contents: Contents) -> str | None:
        entry, delivery = self._entry, self._status.delivery
        if entry is None:
            return Difference.ENTRY_MISSING.value
        if delivery is None or Difference.ENTRY_CHANGED in self._differences:
            return Difference.ENTRY_CHANGED.value
        if delivery.secret_version != chosen.version:
            return "there is a newer password" if self._passwords.may_switch(chosen) else None
        outdated = entry.fields != self._kind.fields(contents, chosen.expires_at)
        return "what is in the twin is out of date" if outdated else None
