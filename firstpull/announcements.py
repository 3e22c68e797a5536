"""Acting on notices: a known device is looked at, a new one is onboarded if it opts in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firstpull.bodies import checked
from firstpull.cloud import Twin
from firstpull.devices import DeviceKey
from firstpull.errors import FieldError, Invalid
from firstpull.events import emit
from firstpull.fields import OnboardingTarget
from firstpull.listing import every_record
from firstpull.notices import DeviceNotice, Notice, SecretNotice, UnknownNotice
from firstpull.onboarding import Onboarding
from firstpull.policy import Policy
from firstpull.ports import Hubs, Query, Records
from firstpull.records import DeviceRecord
from firstpull.requests import request_for
from firstpull.revoking import Revoking

OPT_IN_TAG = "firstpull"
"""The twin tag by which a device opts in: what an onboarding request says of its target."""


@dataclass(frozen=True, kw_only=True)
class Announcements:
    """What the event doors call."""

    policy: Policy
    onboarding: Onboarding
    records: Records
    hubs: Hubs
    revoking: Revoking
    vault_host: str

    async def hear(self, notice: Notice) -> None:
        """Act on one notice. Raises Invalid when a device's tag asks for what cannot be."""
        match notice:
            case DeviceNotice():
                await self._hear_of_device(notice)
            case SecretNotice():
                await self._hear_of_secret(notice)
            case UnknownNotice():
                emit("event.ignored", kind=notice.kind)

    async def _hear_of_device(self, notice: DeviceNotice) -> None:
        hub = self.policy.hub_named(notice.hub_name)
        if hub is None:
            emit("event.ignored", kind="a device of a hub that the policy does not list")
            return
        device = DeviceKey(hub=hub.host, device_id=notice.device_id)
        if not notice.created:
            if not await self.revoking.revoke_if_gone(device, requested_by="device deleted"):
                await self.onboarding.wake(device)
            return
        if not await self.appeared(device, requested_by="device created", asked_at=notice.at):
            await self.onboarding.wake(device)

    async def appeared(
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
        if not record.is_tombstone or record.hub_generation_id is None:
            return True
        return await self.hubs.generation_id(device) in (None, record.hub_generation_id)

    async def _hear_of_secret(self, notice: SecretNotice) -> None:
        if notice.vault_host.casefold() != self.vault_host.casefold():
            emit("event.ignored", kind="a secret of another vault")
            return
        async for record in every_record(self.records, Query(secret=notice.secret)):
            if not (notice.created and _is_ours(record, notice.version)):
                await self.onboarding.wake(record.device)


def _is_ours(record: DeviceRecord, version: str) -> bool:
    """Whether a worker made this version, or is about to say so."""
    delivered = record.delivery is not None and record.delivery.secret_version == version
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
