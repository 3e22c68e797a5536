"""Acting on notices: a known device is looked at, a new one is onboarded if it opts in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from firstpull.bodies import checked
from firstpull.devices import DeviceKey
from firstpull.errors import FieldError, Invalid
from firstpull.events import emit
from firstpull.fields import OnboardingTarget
from firstpull.notices import DeviceNotice, Notice, SecretNotice, UnknownNotice
from firstpull.onboarding import Onboarding
from firstpull.policy import Policy
from firstpull.ports import Hubs, Query, Records
from firstpull.records import DeviceRecord
from firstpull.requests import request_for

OPT_IN_TAG = "firstpull"
"""The twin tag by which a device opts in: what an onboarding request says of its target."""


@dataclass(frozen=True, kw_only=True)
class Announcements:
    """What the event doors call."""

    policy: Policy
    onboarding: Onboarding
    records: Records
    hubs: Hubs
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
        if await self.onboarding.wake(device) or not notice.created:
            return
        # The event's own twin is a placeholder: the hub is read again.
        twin = await self.hubs.twin(device)
        if twin is None:
            return
        target = _opt_in(twin.tags) or self.policy.default_onboarding
        if target is not None:
            await self.onboarding.ask(
                request_for(target, device_id=device.device_id, hub=hub.host),
                requested_by="device created",
                asked_at=notice.at,
            )

    async def _hear_of_secret(self, notice: SecretNotice) -> None:
        if notice.vault_host.casefold() != self.vault_host.casefold():
            emit("event.ignored", kind="a secret of another vault")
            return
        page = await self.records.page(Query(secret=notice.secret))
        for record in page.records:
            if not (notice.created and _is_ours(record, notice.version)):
                await self.onboarding.wake(record.device)


def _is_ours(record: DeviceRecord, version: str) -> bool:
    """Whether a worker made this version, or is about to say so."""
    delivered = record.delivery is not None and record.delivery.secret_version == version
    return delivered or record.claim is not None


def _opt_in(tags: Mapping[str, object]) -> OnboardingTarget | None:
    """What a device's tag asks for. Raises Invalid, with paths below the tag, when it is wrong."""
    tag = tags.get(OPT_IN_TAG)
    if tag is None:
        return None
    try:
        return checked(OnboardingTarget, tag)
    except Invalid as invalid:
        errors = tuple(FieldError(f"/tags/{OPT_IN_TAG}{e.path}", e.message) for e in invalid.errors)
        raise Invalid("The device's tag is not valid.", errors=errors) from None
