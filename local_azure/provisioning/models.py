"""The provisioning service without input or output: enrollments, requests and assignments."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from random import Random

from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import Authentication, DeviceSettings, Identity
from local_azure.iot_hub.models import IotHub
from local_azure.iot_hub.twins import Section, TwinPatch, merge_desired, merge_tags
from local_azure.kernel.clock import Clock
from local_azure.provisioning.allocations import Allocation
from local_azure.provisioning.enrollments import (
    Enrollment,
    EnrollmentKind,
    Json,
    ReprovisionPolicy,
    check_id,
)
from local_azure.provisioning.exceptions import (
    CUSTOM_ALLOCATION_FAILED,
    AllocationFailed,
    EnrollmentExists,
    EnrollmentNotFound,
)


class Status(StrEnum):
    """How a registration ended."""

    ASSIGNED = "assigned"
    FAILED = "failed"
    DISABLED = "disabled"


class Substatus(StrEnum):
    """The effect of an assignment."""

    INITIAL = "initialAssignment"
    KEPT = "reprovisionedToInitialAssignment"
    RESET = "deviceDataReset"


@dataclass(frozen=True, kw_only=True)
class RegistrationRequest:
    """A device that registers with an enrollment. `payload` is the device's own."""

    registration_id: str
    enrollment: Enrollment
    payload: Json | None = None

    @property
    def device_id(self) -> str:
        """The id of the device in its hub."""
        return self.enrollment.device_id or self.registration_id


@dataclass(frozen=True, kw_only=True)
class Registration:
    """The last answer to a device. Hub and device id are those of its last assignment."""

    registration_id: str
    operation_id: str
    status: Status
    created_at: datetime
    updated_at: datetime
    assigned_hub: str | None = None
    device_id: str | None = None
    substatus: Substatus | None = None
    payload: Json | None = None
    error_code: int | None = None
    error_message: str | None = None


@dataclass(frozen=True)
class _Enrolled:
    enrollment: Enrollment
    etag: str
    created_at: datetime


