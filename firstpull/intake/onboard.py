"""The one way in: check what is asked for, write the intent into the record, hint the queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from firstpull.config.policy import ConnectedRegistryPolicy, Policy, is_host
from firstpull.intake.requests import OnboardingRequest
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey, is_device_id
from firstpull.model.device_record import DeviceRecord, Intent, State
from firstpull.model.errors import Conflict, FieldError, Invalid, NotAllowed, NotKnown, Refused
from firstpull.model.ports import Page, Query, Records, Stored, WorkQueue
from firstpull.model.reasons import Reason
from firstpull.model.record_update import (
    ATTEMPTS,
    changing_too_often,
    device_not_known,
    update_record,
)
from firstpull.model.scope_actions import DEFAULT_ACTION
from firstpull.model.transitions import asked_again, new_record, with_intent, woken
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent

LONGEST_WAIT = 20.0
"""Seconds that a request may wait for its outcome."""
_POLL = 0.25


@dataclass(frozen=True, kw_only=True)
class Onboarding:
    """What every door calls."""

    policy: Policy
    records: Records
    queue: WorkQueue
    clock: Clock

    def device(self, device_id: str, *, hub: str | None) -> DeviceKey:
        """The device of an address. Raises Invalid for one that cannot be.

        A hub that the policy lists no more may have devices that are to be looked up and revoked.
        """
        if not is_device_id(device_id):
            error = FieldError("deviceId", "is not an IoT Hub device id")
            raise Invalid("The address names no possible device.", errors=(error,))
        listed = self.policy.hub(hub)
        host = listed.host if listed is not None else f"{hub}".lower()
        if not is_host(host):
            error = FieldError("hub", "is not the host name of a hub")
            raise Invalid("The address names no possible device.", errors=(error,))
        return DeviceKey(hub=host, device_id=device_id)

    async def ask(
        self, request: OnboardingRequest, *, requested_by: str, asked_at: datetime | None = None
    ) -> DeviceRecord:
        """Record what is wanted and have it worked on. Asking for the same again changes nothing.

        `asked_at` is when a message was written, where that was earlier. Raises NotAllowed with
        every path that the policy forbids, and Refused where the device has another place
        already, or where something else was asked for later.
        """
        for _ in range(ATTEMPTS):
            stored, wanted = await self._stored_and_wanted(
                request, requested_by=requested_by, asked_at=asked_at
            )
            try:
                record = await self._write(stored, wanted)
            except Conflict:
                continue
            if record.schedule.due_at <= self.clock.now():
                await self.queue.put(record.device)
            return record
        raise changing_too_often()

    async def propose(
        self, request: OnboardingRequest, *, requested_by: str, asked_at: datetime | None = None
    ) -> DeviceRecord:
        """The record that asking would write. Writes nothing; raises what asking raises."""
        _, wanted = await self._stored_and_wanted(
            request, requested_by=requested_by, asked_at=asked_at
        )
        return wanted

    async def introduce(self, request: OnboardingRequest, *, requested_by: str) -> None:
        """Ask for a device that nothing was asked for yet; look at one that is known.

        An appearance is no wish: it does not undo what was asked for since the first.
        """
        if not await self.wake(self.device(request.device_id, hub=request.hub)):
            await self.ask(request, requested_by=requested_by)

    async def propose_introduction(
        self, request: OnboardingRequest, *, requested_by: str
    ) -> DeviceRecord:
        """The record that introducing would leave. Writes nothing."""
        stored = await self.records.get(self.device(request.device_id, hub=request.hub))
        if stored is not None:
            return stored.value
        return await self.propose(request, requested_by=requested_by)

    async def wake(self, device: DeviceKey) -> bool:
        """Have a known device looked at now. False for one that no record names."""
        now = self.clock.now()
        try:
            await update_record(self.records, device, lambda record: woken(record, now))
        except NotKnown:
            return False
        await self.queue.put(device)
        return True

    async def find(self, device: DeviceKey) -> DeviceRecord:
        """The record of a device. Raises NotKnown."""
        stored = await self.records.get(device)
        if stored is None:
            raise device_not_known(device)
        return stored.value

    async def wait(self, record: DeviceRecord, *, seconds: float) -> DeviceRecord:
        """The record once its generation has come to an end or to a stop, or after `seconds`."""
        asked, give_up = record, self.clock.now() + timedelta(seconds=seconds)
        while not _at_rest(record, asked, now=self.clock.now()) and self.clock.now() < give_up:
            await self.clock.sleep(_POLL)
            record = await self.find(record.device)
            if record.spec.generation != asked.spec.generation:
                return record
        return record

    async def page(self, query: Query) -> Page:
        """Records, a page at a time."""
        return await self.records.page(query)

    async def _stored_and_wanted(
        self, request: OnboardingRequest, *, requested_by: str, asked_at: datetime | None
    ) -> tuple[Stored[DeviceRecord] | None, DeviceRecord]:
        now = self.clock.now()
        asked_at = min(asked_at or now, now)
        intent = self._intent(request, requested_by=requested_by, at=asked_at)
        hub = self.policy.hub(request.hub) or self.policy.hubs[0]
        device = DeviceKey(hub=hub.host, device_id=request.device_id)
        stored = await self.records.get(device)
        if stored is None:
            return None, new_record(device, intent)
        return stored, _wanted_record(stored.value, intent, now=now)

    async def _write(
        self, stored: Stored[DeviceRecord] | None, wanted: DeviceRecord
    ) -> DeviceRecord:
        if stored is None:
            written = await self.records.insert(wanted)
        elif wanted == stored.value:
            return wanted
        else:
            written = await self.records.replace(wanted, etag=stored.etag)
            if wanted.spec.generation == stored.value.spec.generation:
                return written.value
        emit(
            LogEvent.DEVICE_INTENT_RECORDED,
            hub=wanted.device.hub,
            device_id=wanted.device.device_id,
            generation=wanted.spec.generation,
            requested_by=wanted.spec.intent.requested_by,
        )
        return written.value

    def _intent(self, request: OnboardingRequest, *, requested_by: str, at: datetime) -> Intent:
        errors: list[FieldError] = []
        if self.policy.hub(request.hub) is None:
            errors.append(FieldError("/hub", "is not listed in the policy"))
        candidates = self.policy.candidates(request)
        if self.policy.registry_id(request.container_registry) is None:
            errors.append(FieldError("/containerRegistry", "is not listed in the policy"))
        if not candidates:
            path = "/site" if request.site is not None else "/connectedRegistry"
            errors.append(FieldError(path, "is not listed in the policy"))
        actions = request.actions or (DEFAULT_ACTION,)
        errors += _forbidden(request, candidates, actions)
        if request.adopt is not None and not self.policy.allows_adopting(request.adopt):
            errors.append(FieldError("/adopt", "is not among adoptableTokens of the policy"))
        if errors:
            raise NotAllowed(
                "The policy does not allow this; `errors` says what.", errors=tuple(errors)
            )
        return Intent(
            target=f"site {request.site}" if request.site else f"{request.connected_registry}",
            candidates=tuple(self.policy.ref_of(entry) for entry in candidates),
            repositories=tuple(sorted(request.repositories)),
            actions=tuple(sorted(actions)),
            requested_by=requested_by,
            at=at,
            site=request.site,
            adopt=request.adopt,
        )


def _forbidden(
    request: OnboardingRequest,
    candidates: tuple[ConnectedRegistryPolicy, ...],
    actions: tuple[str, ...],
) -> Iterator[FieldError]:
    """What any candidate forbids: a site is filled in order, so all of it must be allowed."""
    for field, values in (("repositories", request.repositories), ("actions", actions)):
        for number, value in enumerate(values):
            asked = {field: (value,)}
            for entry in candidates:
                if entry.forbids(
                    repositories=asked.get("repositories", ()), actions=asked.get("actions", ())
                ):
                    yield FieldError(f"/{field}/{number}", f"may not be asked for at {entry.name}")
                    break


def _wanted_record(record: DeviceRecord, intent: Intent, *, now: datetime) -> DeviceRecord:
    """The record that a request asks for, given the one there is. Raises Refused."""
    revoked = record.spec.revocation
    if revoked is None and record.spec.intent.asks_the_same(intent):
        return asked_again(record, intent, now=now)
    if revoked is not None and intent.at <= revoked.at:
        raise Refused(
            "The device's access was taken away after this was asked for.",
            reason=Reason.OUT_OF_DATE,
        )
    if intent.at.replace(microsecond=0) < record.spec.intent.at.replace(microsecond=0):
        raise Refused(
            "Something else was asked for this device later than this.",
            reason=Reason.OUT_OF_DATE,
        )
    grant = record.status.grant
    if revoked is None and grant is not None and intent.adopt not in (None, grant.names.token):
        raise Refused(
            f"The device has the token {grant.names.token}; revoke it before it adopts another.",
            reason=Reason.DEVICE_HAS_TOKEN,
        )
    return with_intent(record, intent)


def _at_rest(record: DeviceRecord, asked: DeviceRecord, *, now: datetime) -> bool:
    """Whether it is done; or was looked at since the asking, waits, and nobody woke it."""
    waits = record.status.condition.state in (State.WAITING, State.BLOCKED)
    looked_at = (
        record.claim is None
        and record.schedule.due_at != asked.schedule.due_at
        and record.schedule.due_at > now
    )
    return record.is_converged or (waits and looked_at)
