"""The provisioning service without input or output: enrollments, requests and assignments."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
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
    """What an assignment did."""

    INITIAL = "initialAssignment"
    MIGRATED = "deviceDataMigrated"
    RESET = "deviceDataReset"
    KEPT = "reprovisionedToInitialAssignment"


@dataclass(frozen=True, kw_only=True)
class Applicant:
    """A device that asks, and the enrollment it asks under. `payload` is the device's own."""

    registration_id: str
    enrollment: Enrollment
    payload: Json | None = None

    @property
    def device_id(self) -> str:
        """What it is called in its hub."""
        return self.enrollment.device_id or self.registration_id


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What a device was told last. Hub and device id are those of its last assignment."""

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
    """One service with the hubs that are linked to it, by host name."""

    def __init__(self, *, clock: Clock, random: Random, hubs: Mapping[str, IotHub]) -> None:
        self._clock = clock
        self._random = random
        self._hubs = hubs
        self._enrolled: dict[tuple[EnrollmentKind, str], _Enrolled] = {}
        self._registrations: dict[str, Registration] = {}

    @property
    def linked_hubs(self) -> list[str]:
        """Their host names."""
        return list(self._hubs)

    def enroll(self, enrollment: Enrollment) -> None:
        """Add an enrollment. Raises EnrollmentExists."""
        key = _key(enrollment.kind, enrollment.id)
        if key in self._enrolled:
            raise EnrollmentExists(enrollment.id)
        left, right = (f"{self._random.getrandbits(32):08x}" for _ in range(2))
        self._enrolled[key] = _Enrolled(
            enrollment, etag=f"{left}-0000-0300-0000-{right}0000", created_at=self._clock.now()
        )

    def withdraw(self, kind: EnrollmentKind, enrollment_id: str) -> None:
        """Remove an enrollment. Its devices stay in their hubs. Raises EnrollmentNotFound."""
        self._find(kind, enrollment_id)
        del self._enrolled[_key(kind, enrollment_id)]

    def enrollments(self) -> list[Enrollment]:
        """All of them, oldest first."""
        return [enrolled.enrollment for enrolled in self._enrolled.values()]

    def registrations(self) -> list[Registration]:
        """What every device was told last, in the order of their first registration."""
        return list(self._registrations.values())

    def applicant(
        self, registration_id: str, *, group_id: str | None, payload: Json | None = None
    ) -> Applicant:
        """A device that asks under a group, or under its own enrollment.

        Raises EnrollmentNotFound, and ValueError for an id that cannot be.
        """
        check_id(registration_id)
        kind = EnrollmentKind.INDIVIDUAL if group_id is None else EnrollmentKind.GROUP
        enrolled = self._find(kind, registration_id if group_id is None else group_id)
        return Applicant(
            registration_id=registration_id, enrollment=enrolled.enrollment, payload=payload
        )

    def webhook_request(self, applicant: Applicant) -> Json:
        """The body that the webhook is asked with."""
        enrollment = applicant.enrollment
        enrolled = self._find(enrollment.kind, enrollment.id)
        context: Json = {"registrationId": applicant.registration_id, "symmetricKey": {}}
        known = self._known(applicant)
        if known is not None and known.assigned_hub is not None:
            # Microsoft's pages spell it both ways.
            name = self._random.choice(("currentIotHubHostName", "currentIoTHubHostName"))
            context |= {name: known.assigned_hub, "currentDeviceId": known.device_id}
        if applicant.payload is not None:
            context["payload"] = applicant.payload
        return {
            enrollment.kind.value: enrollment.document(
                etag=enrolled.etag, created_at=enrolled.created_at, linked_hubs=self.linked_hubs
            ),
            "deviceRuntimeContext": context,
            "linkedHubs": self.linked_hubs,
        }

    def assign(self, applicant: Applicant, allocation: Allocation) -> Registration:
        """Do what the webhook decided. Raises AllocationFailed when the hub refuses it.

        A device that went from its hub by other hands is assigned as for the first time: an
        assumption.
        """
        known = self._known(applicant)
        current = known.assigned_hub if known is not None else None
        try:
            if current is None or self._identity(current, applicant.device_id) is None:
                hub, substatus = allocation.iot_hub_host_name, Substatus.INITIAL
                self._create(applicant, hub, allocation.twin_patch)
            else:
                hub, substatus = self._reprovision(applicant, allocation, current=current)
        except IotHubError as error:
            raise AllocationFailed(f"Custom allocation failed: {error.message}") from error
        return self._remember(
            replace(
                self._answer(applicant, Status.ASSIGNED),
                assigned_hub=hub,
                device_id=applicant.device_id,
                substatus=substatus,
                payload=allocation.payload,
            )
        )

    def fail(self, applicant: Applicant, reason: AllocationFailed) -> Registration:
        """Note that the webhook did not decide. What was assigned before stays."""
        return self._remember(
            replace(
                self._answer(applicant, Status.FAILED),
                error_code=CUSTOM_ALLOCATION_FAILED,
                error_message=str(reason),
            )
        )

    def refuse(self, applicant: Applicant) -> Registration:
        """Note that the enrollment is disabled."""
        return self._remember(self._answer(applicant, Status.DISABLED))

    def identity(self, registration: Registration) -> Identity | None:
        """The hub's identity of an assigned device, keys included."""
        if registration.assigned_hub is None or registration.device_id is None:
            return None
        return self._identity(registration.assigned_hub, registration.device_id)

    def _reprovision(
        self, applicant: Applicant, allocation: Allocation, *, current: str
    ) -> tuple[str, Substatus]:
        wanted, policy = allocation.iot_hub_host_name, applicant.enrollment.reprovision_policy
        if wanted == current or policy is ReprovisionPolicy.NEVER:
            return current, Substatus.KEPT
        device_id, old, new = applicant.device_id, self._hubs[current], self._hubs[wanted]
        if policy is ReprovisionPolicy.RESET:
            self._create(applicant, wanted, allocation.twin_patch)
            old.delete_device(device_id, etag=None)
            return wanted, Substatus.RESET
        twin = old.twin(device_id)
        self._create(applicant, wanted, TwinPatch(tags=twin.tags, desired=twin.desired.values))
        new.report(device_id, twin.reported.values)
        old.delete_device(device_id, etag=None)
        return wanted, Substatus.MIGRATED

    def _create(self, applicant: Applicant, hub_name: str, initial: TwinPatch) -> None:
        """Make the identity with its twin.

        One that is there gets this service's keys and keeps its twin and status: an assumption.
        """
        hub, device_id = self._hubs[hub_name], applicant.device_id
        primary, secondary = applicant.enrollment.device_keys(applicant.registration_id)
        settings = DeviceSettings(
            device_id,
            Authentication(primary_key=primary, secondary_key=secondary),
            iot_edge=applicant.enrollment.iot_edge,
        )
        there = self._identity(hub_name, device_id)
        if there is not None:
            kept = replace(settings, status=there.settings.status)
            hub.update_device(kept, etag=None)
            return
        self._check(initial)
        hub.create_device(settings)
        hub.patch_twin(device_id, initial, etag=None)

    def _check(self, initial: TwinPatch) -> None:
        """A twin that passes a limit must not leave a device behind."""
        now = self._clock.now()
        merge_tags({}, initial.tags or {})
        merge_desired(Section.empty(now), initial.desired or {}, at=now)

    def _identity(self, hub_name: str, device_id: str) -> Identity | None:
        try:
            return self._hubs[hub_name].device(device_id)
        except IotHubError:
            return None

    def _find(self, kind: EnrollmentKind, enrollment_id: str) -> _Enrolled:
        try:
            return self._enrolled[_key(kind, enrollment_id)]
        except KeyError:
            raise EnrollmentNotFound(enrollment_id) from None

    def _known(self, applicant: Applicant) -> Registration | None:
        return self._registrations.get(applicant.registration_id.lower())

    def _answer(self, applicant: Applicant, status: Status) -> Registration:
        """An answer of now, with the assignment that there was before."""
        now, known = self._clock.now(), self._known(applicant)
        return Registration(
            registration_id=applicant.registration_id,
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
