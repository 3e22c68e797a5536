"""The refusals of Azure Resource Manager itself, with their status and code.

Codes that no public document settles are marked as assumptions.
"""

from __future__ import annotations

from typing import ClassVar


class ArmError(Exception):
    """A refusal. `says_failed` adds `"status": "Failed"` beside the error, as the provider does."""

    status: ClassVar[int]
    code: ClassVar[str]
    says_failed: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AuthenticationFailed(ArmError):
    """No bearer token."""

    status = 401
    code = "AuthenticationFailed"


class InvalidAuthenticationToken(ArmError):
    """An invalid bearer token."""

    status = 401
    code = "InvalidAuthenticationToken"


class AuthorizationFailed(ArmError):
    """The caller's roles do not give the action that the operation needs."""

    status = 403
    code = "AuthorizationFailed"


class InvalidSubscriptionId(ArmError):
    """A subscription id that is not a UUID."""

    status = 400
    code = "InvalidSubscriptionId"


class SubscriptionNotFound(ArmError):
    """No such subscription."""

    status = 404
    code = "SubscriptionNotFound"


class ResourceGroupNotFound(ArmError):
    """No such resource group in the subscription."""

    status = 404
    code = "ResourceGroupNotFound"


class NotFoundInResourceManager(ArmError):
    """An unknown path or top-level resource."""

    status = 404
    code = "ResourceNotFound"


class ParentResourceNotFound(ArmError):
    """A child of a resource that does not exist."""

    status = 404
    code = "ParentResourceNotFound"


class InvalidResourceNamespace(ArmError):
    """An unknown resource provider."""

    status = 404
    code = "InvalidResourceNamespace"


class InvalidResourceType(ArmError):
    """A resource type that the provider does not have."""

    status = 404
    code = "InvalidResourceType"


class MethodNotAllowed(ArmError):
    """A known path with another method. The code is an assumption."""

    status = 405
    code = "MethodNotAllowed"


class MissingApiVersionParameter(ArmError):
    """No api-version in the query."""

    status = 400
    code = "MissingApiVersionParameter"


class InvalidApiVersionParameter(ArmError):
    """A malformed api-version."""

    status = 400
    code = "InvalidApiVersionParameter"


class NoRegisteredProviderFound(ArmError):
    """A well-formed api-version that this resource type does not have."""

    status = 400
    code = "NoRegisteredProviderFound"


class UnsupportedMediaType(ArmError):
    """A body that is not declared as JSON."""

    status = 415
    code = "UnsupportedMediaType"


class InvalidRequestContent(ArmError):
    """Invalid JSON, or a field that is unknown or of the wrong type."""

    status = 400
    code = "InvalidRequestContent"


class InvalidQueryParameter(ArmError):
    """A query parameter that the operation does not have. The code is an assumption."""

    status = 400
    code = "InvalidQueryParameterValue"


class SubscriptionRequestsThrottled(ArmError):
    """The token bucket of a principal in a subscription is empty."""

    status = 429
    code = "SubscriptionRequestsThrottled"

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
