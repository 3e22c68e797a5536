"""The refusals of requests for resource groups and what is made in them. Codes are Azure's."""

from __future__ import annotations

from local_azure.resource_manager.exceptions import ArmError


class ResourceGroupBeingDeleted(ArmError):
    """Something is to be made in a resource group that is being deleted."""

    status = 409
    code = "ResourceGroupBeingDeleted"


class ScopeLocked(ArmError):
    """The resource group of the stack itself, which stays as it is."""

    status = 409
    code = "ScopeLocked"


class DeletedVaultNotFound(ArmError):
    """No deleted vault of this name."""

    status = 404
    code = "DeletedVaultNotFound"


class RoleAssignmentNotFound(ArmError):
    """No role assignment of this name."""

    status = 404
    code = "RoleAssignmentNotFound"
