"""A dry run's answer: what would be done, step by step, and what stands in the way."""

from __future__ import annotations

from typing import Any

import azure.functions as func

from firstpull.model.device_record import DeviceRecord
from firstpull.reconcile.actions import (
    Action,
    CreateToken,
    DeleteToken,
    Deliver,
    DisableSecretVersion,
    DisableToken,
    GeneratePassword,
    JoinConnectedRegistry,
    KeepPasswords,
    LeaveConnectedRegistry,
    PutScopeMap,
    RemoveFromTwin,
    ReserveRoom,
    UpdateToken,
)
from firstpull.reconcile.plan import BlockedPlan, Plan
from firstpull.reconcile.preconditions import Blocker
from functions.encoding import device_names, json_answer, time_text, without_none
from functions.runtime import runtime


async def answer_plan(record: DeviceRecord) -> func.HttpResponse:
    """200 with the plan for a record that is only proposed."""
    application = await runtime.application()
    return json_answer(200, plan_view(record, await application.dry_run.plan_for(record)))


def plan_view(record: DeviceRecord, plan: Plan) -> dict[str, Any]:
    """The steps of a plan, each with its reason, or what keeps it from having any."""
    return without_none(
        {
            "dryRun": True,
            **device_names(record.device),
            "actions": [_action_view(action) for action in plan.actions],
            "finding": _finding_view(plan.blocker) if isinstance(plan, BlockedPlan) else None,
        }
    )


def _finding_view(blocker: Blocker) -> dict[str, Any]:
    return without_none(
        {
            "state": blocker.state.value,
            "reason": blocker.reason.value,
            "message": blocker.message,
            "remedy": blocker.remedy,
        }
    )


_NAMES = {"ReserveRoom": "TakePlace", "RemoveFromTwin": "WithdrawFromTwin"}
"""Names that callers know, where the code's are others."""


def _action_view(action: Action) -> dict[str, Any]:
    """The action's name, why it is done, and what it is done to."""
    name = type(action).__name__
    view: dict[str, Any] = {"action": _NAMES.get(name, name), "why": action.why}
    return {**view, **_given_with(action), **_taken_with(action)}


def _given_with(action: Action) -> dict[str, Any]:
    view: dict[str, Any] = {}
    match action:
        case ReserveRoom() | JoinConnectedRegistry():
            view = {"connectedRegistry": str(action.ref)}
        case PutScopeMap():
            view = {"scopeMap": action.name, "permits": sorted(action.actions)}
        case CreateToken() | UpdateToken():
            view = {"token": action.name, "scopeMap": action.scope_map.name}
        case GeneratePassword():
            view = {"slot": action.slot.value, "expiresOn": time_text(action.expires_at)}
        case Deliver():
            view = {"connectedRegistry": str(action.ref), "address": action.contents.address}
    return view


def _taken_with(action: Action) -> dict[str, Any]:
    view: dict[str, Any] = {}
    match action:
        case KeepPasswords():
            view = {"token": action.name, "slots": sorted(action.slots)}
        case DisableSecretVersion():
            view = {"secret": action.secret, "version": action.version}
        case DisableToken() | DeleteToken():
            view = {"token": action.name, "containerRegistry": action.registry.name}
        case LeaveConnectedRegistry():
            view = {"connectedRegistry": str(action.ref), "token": action.token_id.name}
        case RemoveFromTwin():
            view = {"connectedRegistries": list(action.connected_registries)}
    return view
