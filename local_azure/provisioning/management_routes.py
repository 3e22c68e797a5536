"""The management port's routes for the provisioning service."""

from __future__ import annotations

from typing import Annotated, Any, Self

from aiohttp import web
from pydantic import Field, model_validator

from local_azure.management import Body, read_body
from local_azure.provisioning.enrollments import (
    Enrollment,
    EnrollmentKind,
    Json,
    ReprovisionPolicy,
)
from local_azure.provisioning.exceptions import EnrollmentExists, EnrollmentNotFound
from local_azure.provisioning.models import Registration, Status
from local_azure.provisioning.webhook import AllocationWebhook


class EnrollmentBody(Body):
    """An enrollment of a group (enrollmentGroupId) or of one device (registrationId)."""

    enrollment_group_id: str | None = None
    registration_id: str | None = None
    device_id: str | None = None
    webhook_url: Annotated[str, Field(repr=False)]
    enabled: bool = True
    iot_edge: bool = False
    reprovision_policy: ReprovisionPolicy = ReprovisionPolicy.MIGRATE

    @model_validator(mode="after")
    def _is_valid(self) -> Self:
        self.to_enrollment()
        return self

    def to_enrollment(self) -> Enrollment:
        """The enrollment with new keys. Raises ValueError for an invalid one."""
        match self.enrollment_group_id, self.registration_id:
            case str(group), None:
                kind, enrollment_id = EnrollmentKind.GROUP, group
            case None, str(registration):
                kind, enrollment_id = EnrollmentKind.INDIVIDUAL, registration
            case _:
                raise ValueError("needs either enrollmentGroupId or registrationId")
        return Enrollment(
            kind=kind,
            id=enrollment_id,
            webhook_url=self.webhook_url,
            enabled=self.enabled,
            iot_edge=self.iot_edge,
            reprovision_policy=self.reprovision_policy,
            device_id=self.device_id,
        )


class RegistrationBody(Body):
    """A device that registers, without enrollmentGroupId with its own enrollment."""

    registration_id: str
    enrollment_group_id: str | None = None
    payload: dict[str, Any] | None = None


class TimeoutBody(Body):
    """The timeout of the webhook."""

    timeout_seconds: Annotated[float, Field(gt=0, le=300)]


class ProvisioningRoutes:
    """Enrollments and registrations."""

    def __init__(self, webhook: AllocationWebhook) -> None:
        self._webhook = webhook
        self._service = webhook.service

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.route("GET", "/provisioning/enrollments", self.enrollments),
            web.route("POST", "/provisioning/enrollments", self.enroll),
            web.route("DELETE", "/provisioning/enrollments/{kind}/{id}", self.delete),
            web.route("GET", "/provisioning/registrations", self.registrations),
            web.route("POST", "/provisioning/registrations", self.register),
            web.route("PUT", "/provisioning/webhookTimeout", self.set_timeout),
        ]

    async def enrollments(self, _: web.Request) -> web.Response:
        """The enrollments of the provisioning service."""
        shown = [_enrollment_view(each) for each in self._service.enrollments()]
        return web.json_response({"enrollments": shown})

    async def enroll(self, request: web.Request) -> web.Response:
        """Adds one: {"enrollmentGroupId" or "registrationId", "webhookUrl"}."""
        enrollment = (await read_body(request, EnrollmentBody)).to_enrollment()
        try:
            self._service.enroll(enrollment)
        except EnrollmentExists as error:
            raise web.HTTPConflict(reason="there is one of this id") from error
        return web.json_response(_enrollment_view(enrollment), status=201)

    async def delete(self, request: web.Request) -> web.Response:
        """Removes one; the kind is enrollmentGroup or individualEnrollment."""
        try:
            kind = EnrollmentKind(request.match_info["kind"])
            self._service.delete(kind, request.match_info["id"])
        except (ValueError, EnrollmentNotFound) as error:
            raise web.HTTPNotFound(reason="there is no such enrollment") from error
        return web.Response(status=204)

    async def registrations(self, _: web.Request) -> web.Response:
        """The latest registration of every device, without keys."""
        shown = [_registration_view(each) for each in self._service.registrations()]
        return web.json_response({"registrations": shown})

    async def register(self, request: web.Request) -> web.Response:
        """Registers a device as it would itself: {"registrationId", "enrollmentGroupId"}."""
        body = await read_body(request, RegistrationBody)
        try:
            registering = self._service.request(
                body.registration_id, group_id=body.enrollment_group_id, payload=body.payload
            )
        except EnrollmentNotFound as error:
            raise web.HTTPNotFound(reason="there is no enrollment for it") from error
        except ValueError as error:
            raise web.HTTPBadRequest(reason=str(error)) from error
        registration = await self._webhook.register(registering)
        return web.json_response({**_registration_view(registration), **self._keys(registration)})

    async def set_timeout(self, request: web.Request) -> web.Response:
        """Sets the timeout of the webhook: {"timeoutSeconds": 5}."""
        body = await read_body(request, TimeoutBody)
        self._webhook.timeout_seconds = body.timeout_seconds
        return web.json_response(body.model_dump(by_alias=True))

    def _keys(self, registration: Registration) -> Json:
        """The connection string that a real device makes from its own key."""
        identity = self._service.identity(registration)
        if identity is None or registration.status is not Status.ASSIGNED:
            return {}
        key = identity.settings.authentication.primary_key
        return {
            "connectionString": f"HostName={registration.assigned_hub};"
            f"DeviceId={identity.device_id};SharedAccessKey={key}"
        }


def _enrollment_view(enrollment: Enrollment) -> Json:
    return {
        "kind": enrollment.kind,
        "id": enrollment.id,
        "deviceId": enrollment.device_id,
        "webhookUrl": enrollment.shown_url,
        "enabled": enrollment.enabled,
        "iotEdge": enrollment.iot_edge,
        "reprovisionPolicy": enrollment.reprovision_policy,
    }


def _registration_view(registration: Registration) -> Json:
    """The answer to a device that polls its registration."""
    state: Json = {
        "registrationId": registration.registration_id,
        "createdDateTimeUtc": registration.created_at.isoformat(),
        "lastUpdatedDateTimeUtc": registration.updated_at.isoformat(),
        "assignedHub": registration.assigned_hub,
        "deviceId": registration.device_id,
        "status": registration.status,
        "substatus": registration.substatus,
        "payload": registration.payload,
        "errorCode": registration.error_code,
        "errorMessage": registration.error_message,
    }
    return {
        "operationId": registration.operation_id,
        "status": registration.status,
        "registrationState": {name: value for name, value in state.items() if value is not None},
    }
