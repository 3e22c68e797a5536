"""What the provisioning service refuses."""

from __future__ import annotations

CUSTOM_ALLOCATION_FAILED = 400207
"""The device's `errorCode` when its webhook did not answer as it has to."""


class EnrollmentExists(Exception):
    """There is an enrollment of this id."""


class EnrollmentNotFound(Exception):
    """No enrollment is for this device."""


class AllocationFailed(Exception):
    """The webhook's answer allows no assignment. The text holds nothing of the answer."""
