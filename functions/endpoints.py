"""The endpoints of the HTTP API: what each takes, and what it answers.

Requests are checked against this table, and the OpenAPI document is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum, auto
from typing import Any

from firstpull.config.roles import Role
from firstpull.fleet.listing import Order
from firstpull.intake.json_input import MAX_BODY
from firstpull.intake.requests import LONGEST_BATCH
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from functions.answers.allocation import Allocation
from functions.answers.audit import Audit
from functions.answers.base import Answer
from functions.answers.batches import Batch, BatchDryRun, BatchPlan
from functions.answers.devices import Device, DeviceList, Operation
from functions.answers.doctor import Doctor
from functions.answers.dry_runs import Intended, Plan
from functions.answers.fleet import Fleet, Rebuild, Revokes, Sites, Sweep
from functions.answers.messages import Discarded, PoisonList, PoisonMessage
from functions.answers.service import Health, OpenApiDocument, Readiness

ROUTE_PREFIX = "/api"
"""As host.json has it."""
SESSION_COOKIE = "firstpull-fleet"
"""The cookie of who has signed in to the fleet page."""


class Access(Enum):
    """What a caller has to show."""

    KEY = auto()
    SIGNATURE = auto()
    PAGE = auto()
    """What the endpoint asks for by itself, in a form for a person."""
    NOTHING = auto()


@dataclass(frozen=True)
class Parameter:
    """A parameter or header, by its JSON schema. No query parameter may be empty."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True)
class Answered:
    """An answer: what it means, the models of its body, and the headers that callers need.

    An answer that is not JSON has a `media_type` in place of models.
    """

    description: str
    models: tuple[type[Answer], ...] = ()
    headers: tuple[Parameter, ...] = ()
    media_type: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """A method and a path, such as `GET /devices`.

    A caller with a key needs `role`; for a dry run, Reader. `body` names a schema of the OpenAPI
    document; a body has at most `most_bytes`. `problems` are the statuses beyond those that every
    endpoint may answer. `takes_other_parameters` lets parameters through that have a meaning for
    the caller only.
    """

    route: str
    _: KW_ONLY
    answers: Mapping[int, Answered]
    problems: tuple[int, ...] = (503,)
    access: Access = Access.KEY
    role: Role = Role.OPERATOR
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    takes_other_parameters: bool = False
    body: str | None = None
    body_type: str = "application/json"
    body_required: bool = True
    most_bytes: int = MAX_BODY

    @property
    def has_dry_run(self) -> bool:
        """Whether a request may ask for a dry run."""
        return _DRY_RUN in self.query


