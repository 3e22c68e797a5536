"""firstpull's own plan, actions and record over a state of the model.

A state becomes what firstpull would observe, the real plan is made, the real interpreter turns it
into writes, and the real transitions write the record. A pass is taken apart at its writes: each
takes effect on the state that there is by then.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from firstpull.membership import Membership
from firstpull.model import transitions
from firstpull.model.azure_resources import (
    NewPassword,
    Password,
    RegistryId,
    SecretVersion,
    Slot,
    Twin,
)
from firstpull.model.clock import Clock
from firstpull.model.delivery_kinds import DeliveryKind
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Delivery, DeviceRecord, Rotation, TokenSlot
from firstpull.model.history import Journal
from firstpull.model.ports import ContainerRegistries, Hubs, Secrets
from firstpull.model.secret import Secret
from firstpull.reconcile.apply import Applier
from firstpull.reconcile.observe import Observed
from firstpull.reconcile.plan import ProvisionPlan, make_plan
from firstpull.reconcile.status import after_pass
from local_azure.iot_hub.models import EDGE_AGENT
from tests.firstpull.builders import (
    ADDRESS,
    DEVICE,
    GRANT,
    INTENT,
    NOW,
    READY,
    TOKEN_ID,
    contents,
    merged,
    record,
    reported,
    secret_version,
    token,
)
from tests.rotation.consumers import Consumer
from tests.rotation.state import GONE, NEW, Azure, Record, State, Synced, Work, Write, WriteKind

SLOTS = (Slot.ONE, Slot.TWO)
_APART = timedelta(minutes=1)
"""Between the creation of two passwords, and more than the margin after which a sync counts."""
_BEFORE_ALL = timedelta(days=9999)


@dataclass(frozen=True)
class Calendar:
    """The times of the passwords of a state, by their ages."""

    ages: tuple[int, ...]
    validity: timedelta
    step: timedelta
    kind: DeliveryKind

    def created_at(self, password: int) -> datetime:
        """Later for each later password; only steps of age are long."""
        if password == GONE:
            return NOW - _BEFORE_ALL
        since = self.step * self.ages[password]
        return NOW - since - _APART * (len(self.ages) - password)

    def expires_at(self, password: int) -> datetime:
        """Its own for each password, to the second."""
        return self.created_at(password) + self.validity

    def password(self, number: int, slot: Slot) -> Password:
        """As the token lists it."""
        return Password(
            slot=slot, created_at=self.created_at(number), expires_at=self.expires_at(number)
        )

    def delivery_id(self, number: int) -> str:
        """As the twin has it."""
        expires_at = self.expires_at(number)
        return self.kind.delivery_id(contents(), value_of(number), expires_at=expires_at)

    def patch(self, number: int) -> dict[str, Any]:
        """What writes it into the twin."""
        ref, expires_at = GRANT.ref, self.expires_at(number)
        return self.kind.patch(
            contents(), ref.name, value_of(number), expires_at=expires_at, replaces=()
        )

    def last_sync_at(self, synced: Synced) -> datetime:
        """Between two passwords, or within the margin after the later one."""
        if synced.races:
            return self.created_at(synced.newer_than) + timedelta(seconds=1)
        if synced.newer_than:
            return self.created_at(synced.newer_than - 1) + _APART / 2
        return NOW - _BEFORE_ALL


def value_of(number: int) -> Secret:
    """The value of a password."""
    return Secret(f"=pw/{number}")


def number_of(value: Secret) -> int:
    """The password that has a value."""
    return int(value.reveal().removeprefix("=pw/"))


def version_of(number: int) -> str:
    """The name of the secret version of a password."""
    return f"v{number}"


def number_in(version: str) -> int:
    """The password in a secret version."""
    return int(version.removeprefix("v"))


def apply_write(write: Write, azure: Azure, *, to: Consumer) -> Azure | None:
    """Azure after a write whose password has its number; None where the twin has changed since.

    edgeAgent's report has the version of the twin that it took, which a write makes an earlier one.
    """
    (one, two), password = azure.slots, write.password
    first, second = write.slots
    match write.kind:
        case WriteKind.MAKE:
            return azure._replace(slots=(password, two) if first else (one, password))
        case WriteKind.KEEP:
            return azure._replace(slots=(one if first else None, two if second else None))
        case WriteKind.STORE if password is not None:
            return azure._replace(stored=azure.stored | {(password, True)})
        case WriteKind.DISABLE if password is not None:
            others = azure.stored - {(password, True)}
            return azure._replace(stored=others | {(password, False)})
        case WriteKind.DELIVER:
            if azure.entry != write.etag:
                return None
            answer = azure.answer if to.logs_in else None
            confirmed = azure.confirmed and to.logs_in
            return azure._replace(entry=password, answer=answer, confirmed=confirmed)
    raise AssertionError(write)


@dataclass
class _Ports:
    """The ports of a pass over one state, which note its writes."""

    azure: Azure
    module: str | None
    writes: list[Write] = field(default_factory=list)

    async def generate_password(
        self,
        registry: RegistryId,  # noqa: ARG002 - the port's
        token: str,  # noqa: ARG002 - the port's
        *,
        slot: Slot,
        expires_at: datetime,
        deadline_seconds: float,  # noqa: ARG002 - the port's
    ) -> NewPassword:
        slots = slot is Slot.ONE, slot is Slot.TWO
        self.writes.append(Write(WriteKind.MAKE, password=NEW, slots=slots))
        return NewPassword(slot=slot, created_at=NOW, expires_at=expires_at, value=value_of(NEW))

    async def keep_passwords(
        self,
        registry: RegistryId,  # noqa: ARG002 - the port's
        token: str,  # noqa: ARG002 - the port's
        *,
        slots: Collection[Slot],
        deadline_seconds: float,  # noqa: ARG002 - the port's
    ) -> None:
        self.writes.append(Write(WriteKind.KEEP, slots=(Slot.ONE in slots, Slot.TWO in slots)))

    async def put(
        self,
        name: str,  # noqa: ARG002 - the port's
        value: Secret,
        *,
        expires_at: datetime | None,
        tags: Mapping[str, str],
        enabled: bool = True,
    ) -> SecretVersion:
        if not enabled:  # Key Vault is only tried: this version has no password
            return SecretVersion(version="tried", enabled=False, expires_at=expires_at)
        number = number_of(value)
        self.writes.append(Write(WriteKind.STORE, password=number))
        return SecretVersion(
            version=version_of(number), enabled=True, expires_at=expires_at, tags=tags
        )

    async def read(self, name: str, version: str) -> Secret:  # noqa: ARG002 - the port's
        return value_of(number_in(version))

    async def disable(self, name: str, version: str) -> None:  # noqa: ARG002 - the port's
        self.writes.append(Write(WriteKind.DISABLE, password=number_in(version)))

    async def patch_desired(
        self,
        device: DeviceKey,  # noqa: ARG002 - the port's
        patch: Mapping[str, Any],
        *,
        etag: str,
        deadline_seconds: float,  # noqa: ARG002 - the port's
        module: str | None = None,
    ) -> None:
        if etag != _etag_of(self.azure):
            raise AssertionError("the plan has the ETag that was observed")
        if module != self.module:
            raise AssertionError("the plan has the twin of its delivery kind")
        of_kind = patch["runtime"]["settings"] if module is not None else patch["firstpull"]
        (entry,) = (found for found in of_kind["registryCredentials"].values() if found is not None)
        number = number_of(entry["password"])
        self.writes.append(Write(WriteKind.DELIVER, password=number, etag=self.azure.entry))


class _Always:
    """A claim that is held: what comes after its end is the model's own `late`."""

    def check(self) -> None:
        return


