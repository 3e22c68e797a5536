"""What a dry run answers: what would be done, step by step, and what stands in the way."""

from __future__ import annotations

from typing import Any, Literal, Self

from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.reasons import Reason
from firstpull.reconcile import actions
from firstpull.reconcile.dry_run import Proposal
from functions.answers.base import Answer, DeviceName, Time
from functions.answers.messages import PoisonMessage


class Blocker(Answer):
    """Why a device cannot be provisioned now, and what a person can do."""

    state: State
    reason: Reason
    message: str
    remedy: str | None


class PlannedAction(Answer):
    """A step of a plan, why it is there, and what it is applied to."""

    action: str
    why: str
    connected_registry: str | None = None
    connected_registries: tuple[str, ...] | None = None
    container_registry: str | None = None
    scope_map: str | None = None
    permits: tuple[str, ...] | None = None
    token: str | None = None
    slot: str | None = None
    slots: tuple[str, ...] | None = None
    expires_on: Time | None = None
    address: str | None = None
    delivery: str | None = None
    secret: str | None = None
    version: str | None = None

    @classmethod
    def of(cls, action: actions.PlannedAction) -> Self:
        """The answer for an action."""
        name = type(action).__name__
        return cls(action=_NAMES.get(name, name), why=action.why, **_provisioned(action))


_NAMES = {"ReserveRoom": "TakePlace", "RemoveFromTwin": "WithdrawFromTwin"}
"""Names that callers know, where the code's are others."""


def _provisioned(action: actions.PlannedAction) -> dict[str, Any]:
    """The fields that name what an action is applied to."""
    match action:
        case actions.ReserveRoom() | actions.JoinConnectedRegistry():
            return {"connected_registry": str(action.ref)}
        case actions.PutScopeMap():
            return {"scope_map": action.name, "permits": sorted(action.actions)}
        case actions.CreateToken() | actions.UpdateToken():
            return {"token": action.name, "scope_map": action.scope_map.name}
        case actions.GeneratePassword():
            return {"slot": action.slot, "expires_on": action.expires_at}
        case actions.Deliver():
            return {
                "connected_registry": str(action.ref),
                "address": action.contents.address,
                "delivery": action.delivery,
            }
        case _:
            return _taken_away(action)


def _taken_away(action: actions.KeepPasswords | actions.TeardownAction) -> dict[str, Any]:
    match action:
        case actions.KeepPasswords():
            return {"token": action.name, "slots": sorted(action.slots)}
        case actions.DisableSecretVersion() | actions.TagSecret():
            return {"secret": action.secret, "version": action.version}
        case actions.DisableToken() | actions.DeleteToken():
            return {"token": action.name, "container_registry": action.registry.name}
        case actions.LeaveConnectedRegistry():
            return {"connected_registry": str(action.ref), "token": action.token_id.name}
        case actions.RemoveFromTwin():
            return {
                "connected_registries": action.connected_registries,
                "delivery": action.delivery,
            }


class Plan(DeviceName):
    """What would be done for a device. `finding` is what stands in the way."""

    dry_run: Literal[True]
    actions: tuple[PlannedAction, ...]
    finding: Blocker | None

    @classmethod
    def of(cls, record: DeviceRecord, planned: Proposal) -> Self:
        """The plan for a record that is only proposed."""
        return cls(
            dry_run=True,
            device_id=record.device.device_id,
            hub=record.device.hub,
            actions=tuple(PlannedAction.of(action) for action in planned.actions),
            finding=Blocker.read(planned.finding) if planned.finding else None,
        )


class IntendedAction(Answer):
    """An approval of revokes, or an action on a kept message."""

    action: Literal["ApproveRevokes", "Resend", "Discard"]
    sweep: str | None = None
    devices: tuple[DeviceName, ...] | None = None
    revokes: int | None = None
    message: PoisonMessage | None = None


class Intended(Answer):
    """What would be done, other than for one device."""

    dry_run: Literal[True]
    actions: tuple[IntendedAction, ...]

    @classmethod
    def of(cls, action: IntendedAction) -> Self:
        """The answer for the only action."""
        return cls(dry_run=True, actions=(action,))
