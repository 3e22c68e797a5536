"""The refusals of locks and policies. Codes are Azure's."""

from __future__ import annotations

from local_azure.resource_manager.exceptions import ArmError


class ScopeIsLocked(ArmError):
    """A lock on the resource or above it."""

    status = 409
    code = "ScopeLocked"


class RequestDisallowedByPolicy(ArmError):
    """An Azure Policy with the effect deny."""

    status = 403
    code = "RequestDisallowedByPolicy"


class NotFoundInGovernance(ArmError):
    """No lock, assignment or exemption of this name. The codes differ; no client here looks."""

    status = 404
    code = "NotFound"
