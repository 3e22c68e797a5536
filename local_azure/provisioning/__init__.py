"""A local Device Provisioning Service: enrollments whose webhook decides about each device."""

from __future__ import annotations

from local_azure.provisioning.enrollments import Enrollment, EnrollmentKind, ReprovisionPolicy
from local_azure.provisioning.models import ProvisioningService
from local_azure.provisioning.webhook import AllocationWebhook

__all__ = [
    "AllocationWebhook",
    "Enrollment",
    "EnrollmentKind",
    "ProvisioningService",
    "ReprovisionPolicy",
]
