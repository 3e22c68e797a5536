"""Key Vault's refusals, with their status and codes."""

from __future__ import annotations

from local_azure.kernel.access import Caller


class KeyVaultError(Exception):
    """A refused request. Its text goes to the caller and contains no value."""

    status: int
    code: str
    inner_code: str | None = None


class Unauthorized(KeyVaultError):
    """No bearer token, or an invalid one."""

    status = 401
    code = "Unauthorized"


class ForbiddenByRbac(KeyVaultError):
    """The caller's roles do not grant the data action of the operation."""

    status = 403
    code = "Forbidden"
    inner_code = "ForbiddenByRbac"

    def __init__(self, caller: Caller, *, action: str, resource: str, vault: str) -> None:
        super().__init__(
            "Caller is not authorized to perform action on resource.\r\n"
            "If role assignments, deny assignments or role definitions were changed recently, "
            "please observe propagation time.\r\n"
            f"Caller: appid={caller.client_id};oid={caller.principal_id};iss={caller.issuer}\r\n"
            f"Action: '{action}'\r\n"
            f"Resource: '{resource}'\r\n"
            "Assignment: (not found)\r\n"
            "DenyAssignmentId: null\r\n"
            "DecisionReason: 'DeniedWithNoValidRBAC' \r\n"
            f"Vault: {vault}\r\n"
        )


class ForbiddenByFirewall(KeyVaultError):
    """The vault's network rules do not let the caller in."""

    status = 403
    code = "Forbidden"
    inner_code = "ForbiddenByFirewall"

    def __init__(self) -> None:
        super().__init__("Client address is not authorized and caller is not a trusted service.")


class ForbiddenByPolicy(KeyVaultError):
    """An Azure Policy denies the secret."""

    status = 403
    code = "Forbidden"
    inner_code = "ForbiddenByPolicy"

    def __init__(self) -> None:
        super().__init__("Operation set is not allowed by policy: too long a validity.")


class AccessDenied(KeyVaultError):
    """The vault decides by access policies, and has none for the caller."""

    status = 403
    code = "Forbidden"
    inner_code = "AccessDenied"

    def __init__(self) -> None:
        super().__init__("The user, group or application does not have secrets permissions.")


class BadParameter(KeyVaultError):
    """An invalid name, field, query parameter or api-version."""

    status = 400
    code = "BadParameter"


class SecretNotFound(KeyVaultError):
    """No secret, version or deleted secret of that name."""

    status = 404
    code = "SecretNotFound"


class SecretDisabled(KeyVaultError):
    """A request for the value of a disabled version."""

    status = 403
    code = "Forbidden"
    inner_code = "SecretDisabled"

    def __init__(self) -> None:
        super().__init__("Operation get is not allowed on a disabled secret.")


class SecretIsDeletedButRecoverable(KeyVaultError):
    """The name of a secret that was deleted and is not purged."""

    status = 409
    code = "Conflict"
    inner_code = "ObjectIsDeletedButRecoverable"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Secret {name} is currently in a deleted but recoverable state, and its name cannot"
            " be reused; in this state, the secret can only be recovered or purged."
        )


class SecretIsMoving(KeyVaultError):
    """The secret is being deleted, recovered or purged."""

    status = 409
    code = "Conflict"


class SecretIsBeingDeleted(SecretIsMoving):
    """The secret is being deleted or purged."""

    inner_code = "ObjectIsBeingDeleted"

    def __init__(self, name: str) -> None:
        super().__init__(f"Secret {name} is currently being deleted; retry later.")


class SecretIsBeingRecovered(SecretIsMoving):
    """The secret is being recovered."""

    inner_code = "ObjectIsBeingRecovered"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Secret {name} is currently being recovered and cannot be re-created; retry later."
        )
