"""The HTTP door: what the last sweep found, and letting it go on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import azure.functions as func

from firstpull.intake.requests import read_approval
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import NotKnown
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import SweepReport
from functions.encoding import device_names, json_answer, time_text, without_none
from functions.http_requests import check_parameters, is_dry_run
from functions.problems import answering_problems
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("get_sweep")
@blueprint.route("sweep", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def get_sweep(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/sweep: the last sweep's report."""
    check_parameters(req.params)
    application = await runtime.application()
    report = await application.sweeper.latest()
    if report is None:
        raise NotKnown("No sweep has run yet.", reason=Reason.SWEEP_NOT_KNOWN)
    return json_answer(200, _report_view(report))


@blueprint.function_name("approve_sweep")
@blueprint.route("sweep/approve", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def approve_sweep(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/sweep/approve: let the next sweep revoke what this one held."""
    check_parameters(req.params, "dryRun")
    sweeper = (await runtime.application()).sweeper
    sweep = read_approval(req.get_body()).sweep
    if is_dry_run(req.params):
        return json_answer(200, _planned(await sweeper.propose_approval(sweep)))
    return json_answer(200, _report_view(await sweeper.approve(sweep)))


def _planned(report: SweepReport) -> dict[str, Any]:
    action = {"action": "ApproveRevokes", "sweep": report.id, "devices": _devices(report.held)}
    return {"dryRun": True, "actions": [action]}


def _report_view(report: SweepReport) -> dict[str, Any]:
    view = {
        "id": report.id,
        "startedAt": time_text(report.started_at),
        "finishedAt": time_text(report.finished_at),
        "devices": report.devices,
        "drifted": dict(report.drifted),
        "onboarded": report.onboarded,
        "revoked": report.revoked,
        "held": _devices(report.held),
        "approved": _devices(report.approved),
        "unexplained": [
            {"kind": thing.kind.value, "name": thing.name, "where": thing.where}
            for thing in report.orphans
        ],
        "ledgerEntriesRemoved": report.ledger_entries_removed,
        "scopeMapsRemoved": report.scope_maps_removed,
        "scopeMapsUnreferenced": [
            {"id": scope_map, "since": time_text(since)}
            for scope_map, since in report.scope_maps_unreferenced.items()
        ],
        "unread": list(report.unread),
        "completeAt": time_text(report.complete_at),
    }
    return without_none(view)


def _devices(devices: Iterable[DeviceKey]) -> list[dict[str, Any]]:
    return [device_names(device) for device in devices]