class _Now:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a pass of the model waits for {seconds} seconds")


class Worker:
    """Plans and carries out passes. Remembers what it has worked out, so one for each rule."""

    def __init__(self, *, validity: timedelta, step: timedelta, to: Consumer) -> None:
        self.to = to
        self._validity = validity
        self._step = step
        self._grant = replace(GRANT, delivery=to.delivery)
        self._begin = lru_cache(None)(self._begun)

    def begin(self, state: State) -> tuple[Work, Record] | Record | None:
        """A pass: its work, with the record under its claim; else the record if that changes."""
        return self._begin(state.record, state.azure, state.synced, state.ages)

    def _begun(
        self, before: Record, azure: Azure, synced: Synced, ages: tuple[int, ...]
    ) -> tuple[Work, Record] | Record | None:
        observed = self._observed(before, azure, synced, ages)
        plan = make_plan(observed, now=NOW, validity=self._validity)
        ports, delivery, claimed = _Ports(azure, self.to.kind.module), None, observed.record
        if plan.actions:
            if not isinstance(plan, ProvisionPlan):
                raise AssertionError(f"the model has no such plan: {plan}")
            claimed = transitions.granted(
                claimed, self._grant, slots=plan.slots_to_fill, hub_generation_id="g1"
            )
            applied = _applier(ports).apply(plan.steps, guard=_Always(), journal=_journal())
            delivery = _run_to_its_end(applied)

        def after(record: DeviceRecord) -> Record:
            return _abstract(after_pass(record, observed, plan, delivery, now=NOW))

        ends = after(claimed)
        if not plan.actions:
            return ends if ends != before else None
        present = _abstract(claimed)
        rotated = rotation_of(present)
        if_rotated = after(self._record(rotated, azure, ages)) if rotated is not None else ends
        return Work(writes=tuple(ports.writes), ends=ends, if_rotated=if_rotated), present

    def _observed(
        self, found: Record, azure: Azure, synced: Synced, ages: tuple[int, ...]
    ) -> Observed:
        """What the observer reads in such a state."""
        calendar = self._calendar(ages)
        passwords = [
            calendar.password(number, slot)
            for slot, number in zip(SLOTS, azure.slots, strict=True)
            if number is not None
        ]
        slot_of = {number: slot for slot, number in zip(SLOTS, azure.slots, strict=True)}
        secrets = tuple(
            secret_version(
                version_of(number),
                of=calendar.password(number, slot_of.get(number, Slot.ONE)),
                enabled=is_enabled,
            )
            for number, is_enabled in sorted(azure.stored)
        )
        observed = READY.observed(
            record=self._record(found, azure, ages),
            desired={},
            reported={},
            token=token(*passwords),
            secrets=secrets,
            last_sync_at=calendar.last_sync_at(synced),
        )
        if observed.twin is None:
            raise AssertionError("the device is in its hub")
        made = _edge_twin if self.to.kind.module is not None else _device_twin
        return replace(observed, twin=made(observed.twin, azure, calendar, synced))

    def _calendar(self, ages: tuple[int, ...]) -> Calendar:
        return Calendar(ages, self._validity, self._step, self.to.kind)

    def _record(self, found: Record, azure: Azure, ages: tuple[int, ...]) -> DeviceRecord:
        calendar, delivery, rotation = self._calendar(ages), None, None
        if found.delivered is not None:
            delivery = Delivery(
                id=calendar.delivery_id(found.delivered),
                slot=Slot.TWO if found.delivered == azure.slots[1] else Slot.ONE,
                secret_version=version_of(found.delivered),
                address=ADDRESS,
                expires_at=calendar.expires_at(found.delivered),
                at=NOW,
            )
        if found.rotates is not None:
            rotation = Rotation(
                replaces=version_of(found.rotates),
                immediately=False,
                requested_by="somebody",
                at=NOW,
                generation=2,
            )
        return record(
            intent=replace(
                INTENT,
                delivery=self.to.delivery,
                delivery_options=self.to.options,
            ),
            grant=self._grant,
            generation=1 if rotation is None else 2,
            rotation=rotation,
            delivery=delivery,
            acknowledged_at=NOW if found.acknowledged else None,
            slots_requested=frozenset(
                TokenSlot(token=TOKEN_ID, slot=slot)
                for slot, is_requested in zip(SLOTS, found.requested, strict=True)
                if is_requested
            ),
        )