class ProvisioningService:
    """One service with one linked hub."""

    def __init__(self, *, clock: Clock, random: Random, hub: IotHub, hub_host_name: str) -> None:
        self.linked_hubs = [hub_host_name]
        self._clock = clock
        self._random = random
        self._hub = hub
        self._enrolled: dict[tuple[EnrollmentKind, str], _Enrolled] = {}
        self._registrations: dict[str, Registration] = {}

    def enroll(self, enrollment: Enrollment) -> None:
        """Add an enrollment. Raises EnrollmentExists."""
        key = _key(enrollment.kind, enrollment.id)
        if key in self._enrolled:
            raise EnrollmentExists(enrollment.id)
        left, right = (f"{self._random.getrandbits(32):08x}" for _ in range(2))
        self._enrolled[key] = _Enrolled(
            enrollment, etag=f"{left}-0000-0300-0000-{right}0000", created_at=self._clock.now()
        )

    def delete(self, kind: EnrollmentKind, enrollment_id: str) -> None:
        """Remove an enrollment. Its devices stay in their hubs. Raises EnrollmentNotFound."""
        self._find(kind, enrollment_id)
        del self._enrolled[_key(kind, enrollment_id)]

    def enrollments(self) -> list[Enrollment]:
        """All enrollments, the oldest first."""
        return [enrolled.enrollment for enrolled in self._enrolled.values()]

    def registrations(self) -> list[Registration]:
        """The latest registration of every device, in the order of their first ones."""
        return list(self._registrations.values())

    def request(
        self, registration_id: str, *, group_id: str | None, payload: Json | None = None
    ) -> RegistrationRequest:
        """The request of a device with a group's or its own enrollment.

        Raises EnrollmentNotFound, and ValueError for an invalid id.
        """
        check_id(registration_id)
        kind = EnrollmentKind.INDIVIDUAL if group_id is None else EnrollmentKind.GROUP
        enrolled = self._find(kind, registration_id if group_id is None else group_id)
        return RegistrationRequest(
            registration_id=registration_id, enrollment=enrolled.enrollment, payload=payload
        )

    def webhook_request(self, request: RegistrationRequest) -> Json:
        """The body of the webhook's request."""
        enrollment = request.enrollment
        enrolled = self._find(enrollment.kind, enrollment.id)
        context: Json = {"registrationId": request.registration_id, "symmetricKey": {}}
        known = self._known(request)
        if known is not None and known.assigned_hub is not None:
            # Microsoft's documentation has both spellings.
            name = self._random.choice(("currentIotHubHostName", "currentIoTHubHostName"))
            context |= {name: known.assigned_hub, "currentDeviceId": known.device_id}
        if request.payload is not None:
            context["payload"] = request.payload
        return {
            enrollment.kind.value: enrollment.document(
                etag=enrolled.etag, created_at=enrolled.created_at, linked_hubs=self.linked_hubs
            ),
            "deviceRuntimeContext": context,
            "linkedHubs": self.linked_hubs,
        }

    def assign(self, request: RegistrationRequest, allocation: Allocation) -> Registration:
        """Follow the webhook's answer. Raises AllocationFailed when the hub refuses it.

        The policy `RESET` replaces the twin of a device that registers again. An assumption: a
        device that somebody deleted from its hub is assigned for the first time.
        """
        known = self._known(request)
        substatus = Substatus.KEPT
        try:
            if (
                known is None
                or known.assigned_hub is None
                or self._identity(request.device_id) is None
            ):
                substatus = Substatus.INITIAL
                self._create(request, allocation.twin_patch)
            elif request.enrollment.reprovision_policy is ReprovisionPolicy.RESET:
                substatus = Substatus.RESET
                self._check(allocation.twin_patch)
                self._hub.reset_twin(request.device_id, allocation.twin_patch)
        except IotHubError as error:
            raise AllocationFailed(f"Custom allocation failed: {error.message}") from error
        return self._remember(
            replace(
                self._answer(request, Status.ASSIGNED),
                assigned_hub=allocation.iot_hub_host_name,
                device_id=request.device_id,
                substatus=substatus,
                payload=allocation.payload,
            )
        )

    def fail(self, request: RegistrationRequest, reason: AllocationFailed) -> Registration:
        """Record a failure of the webhook. An earlier assignment stays."""
        return self._remember(
            replace(
                self._answer(request, Status.FAILED),
                error_code=CUSTOM_ALLOCATION_FAILED,
                error_message=str(reason),
            )
        )

    def refuse(self, request: RegistrationRequest) -> Registration:
        """Record that the enrollment is disabled."""
        return self._remember(self._answer(request, Status.DISABLED))

    def identity(self, registration: Registration) -> Identity | None:
        """The hub's identity of an assigned device, with its keys."""
        return None if registration.device_id is None else self._identity(registration.device_id)

    def _create(self, request: RegistrationRequest, initial: TwinPatch) -> None:
        """Create the identity with its twin.

        An assumption: an existing one gets the enrollment's keys and keeps its twin and status.
        """
        device_id = request.device_id
        primary, secondary = request.enrollment.device_keys(request.registration_id)
        settings = DeviceSettings(
            device_id,
            Authentication(primary_key=primary, secondary_key=secondary),
            iot_edge=request.enrollment.iot_edge,
        )
        existing = self._identity(device_id)
        if existing is not None:
            kept = replace(settings, status=existing.settings.status)
            self._hub.update_device(kept, etag=None)
            return
        self._check(initial)
        self._hub.create_device(settings)
        self._hub.patch_twin(device_id, initial, etag=None)

    def _check(self, initial: TwinPatch) -> None:
        """Check the twin before the identity exists. Raises IotHubError."""
        now = self._clock.now()
        merge_tags({}, initial.tags or {})
        merge_desired(Section.empty(now), initial.desired or {}, at=now)

    def _identity(self, device_id: str) -> Identity | None:
        try:
            return self._hub.device(device_id)
        except IotHubError:
            return None

    def _find(self, kind: EnrollmentKind, enrollment_id: str) -> _Enrolled:
        try:
            return self._enrolled[_key(kind, enrollment_id)]
        except KeyError:
            raise EnrollmentNotFound(enrollment_id) from None

    def _known(self, request: RegistrationRequest) -> Registration | None:
        return self._registrations.get(request.registration_id.lower())

    def _answer(self, request: RegistrationRequest, status: Status) -> Registration:
        """A registration of now with the earlier assignment."""
        now, known = self._clock.now(), self._known(request)
        return Registration(
            registration_id=request.registration_id,
            operation_id=f"4.{uuid.UUID(int=self._random.getrandbits(128), version=4)}",
            status=status,
            created_at=known.created_at if known is not None else now,
            updated_at=now,
            assigned_hub=known.assigned_hub if known is not None else None,
            device_id=known.device_id if known is not None else None,
        )

    def _remember(self, registration: Registration) -> Registration:
        self._registrations[registration.registration_id.lower()] = registration
        return registration


def _key(kind: EnrollmentKind, enrollment_id: str) -> tuple[EnrollmentKind, str]:
    return kind, enrollment_id.lower()
