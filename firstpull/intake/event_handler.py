"""Handles events: reconciles a known device, and onboards a new device that opts in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firstpull.config.fields import OnboardingTarget
from firstpull.config.policy import Policy
from firstpull.intake.event_grid import DeviceEvent, GridEvent, SecretEvent, UnknownEvent
from firstpull.intake.json_input import checked
from firstpull.intake.onboard import Onboarding
from firstpull.intake.requests import request_for
from firstpull.intake.revoke import Revoking
from firstpull.model.azure_resources import Twin
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import FieldError, Invalid
from firstpull.model.hub_identity import by_etag, is_by_etag
from firstpull.model.pagination import every_record
from firstpull.model.ports import Hubs, Query, Records
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent

OPT_IN_TAG = "firstpull"
"""The twin tag by which a device opts in. It holds the target of an onboarding request."""


@dataclass(frozen=True, kw_only=True)
class EventHandler:
    """Handles the events of the event triggers."""

    policy: Policy
    onboarding: Onboarding
    records: Records
    hubs: Hubs
    revoking: Revoking
    vault_host: str

    async def handle(self, event: GridEvent) -> None:
        """Handle one event. Raises Invalid for a tag that is invalid or forbidden."""
        match event:
            case DeviceEvent():
                await self._handle_device_event(event)
            case SecretEvent():
                await self._handle_secret_event(event)
            case UnknownEvent():
                emit(LogEvent.EVENT_IGNORED, kind=event.kind)

    async def _handle_device_event(self, event: DeviceEvent) -> None:
        hub = self.policy.hub_named(event.hub_name)
        if hub is None:
            emit(LogEvent.EVENT_IGNORED, kind="a device of a hub that the policy does not list")
            return
        device = DeviceKey(hub=hub.host, device_id=event.device_id)
        if not event.created:
            if not await self.revoking.revoke_if_gone(device, requested_by="device deleted"):
                await self.onboarding.wake(device)
            return
        if not await self.onboard_if_opted_in(
            device, requested_by="device created", asked_at=event.at
        ):
            await self.onboarding.wake(device)

    async def onboard_if_opted_in(
        self,
        device: DeviceKey,
        *,
        requested_by: str,
        asked_at: datetime | None = None,
        by_tag_alone: bool = False,
    ) -> bool:
        """Onboard an unknown device if it opts in; returns whether it did.

        A device opts in by its tag. Unless `by_tag_alone`, every device opts in where the policy
        has a default. Raises Invalid for a tag that is invalid or forbidden.
        """
        if await self._is_known(device):
            return False
        # The twin of an event is a placeholder, and that of a query is old: read the hub.
        twin = await self.hubs.twin(device)
        if twin is None:
            return False
        target = opt_in(twin) or (None if by_tag_alone else self.policy.default_onboarding)
        if target is None:
            return False
        await self.onboarding.ask(
            request_for(target, device_id=device.device_id, hub=device.hub),
            requested_by=requested_by,
            asked_at=asked_at,
            implicit=True,
        )
        return True

    async def _is_known(self, device: DeviceKey) -> bool:
        """Whether a record is about this device.

        It is not, if its device has gone and another device has the same id now. Before a revoke
        has ended, nobody knows which one it was about.
        """
        stored = await self.records.get(device)
        if stored is None:
            return False
        record = stored.value
        revocation, seen = record.spec.revocation, record.status.hub_generation_id
        if seen is None:
            return True
        if revocation is not None and revocation.gone is None and not record.is_tombstone:
            return True
        if is_by_etag(seen):
            twin = await self.hubs.twin(device)
            return twin is None or seen == by_etag(twin.device_etag)
        return await self.hubs.generation_id(device) in (None, seen)

    async def _handle_secret_event(self, event: SecretEvent) -> None:
        if event.vault_host.casefold() != self.vault_host.casefold():
            emit(LogEvent.EVENT_IGNORED, kind="a secret of another vault")
            return
        async for record in every_record(self.records, Query(secret=event.secret)):
            if not (event.created and _is_ours(record, event.version)):
                await self.onboarding.wake(record.device)


def _is_ours(record: DeviceRecord, version: str) -> bool:
    """Whether a worker made this version, or may just be making it."""
    delivered = (
        record.status.delivery is not None and record.status.delivery.secret_version == version
    )
    return delivered or record.claim is not None


def opt_in(twin: Twin) -> OnboardingTarget | None:
    """The target in a device's tag, None without a tag. Raises Invalid with paths in the tag."""
    tag = twin.tags.get(OPT_IN_TAG)
    if tag is None:
        return None
    try:
        return checked(OnboardingTarget, tag)
    except Invalid as invalid:
        errors = tuple(FieldError(f"/tags/{OPT_IN_TAG}{e.path}", e.message) for e in invalid.errors)
        raise Invalid("The device's tag is not valid.", errors=errors) from None
