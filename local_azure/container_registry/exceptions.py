"""The refusals of Microsoft.ContainerRegistry, with their status and code.

Codes that no public document settles are marked as assumptions.
"""

from __future__ import annotations

from local_azure.resource_manager.exceptions import ArmError


class ResourceNotFound(ArmError):
    """No such scope map, token or connected registry."""

    status = 404
    code = "ResourceNotFound"
    says_failed = True


class BeingDeleted(ArmError):
    """A change of a resource whose deletion is in progress. That it is refused is an assumption."""

    status = 409
    code = "OperationInProgress"


class TokenNotActive(ArmError):
    """The token is still being created."""

    status = 409
    code = "TokenNotActive"


class TokenInUse(ArmError):
    """A connected registry names the token. The code is an assumption."""

    status = 409
    code = "TokenInUse"


class ScopeMapInUse(ArmError):
    """A token names the scope map. That this is refused, and the code, are assumptions."""

    status = 409
    code = "ScopeMapInUse"


class InvalidResourceName(ArmError):
    """A name that breaks its resource's rule. The code is an assumption."""

    status = 400
    code = "InvalidResourceName"


class InvalidProperty(ArmError):
    """A property with a value that the provider refuses. The code is an assumption."""

    status = 400
    code = "InvalidParameter"


class SystemScopeMapReadOnly(ArmError):
    """The provider's own scope maps cannot be changed. The code is an assumption."""

    status = 400
    code = "SystemScopeMapReadOnly"


class ScopeMapNotFound(ArmError):
    """A token names a scope map that this registry does not have. The code is an assumption."""

    status = 400
    code = "ScopeMapNotFound"


class TokenNotFound(ArmError):
    """A body names a token that this registry does not have. The code is an assumption."""

    status = 400
    code = "TokenNotFound"


class TooManyClientTokens(ArmError):
    """Too many client tokens for a connected registry. The code is an assumption."""

    status = 400
    code = "ClientTokenLimitExceeded"
