"""The refusals of the provisioning service."""

from __future__ import annotations

CUSTOM_ALLOCATION_FAILED = 400207
"""The device's `errorCode` after an invalid answer of its webhook."""


class EnrollmentExists(Exception):
    """An enrollment of this id exists."""


class EnrollmentNotFound(Exception):
    """No enrollment is for this device."""


class AllocationFailed(Exception):
    """An invalid answer of the webhook. The text repeats nothing of the answer."""
