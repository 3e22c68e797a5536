"""A Device Provisioning Service whose enrollments call a webhook to allocate each device.

Needed by: the management port, to try firstpull's endpoint for DPS by hand.
"""

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