def rotation_of(record: Record) -> Record | None:
    """The record after a request for a rotation; None where that changes nothing."""
    if record.rotates is not None or record.delivered is None:
        return None
    return record._replace(rotates=record.delivered)


def _abstract(found: DeviceRecord) -> Record:
    """What the model keeps of a record."""
    delivery, rotation = found.status.delivery, found.spec.rotation
    requested = found.requested_slots(TOKEN_ID)
    return Record(
        delivered=number_in(delivery.secret_version) if delivery is not None else None,
        acknowledged=found.status.acknowledged_at is not None,
        requested=(Slot.ONE in requested, Slot.TWO in requested),
        rotates=number_in(rotation.replaces or "") if rotation is not None else None,
    )


def _device_twin(found: Twin, azure: Azure, calendar: Calendar, _synced: Synced) -> Twin:
    """The twin of a device whose agent reports its login."""
    answers: dict[str, Any] = {}
    if azure.answer is not None:
        answers = reported(deliveryId=calendar.delivery_id(azure.answer), state="LoggedIn")
    desired = merged({}, calendar.patch(azure.entry)) if azure.entry is not None else {}
    return replace(found, etag=_etag_of(azure), desired=desired, reported=answers)


def _edge_twin(found: Twin, azure: Azure, calendar: Calendar, synced: Synced) -> Twin:
    """The twin of an Edge device with that of edgeAgent, which has taken the version or none."""
    desired: dict[str, Any] = {"schemaVersion": "1.1", "runtime": {"type": "docker"}}
    if azure.entry is not None:
        desired = merged(desired, calendar.patch(azure.entry))
    answers: dict[str, Any] = {}
    if azure.answer is not None:
        before = timedelta(minutes=1 if azure.confirmed else -1)
        at = calendar.last_sync_at(synced) - before
        answers = {
            "lastDesiredVersion": 2,
            "lastDesiredStatus": {"code": 200},
            "$metadata": {"lastDesiredVersion": {"$lastUpdated": at.isoformat()}},
        }
    module = replace(
        found, etag=_etag_of(azure), desired=desired | {"$version": 2}, reported=answers
    )
    return replace(found, is_edge=True, modules={EDGE_AGENT: module})


def _etag_of(azure: Azure) -> str:
    return f"t{azure.entry}"


def _applier(ports: _Ports) -> Applier:
    return Applier(
        deployment="test",
        registries=cast("ContainerRegistries", ports),
        secrets=cast("Secrets", ports),
        hubs=cast("Hubs", ports),
        membership=cast("Membership", None),
        clock=cast("Clock", _Now()),
    )


def _journal() -> Journal:
    return Journal(device=DEVICE, clock=cast("Clock", _Now()))


def _run_to_its_end[T](work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    work.close()
    raise AssertionError("a pass of the model waits for nothing")
