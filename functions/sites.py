"""The HTTP door: how full the sites are."""

from __future__ import annotations

from typing import Any

import azure.functions as func

from firstpull.fleet.sites import Room, SiteRoom
from functions.encoding import json_answer, time_text, without_none
from functions.http_requests import check_parameters
from functions.problems import answering_problems
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("list_sites")
@blueprint.route("sites", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def list_sites(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/sites: what the connected registries of the policy hold, site by site."""
    check_parameters(req.params)
    application = await runtime.application()
    found = await application.sites.view()
    return json_answer(
        200,
        {
            "sites": [_site_view(site) for site in found.sites],
            "connectedRegistries": [_room_view(room) for room in found.others],
        },
    )


def _site_view(site: SiteRoom) -> dict[str, Any]:
    return {
        "name": site.name,
        "used": site.used,
        "free": site.free,
        "connectedRegistries": [_room_view(room) for room in site.rooms],
    }


def _room_view(room: Room) -> dict[str, Any]:
    return without_none(
        {
            "connectedRegistry": room.ref.name,
            "containerRegistry": room.ref.registry.name,
            "capacity": room.capacity,
            "used": room.used,
            "ours": room.ours,
            "leaving": room.retiring,
            "foreign": room.foreign,
            "free": room.free,
            "state": room.state,
            "lastSync": time_text(room.last_sync_at),
            "address": room.address,
        }
    )
