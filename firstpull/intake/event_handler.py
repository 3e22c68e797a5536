"""Acting on notices: a known device is looked at, a new one is onboarded if it opts in."""

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
from firstpull.model.pagination import every_record
from firstpull.model.ports import Hubs, Query, Records
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent

OPT_IN_TAG = "firstpull"
"""The twin tag by which a device opts in: what an onboarding request says of its target."""


@dataclass(frozen=True, kw_only=True)
class EventHandler:
    """What the event doors call."""

    policy: Policy
    onboarding: Onboarding
    records: Records
    hubs: Hubs
    revoking: Revoking
    vault_host: str

    async def handle(self, event: GridEvent) -> None:
        """Act on one notice. Raises Invalid when a device's tag asks for what cannot be."""
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
        """Onboard a device that nothing was asked for yet, if it opts in. Returns whether it was.

        It opts in by its tag, or, unless that alone counts, by being there at all where the
        policy has a default. Raises Invalid when the tag asks for what cannot be.
        """
        if await self._is_known(device):
            return False
        # An event's own twin is a placeholder, and a query's is old: the hub is read again.
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
        )
        return True

    async def _is_known(self, device: DeviceKey) -> bool:
        """Whether the device has a record; a tombstone is another one's, of the same name.

        The identity of a device that was revoked and is still there is the tombstone's.
        """
        stored = await self.records.get(device)
        if stored is None:
            return False
        record = stored.value
        if not record.is_tombstone or record.status.hub_generation_id is None:
            return True
        return await self.hubs.generation_id(device) in (None, record.status.hub_generation_id)

    async def _handle_secret_event(self, event: SecretEvent) -> None:
        if event.vault_host.casefold() != self.vault_host.casefold():
            emit(LogEvent.EVENT_IGNORED, kind="a secret of another vault")
            return
        async for record in every_record(self.records, Query(secret=event.secret)):
            if not (event.created and _is_ours(record, event.version)):
                await self.onboarding.wake(record.device)


def _is_ours(record: DeviceRecord, version: str) -> bool:
    """Whether a worker made this version, or is about to say so."""
    delivered = (
        record.status.delivery is not None and record.status.delivery.secret_version == version
    )
    return delivered or record.claim is not None


def opt_in(twin: Twin) -> OnboardingTarget | None:
    """What a device's tag asks for. Raises Invalid, with paths below the tag, when it is wrong."""
    tag = twin.tags.get(OPT_IN_TAG)
    if tag is None:
        return None
    try:
        return checked(OnboardingTarget, tag)
    except Invalid as invalid:
        errors = tuple(FieldError(f"/tags/{OPT_IN_TAG}{e.path}", e.message) for e in invalid.errors)
        raise Invalid("The device's tag is not valid.", errors=errors) from None