_HTML = "text/html"
_WAIT = Parameter("Prefer", {"type": "string", "examples": ["wait=20"]})
_DRY_RUN = Parameter("dryRun", {"type": "string", "enum": ["true", "false"]})
_HUB = Parameter("hub")
_DEVICE_ID = Parameter("deviceId", required=True)
_SIGNATURE = tuple(
    Parameter(name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
)
_RECORDED = Answered(
    "Recorded; Operation-Location says where to look.",
    (Device,),
    (
        Parameter("Operation-Location"),
        Parameter("Location"),
        Parameter("Retry-After", {"type": "integer", "minimum": 0}),
    ),
)
_ONBOARDED = {
    200: Answered("The device has what is asked for; or, of a dry run, the plan.", (Device, Plan)),
    202: _RECORDED,
}

_TAKEN_AWAY = {
    200: Answered("Its access is gone; or, of a dry run, the plan.", (Device, Plan)),
    202: _RECORDED,
}

_BATCH = {
    200: Answered("Every row is taken; or, of a dry run, the plan.", (Batch, BatchDryRun)),
    207: Answered("Some rows are refused.", (Batch,)),
}

ENDPOINTS: Mapping[str, Endpoint] = {
    "create_device": Endpoint(
        "POST /devices",
        query=(_DRY_RUN,),
        headers=(_WAIT,),
        body="OnboardingRequest",
        answers=_ONBOARDED,
        problems=(403, 409, 424, 503),
    ),
    "create_devices": Endpoint(
        "POST /devices:batch",
        most_bytes=LONGEST_BATCH,
        query=(_DRY_RUN,),
        body="OnboardingBatch",
        answers={
            200: Answered("Every row is taken; or, of a dry run, the plan.", (Batch, BatchPlan)),
            207: Answered("Some rows are refused.", (Batch,)),
        },
    ),
    "revoke_devices": Endpoint(
        "POST /devices:batchRevoke",
        most_bytes=LONGEST_BATCH,
        query=(_DRY_RUN,),
        body="DeviceBatch",
        answers=_BATCH,
    ),
    "rotate_devices": Endpoint(
        "POST /devices:batchRotate",
        most_bytes=LONGEST_BATCH,
        query=(_DRY_RUN,),
        body="RotationBatch",
        answers=_BATCH,
    ),
    "rebuild_devices": Endpoint(
        "POST /devices:rebuild",
        role=Role.MASS_REVOKE_APPROVER,
        query=(
            Parameter("deviceId"),
            _HUB,
            Parameter("after"),
            Parameter("size", {"type": "integer", "minimum": 1, "maximum": 1000}),
            _DRY_RUN,
        ),
        answers={200: Answered("Which records were, or would be, made again.", (Rebuild,))},
        problems=(404, 503),
    ),
    "get_fleet": Endpoint(
        "GET /fleet.json",
        role=Role.READER,
        answers={200: Answered("The fleet in figures.", (Fleet,))},
    ),
    "fleet_page": Endpoint(
        "GET /fleet",
        access=Access.PAGE,
        role=Role.READER,
        query=(
            Parameter("deviceId"),
            _HUB,
            Parameter("state", {"type": "string", "enum": list(State)}),
            Parameter("reason", {"type": "string", "enum": list(Reason)}),
            Parameter("after"),
            Parameter("refresh", {"type": "string", "enum": ["10"]}),
        ),
        answers={
            200: Answered("The fleet for a person to read.", media_type=_HTML),
            401: Answered("The form to sign in with.", media_type=_HTML),
        },
        problems=(403, 404, 503),
    ),
    "fleet_sign_in": Endpoint(
        "POST /fleet",
        access=Access.PAGE,
        body="SignIn",
        body_type="application/x-www-form-urlencoded",
        body_required=False,
        answers={
            303: Answered(
                "Signed in or out.", headers=(Parameter("Location"), Parameter("Set-Cookie"))
            ),
            401: Answered("The form to sign in with, again.", media_type=_HTML),
        },
        problems=(403, 503),
    ),
    "fleet_style": Endpoint(
        "GET /fleet/page.css",
        access=Access.PAGE,
        query=(Parameter("v"),),
        answers={200: Answered("The page's style sheet.", media_type="text/css")},
        problems=(403,),
    ),
    "fleet_script": Endpoint(
        "GET /fleet/page.js",
        access=Access.PAGE,
        query=(Parameter("v"),),
        answers={200: Answered("The page's script.", media_type="text/javascript")},
        problems=(403,),
    ),
    "list_devices": Endpoint(
        "GET /devices",
        role=Role.READER,
        query=(
            _HUB,
            Parameter("deviceId"),
            Parameter("state", {"type": "array", "items": {"type": "string", "enum": list(State)}}),
            Parameter("reason", {"type": "string", "enum": list(Reason)}),
            Parameter("connectedRegistry"),
            Parameter("tombstones", {"type": "string", "enum": ["true", "false"]}),
            Parameter("order", {"type": "string", "enum": list(Order)}),
            Parameter("after"),
            Parameter("size", {"type": "integer", "minimum": 1, "maximum": 1000}),
        ),
        answers={200: Answered("A page of devices.", (DeviceList,))},
    ),
    "put_device": Endpoint(
        "PUT /devices/{deviceId}",
        query=(_DRY_RUN,),
        headers=(_WAIT,),
        body="OnboardingRequestOfAddress",
        answers=_ONBOARDED,
        problems=(403, 409, 424, 503),
    ),
    "put_device_by_parameter": Endpoint(
        "PUT /devices",
        query=(_DEVICE_ID, _DRY_RUN),
        headers=(_WAIT,),
        body="OnboardingRequestOfAddress",
        answers=_ONBOARDED,
        problems=(403, 409, 424, 503),
    ),
    "get_device": Endpoint(
        "GET /devices/{deviceId}",
        role=Role.READER,
        query=(_HUB,),
        answers={200: Answered("The device.", (Device,))},
        problems=(404, 503),
    ),
    "revoke_device": Endpoint(
        "DELETE /devices/{deviceId}",
        query=(_HUB, _DRY_RUN),
        headers=(_WAIT,),
        answers=_TAKEN_AWAY,
        problems=(404, 409, 424, 503),
    ),
    "revoke_device_by_parameter": Endpoint(
        "DELETE /devices",
        query=(_DEVICE_ID, _HUB, _DRY_RUN),
        headers=(_WAIT,),
        answers=_TAKEN_AWAY,
        problems=(404, 409, 424, 503),
    ),
    "rotate_device": Endpoint(
        "POST /devices/{deviceId}/rotate",
        query=(_HUB, _DRY_RUN),
        headers=(_WAIT,),
        body="RotationRequest",
        body_required=False,
        answers=_ONBOARDED,
        problems=(403, 404, 409, 424, 503),
    ),
    "rotate_device_by_parameter": Endpoint(
        "POST /devices:rotate",
        query=(_DEVICE_ID, _HUB, _DRY_RUN),
        headers=(_WAIT,),
        body="RotationRequest",
        body_required=False,
        answers=_ONBOARDED,
        problems=(403, 404, 409, 424, 503),
    ),
    "get_operation": Endpoint(
        "GET /devices/{deviceId}/operations/{generation}",
        role=Role.READER,
        query=(_HUB,),
        answers={200: Answered("How far this request is.", (Operation,))},
        problems=(404, 503),
    ),
    "get_operation_by_parameter": Endpoint(
        "GET /devices:operation",
        role=Role.READER,
        query=(_DEVICE_ID, Parameter("generation", required=True), _HUB),
        answers={200: Answered("How far this request is.", (Operation,))},
        problems=(404, 503),
    ),
    "receive_webhook": Endpoint(
        "POST /webhooks/devices",
        access=Access.SIGNATURE,
        query=(_DRY_RUN,),
        headers=(_WAIT, *_SIGNATURE),
        takes_other_parameters=True,
        body="OnboardingRequest",
        answers=_ONBOARDED,
        problems=(401, 403, 409, 424, 503),
    ),
    "allocate_device": Endpoint(
        "POST /provisioning",
        query=(_DRY_RUN,),
        takes_other_parameters=True,
        body="ProvisioningRequest",
        answers={200: Answered("The hub; or, of a dry run, the plan.", (Allocation, Plan))},
        problems=(403, 409, 503),
    ),
    "list_sites": Endpoint(
        "GET /sites",
        role=Role.READER,
        answers={200: Answered("How full the sites are.", (Sites,))},
    ),
    "get_sweep": Endpoint(
        "GET /sweep",
        role=Role.READER,
        answers={200: Answered("What the last sweep found.", (Sweep,))},
        problems=(404, 503),
    ),
    "approve_sweep": Endpoint(
        "POST /sweep/approve",
        role=Role.MASS_REVOKE_APPROVER,
        query=(_DRY_RUN,),
        body="SweepApproval",
        answers={
            200: Answered("Approved; or, of a dry run, what would be done.", (Sweep, Intended))
        },
        problems=(404, 503),
    ),
    "get_revokes": Endpoint(
        "GET /revokes",
        role=Role.READER,
        answers={200: Answered("How many more devices the API may revoke.", (Revokes,))},
    ),
    "approve_revokes": Endpoint(
        "POST /revokes/approve",
        role=Role.MASS_REVOKE_APPROVER,
        query=(_DRY_RUN,),
        body="RevokesApproval",
        answers={
            200: Answered("Approved; or, of a dry run, what would be done.", (Revokes, Intended))
        },
    ),
    "list_poison": Endpoint(
        "GET /poison",
        role=Role.READER,
        query=(Parameter("queue"),),
        answers={200: Answered("The oldest kept messages.", (PoisonList,))},
    ),
    "discard_poison": Endpoint(
        "DELETE /poison/{queue}/{messageId}",
        query=(_DRY_RUN,),
        answers={
            200: Answered("Of a dry run: what would be done.", (Intended,)),
            204: Answered("Thrown away."),
        },
        problems=(404, 503),
    ),
    "discard_all_poison": Endpoint(
        "DELETE /poison/{queue}",
        query=(Parameter("reason", {"type": "string", "enum": list(Reason)}), _DRY_RUN),
        answers={
            200: Answered(
                "Thrown away; or, of a dry run, the oldest that would be.", (Discarded, Intended)
            )
        },
    ),
    "resend_poison": Endpoint(
        "POST /poison/{queue}/{messageId}/resend",
        query=(_DRY_RUN,),
        body="CorrectedMessage",
        body_required=False,
        answers={
            200: Answered(
                "Sent again; or, of a dry run, what would be done.", (PoisonMessage, Intended)
            )
        },
        problems=(404, 503),
    ),
    "get_audit": Endpoint(
        "GET /audit",
        role=Role.READER,
        query=(
            Parameter("since", {"type": "string", "format": "date-time"}),
            Parameter("until", {"type": "string", "format": "date-time"}),
            Parameter("after"),
            Parameter("size", {"type": "integer", "minimum": 1, "maximum": 1000}),
        ),
        answers={200: Answered("Requests about some devices.", (Audit,))},
    ),
    "get_doctor": Endpoint(
        "GET /doctor",
        role=Role.READER,
        answers={200: Answered("What is wrong, and what mends it.", (Doctor,))},
    ),
    "healthz": Endpoint(
        "GET /healthz",
        access=Access.NOTHING,
        answers={200: Answered("This process answers.", (Health,))},
    ),
    "readyz": Endpoint(
        "GET /readyz",
        access=Access.NOTHING,
        answers={200: Answered("This host can do its work.", (Readiness,))},
    ),
    "openapi": Endpoint(
        "GET /openapi.json",
        access=Access.NOTHING,
        answers={200: Answered("This document.", (OpenApiDocument,))},
        problems=(),
    ),
}
"""All endpoints, by the names of their functions."""
