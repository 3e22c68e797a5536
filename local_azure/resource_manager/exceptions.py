"""What Azure Resource Manager refuses before a provider sees it, with status and code.

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
    """A bearer token that does not hold."""

    status = 401
    code = "InvalidAuthenticationToken"


class AuthorizationFailed(ArmError):
    """The caller's roles do not give the action that the operation needs."""

    status = 403
    code = "AuthorizationFailed"


class InvalidSubscriptionId(ArmError):
    """A subscription id that is no UUID."""

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
    """No such path, or no such resource that is a child of nothing."""

    status = 404
    code = "ResourceNotFound"


class ParentResourceNotFound(ArmError):
    """A child was asked for whose parent does not exist."""

    status = 404
    code = "ParentResourceNotFound"


class InvalidResourceNamespace(ArmError):
    """A resource provider that is not served here."""

    status = 404
    code = "InvalidResourceNamespace"


class InvalidResourceType(ArmError):
    """A resource type that the provider does not have."""

    status = 404
    code = "InvalidResourceType"


class MethodNotAllowed(ArmError):
    """A path that is served, with another method. The code is an assumption."""

    status = 405
    code = "MethodNotAllowed"


class MissingApiVersionParameter(ArmError):
    """No api-version in the query."""

    status = 400
    code = "MissingApiVersionParameter"


class InvalidApiVersionParameter(ArmError):
    """An api-version that is no date."""

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
    """A body that is no JSON, or has a field that is unknown or of the wrong type."""

    status = 400
    code = "InvalidRequestContent"


class InvalidQueryParameter(ArmError):
    """A query parameter that the operation does not have. The code is an assumption."""

    status = 400
    code = "InvalidQueryParameterValue"


class SubscriptionRequestsThrottled(ArmError):
    """The token bucket of a principal in a subscription is empty. Says when to come again."""

    status = 429
    code = "SubscriptionRequestsThrottled"

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
