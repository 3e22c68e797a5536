"""Onboards a device: validate the request, write the intent into the record, enqueue."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from firstpull.config.policy import ConnectedRegistryPolicy, Policy, hub_host
from firstpull.intake.requests import OnboardingRequest
from firstpull.model.address import is_host
from firstpull.model.clock import Clock, whole_second
from firstpull.model.delivery_kinds import kind_named
from firstpull.model.device_key import DeviceKey, is_device_id
from firstpull.model.device_record import DeviceRecord, Intent, Message, State
from firstpull.model.errors import (
    FieldError,
    Invalid,
    NotAllowed,
    NotKnown,
    Refused,
    Transient,
)
from firstpull.model.ports import Page, Query, Records, Stored, WorkQueue
from firstpull.model.reasons import Reason
from firstpull.model.record_update import RecordUpdates, device_not_known
from firstpull.model.scope_actions import DEFAULT_ACTION
from firstpull.model.transitions import (
    asked_again,
    new_record,
    registered_again,
    with_intent,
    with_message,
    woken,
)
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent

LONGEST_WAIT = 20.0
"""Seconds that a request may wait for the device."""
_POLL = 0.25
"""Seconds until a waiting request reads the record again, at first."""
_POLL_SHARE = 0.1
"""Of what it has waited: a thousand that wait leave storage to what they wait for."""
_MOST_MESSAGES = 200
"""Messages that a record remembers: those with times ahead of it, or of its latest second."""


@dataclass(frozen=True, kw_only=True)
class Onboarding:
    """Onboards devices, for every trigger and endpoint."""

    policy: Policy
    records: Records
    updates: RecordUpdates
    queue: WorkQueue
    clock: Clock
    requires_sealing: bool = False

    def device(self, device_id: str, *, hub: str | None) -> DeviceKey:
        """The device in a request's address. Raises Invalid for an impossible one.

        The policy need not list the hub: callers may still read and revoke its devices.
        """
        if not is_device_id(device_id):
            error = FieldError("deviceId", "is not an IoT Hub device id")
            raise Invalid("The address has an impossible device id.", errors=(error,))
        listed = self.policy.hub(hub)
        host = listed.host if listed is not None else hub_host(f"{hub}")
        if not is_host(host):
            error = FieldError("hub", "is not the host name of a hub")
            raise Invalid("The address has an impossible hub.", errors=(error,))
        return DeviceKey(hub=host, device_id=device_id)

    async def ask(
        self,
        request: OnboardingRequest,
        *,
        requested_by: str,
        asked_at: datetime | None = None,
        message_id: str | None = None,
        implicit: bool = False,
    ) -> DeviceRecord:
        """Record a request and enqueue the device. The same request again changes nothing.

        `asked_at` is when a message was written, by its sender's clock, and `message_id` tells
        it from others: it may be late or repeated. `implicit` is a request of no caller. Raises
        NotAllowed with every path that the policy forbids, and Refused if a later request exists
        or the device already has another token than the one to adopt.
        """

        async def write() -> DeviceRecord:
            stored, wanted = await self._stored_and_wanted(
                request,
                requested_by=requested_by,
                asked_at=asked_at,
                message_id=message_id,
                implicit=implicit,
            )
            return await self._write(stored, wanted)

        try:
            record = await self.updates.retry(self._device_of(request), write)
        except Invalid:
            await self._remember(request, _message(message_id, asked_at))
            raise
        if record.schedule.due_at <= self.clock.now():
            await self.queue.put(record.device)
        return record

    async def propose(
        self,
        request: OnboardingRequest,
        *,
        requested_by: str,
        asked_at: datetime | None = None,
        message_id: str | None = None,
    ) -> DeviceRecord:
        """The record that `ask` would write. Writes nothing; raises what `ask` raises."""
        _, wanted = await self._stored_and_wanted(
            request, requested_by=requested_by, asked_at=asked_at, message_id=message_id
        )
        return wanted

    async def introduce(
        self, request: OnboardingRequest, *, requested_by: str, may_reset_twin: bool
    ) -> None:
        """Record the first request for a device; enqueue a known device unchanged.

        A registration is not a caller's request, so it never replaces an earlier one. With
        `may_reset_twin` a known device is looked at once more, after its twin may be replaced.
        """
        device = self.device(request.device_id, hub=request.hub)
        if not await self._enqueue(device, registered_again if may_reset_twin else woken):
            await self.ask(request, requested_by=requested_by, implicit=True)

    async def propose_introduction(
        self, request: OnboardingRequest, *, requested_by: str
    ) -> DeviceRecord:
        """The record that `introduce` would write. Writes nothing."""
        stored = await self.records.get(self.device(request.device_id, hub=request.hub))
        if stored is not None:
            return stored.value
        return await self.propose(request, requested_by=requested_by)

    async def wake(self, device: DeviceKey) -> bool:
        """Make a known device due now and enqueue it. False for an unknown device."""
        return await self._enqueue(device, woken)

    async def _enqueue(
        self, device: DeviceKey, due: Callable[[DeviceRecord, datetime], DeviceRecord]
    ) -> bool:
        now = self.clock.now()
        try:
            await self.updates.update(device, lambda record: due(record, now))
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

    async def wait(self, record: DeviceRecord, *, generation: int, seconds: float) -> DeviceRecord:
        """The record when this generation is done, waits or is blocked; or after `seconds`.

        The request is recorded, so a record that cannot be read now is no error.
        """
        asked, began = record, self.clock.now()
        while (waited := (self.clock.now() - began).total_seconds()) < seconds:
            if record.has_finished(generation) or record.is_superseded(generation):
                return record
            if _is_held_up(record, asked, now=self.clock.now()):
                return record
            await self.clock.sleep(min(max(_POLL, waited * _POLL_SHARE), seconds - waited))
            with suppress(Transient):
                record = await self.find(record.device)
        return record

    async def page(self, query: Query) -> Page:
        """A page of records. Raises what `check_filters` raises."""
        return await self.records.page(self.checked_filters(query))

    def checked_filters(self, query: Query) -> Query:
        """The query with the names that records have, whose case counts.

        Raises Invalid for a connected registry that the policy does not list: an empty listing
        would read as if no device had a problem there.
        """
        hub = hub_host(query.hub) if query.hub is not None else None
        if query.connected_registry is None:
            return replace(query, hub=hub)
        listed = self.policy.connected_registry(query.connected_registry, registry=None)
        if listed is None:
            error = FieldError("connectedRegistry", "is not listed in the policy")
            raise Invalid("A filter is not valid; `errors` says which.", errors=(error,))
        return replace(query, hub=hub, connected_registry=listed.name)

    async def _stored_and_wanted(
        self,
        request: OnboardingRequest,
        *,
        requested_by: str,
        asked_at: datetime | None,
        message_id: str | None,
        implicit: bool = False,
    ) -> tuple[Stored[DeviceRecord] | None, DeviceRecord]:
        intent = self._intent(request, requested_by=requested_by, at=self.clock.now())
        device = self._device_of(request)
        stored = await self.records.get(device)
        now = self.clock.now()  # after the read, which sets the clock by the storage's
        # A time in the future shows a wrong clock: such a message counts from its arrival.
        arrives_now = asked_at is None or asked_at > now
        message = _message(message_id, asked_at)
        asked_at = now if asked_at is None else min(asked_at, now)
        intent = replace(intent, at=asked_at, implicit=implicit)
        if stored is None:
            return None, _remembering(new_record(device, intent), message)
        if message in stored.value.spec.messages:
            return stored, _repeated(stored.value, intent)
        if arrives_now:
            intent = replace(intent, at=max(intent.at, _next_time(stored.value)))
        else:
            _check_order(stored.value, intent)
        return stored, _remembering(_wanted_record(stored.value, intent, now=now), message)

    def _device_of(self, request: OnboardingRequest) -> DeviceKey:
        hub = self.policy.hub(request.hub) or self.policy.hubs[0]
        return DeviceKey(hub=hub.host, device_id=request.device_id)

    async def _remember(self, request: OnboardingRequest, message: Message | None) -> None:
        """Remember a refused message whose time is ahead: repeated later, it may be allowed."""
        is_listed = self.policy.hub(request.hub) is not None
        if not is_listed or message is None or message.at <= self.clock.now():
            return
        device = self._device_of(request)
        with suppress(NotKnown):
            await self.updates.update(device, lambda record: _remembering(record, message))

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
            wants=wanted.spec.intent.summary,
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
        refused = self.policy.refused_delivery(request)
        errors += [FieldError(f"/{field}", why) for field, why in refused.items()]
        errors += self._refused_key(request)
        if errors:
            raise NotAllowed(
                "The policy does not allow this; `errors` says why.", errors=tuple(errors)
            )
        site = self.policy.site(request.site) if request.site is not None else None
        return Intent(
            target=f"site {site.name}" if site is not None else candidates[0].name,
            candidates=tuple(self.policy.ref_of(entry) for entry in candidates),
            repositories=tuple(sorted(request.repositories)),
            actions=tuple(sorted(actions)),
            requested_by=requested_by,
            at=at,
            site=site.name if site is not None else None,
            adopt=request.adopt,
            delivery=request.delivery or self.policy.delivery,
            delivery_options=tuple(sorted(request.delivery_options or ())),
            sealing_key=request.sealing_key,
        )

    def _refused_key(self, request: OnboardingRequest) -> Iterator[FieldError]:
        """Why there must be a key, or none."""
        kind = kind_named(request.delivery or self.policy.delivery)
        if request.sealing_key is not None and not kind.seals:
            yield FieldError(
                "/sealingKey",
                f"cannot be used with the delivery {kind.name}, whose consumer opens no seal",
            )
        if request.sealing_key is None and self.requires_sealing:
            yield FieldError(
                "/sealingKey", "is missing: the settings forbid a password that is not sealed"
            )


def _forbidden(
    request: OnboardingRequest,
    candidates: tuple[ConnectedRegistryPolicy, ...],
    actions: tuple[str, ...],
) -> Iterator[FieldError]:
    """An error for each value that a candidate forbids: the device may get any of them."""
    # Most of a site allow the same: one of them speaks for all.
    alike = {(entry.repositories, entry.actions): entry for entry in reversed(candidates)}
    forbidden: dict[str, str] = {}
    for entry in reversed(alike.values()):
        for value in entry.forbids(repositories=request.repositories, actions=actions):
            forbidden.setdefault(value, entry.name)
    for field, values in (("repositories", request.repositories), ("actions", actions)):
        for number, value in enumerate(values):
            if value in forbidden:
                yield FieldError(f"/{field}/{number}", f"is not allowed at {forbidden[value]}")


def _message(message_id: str | None, at: datetime | None) -> Message | None:
    """What the record remembers of a message."""
    if message_id is None or at is None:
        return None
    return Message(digest=hashlib.sha256(message_id.encode()).hexdigest()[:32], at=at)


def _remembering(record: DeviceRecord, message: Message | None) -> DeviceRecord:
    """The record that recognises the message. Raises Transient if it remembers too many."""
    if message is None or message in record.spec.messages:
        return record
    record = with_message(record, message)
    if len(record.spec.messages) > _MOST_MESSAGES:
        raise Transient(
            Reason.CHANGED_MEANWHILE,
            "Too many messages about this device have a time in the future; set their sender's "
            "clock.",
            retry_after=60,
        )
    return record


def _repeated(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    """The unchanged record after a repeated message. Raises Refused after a later request."""
    if record.spec.revocation is None and record.spec.intent.asks_the_same(intent):
        return record
    raise Refused("This message was taken before.", reason=Reason.OUT_OF_DATE)


def _check_order(record: DeviceRecord, intent: Intent) -> None:
    """Raises Refused for a message that is older than the latest request.

    Of equal times the later arrival wins, except after a revoke: a message has whole seconds, so
    it may be older. The request that the record has already is never refused.
    """
    revoked = record.spec.revocation
    if revoked is None and record.spec.intent.asks_the_same(intent):
        return
    if revoked is not None and intent.at <= revoked.at:
        raise Refused("The device was revoked after this request.", reason=Reason.OUT_OF_DATE)
    if whole_second(intent.at) < whole_second(record.spec.intent.at):
        raise Refused("There is a later request for this device.", reason=Reason.OUT_OF_DATE)


def _wanted_record(record: DeviceRecord, intent: Intent, *, now: datetime) -> DeviceRecord:
    """The record after a request. Raises Refused for another token to adopt."""
    revoked = record.spec.revocation
    if revoked is None and record.spec.intent.asks_the_same(intent):
        return asked_again(record, intent, now=now)
    grant = record.status.grant
    if revoked is None and grant is not None and intent.adopt not in (None, grant.names.token):
        raise Refused(
            f"The device has the token {grant.names.token}; revoke it before it adopts another.",
            reason=Reason.DEVICE_HAS_TOKEN,
        )
    return with_intent(record, intent)


def _next_time(record: DeviceRecord) -> datetime:
    """The earliest time of a request that arrives now, whichever host wrote the record.

    Tags have milliseconds: a request after a revoke has to be later by one.
    """
    is_revoked = record.spec.revocation is not None
    return record.requested_at + timedelta(milliseconds=1 if is_revoked else 0)


def _is_held_up(record: DeviceRecord, asked: DeviceRecord, *, now: datetime) -> bool:
    """Whether a pass since the request has left the device waiting or blocked."""
    is_held_up = record.status.condition.state in (State.WAITING, State.BLOCKED)
    had_a_pass = (
        record.claim is None
        and record.schedule.due_at != asked.schedule.due_at
        and record.schedule.due_at > now
    )
    return is_held_up and had_a_pass
