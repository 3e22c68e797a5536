"""A dry run's answer: what would be done, step by step, and what stands in the way."""

from __future__ import annotations

from typing import Any

import azure.functions as func

from firstpull.actions import (
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
    TakePlace,
    UpdateToken,
    WithdrawFromTwin,
)
from firstpull.cloud import name_of
from firstpull.gate import Finding
from firstpull.plan import Plan
from firstpull.records import DeviceRecord
from functions.encoding import device_names, json_answer, time_text, without_none
from functions.runtime import runtime


async def answer_plan(record: DeviceRecord) -> func.HttpResponse:
    """200 with the plan for a record that is only proposed."""
    application = await runtime.application()
    return json_answer(200, plan_view(record, await application.preview.plan_for(record)))


def plan_view(record: DeviceRecord, plan: Plan) -> dict[str, Any]:
    """The steps of a plan, each with its reason, or what keeps it from having any."""
    return without_none(
        {
            "dryRun": True,
            **device_names(record.device),
            "actions": [_action_view(action) for action in plan.actions],
            "finding": _finding_view(plan.finding) if plan.finding is not None else None,
        }
    )


def _finding_view(finding: Finding) -> dict[str, Any]:
    return without_none(
        {
            "state": finding.state.value,
            "reason": finding.reason.value,
            "message": finding.message,
            "remedy": finding.remedy,
        }
    )


def _action_view(action: Action) -> dict[str, Any]:
    """The action's name, why it is done, and what it is done to."""
    view: dict[str, Any] = {"action": type(action).__name__, "why": action.why}
    return {**view, **_given_with(action), **_taken_with(action)}


def _given_with(action: Action) -> dict[str, Any]:
    view: dict[str, Any] = {}
    match action:
        case TakePlace() | JoinConnectedRegistry():
            view = {"connectedRegistry": str(action.place)}
        case PutScopeMap():
            view = {"scopeMap": action.name, "permits": sorted(action.actions)}
        case CreateToken() | UpdateToken():
            view = {"token": action.name, "scopeMap": action.scope_map}
        case GeneratePassword():
            view = {"slot": action.slot.value, "expiresOn": time_text(action.expires_at)}
        case Deliver():
            view = {"connectedRegistry": str(action.place), "address": action.address}
    return view


def _taken_with(action: Action) -> dict[str, Any]:
    view: dict[str, Any] = {}
    match action:
        case KeepPasswords():
            view = {"token": action.name, "slots": sorted(action.slots)}
        case DisableSecretVersion():
            view = {"secret": action.secret, "version": action.version}
        case DisableToken() | DeleteToken():
            view = {"token": action.name, "containerRegistry": name_of(action.registry)}
        case LeaveConnectedRegistry():
            view = {"connectedRegistry": str(action.place), "token": action.token}
        case WithdrawFromTwin():
            view = {"connectedRegistries": list(action.connected_registries)}
    return view
