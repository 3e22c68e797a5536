"""Who there is: the app, held to its roles, and the operator, who owns everything."""

from __future__ import annotations

from pathlib import Path

from local_azure.identity.responses import ManagedIdentity
from local_azure.kernel.access import Access
from local_azure.roles import assign_roles
from local_azure.stack.options import (
    CLIENT_ID,
    HUB_NAME,
    OPERATOR_CLIENT_ID,
    OPERATOR_PRINCIPAL_ID,
    PRINCIPAL_ID,
    RESOURCE_GROUP,
    SUBSCRIPTION_ID,
    TENANT_ID,
    VAULT_NAME,
)

_GROUP = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}"
_IDENTITIES = f"{_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
HUB_ID = f"{_GROUP}/providers/Microsoft.Devices/IotHubs/{HUB_NAME}"
VAULT_ID = f"{_GROUP}/providers/Microsoft.KeyVault/vaults/{VAULT_NAME}"
STORAGE_ID = f"{_GROUP}/providers/Microsoft.Storage/storageAccounts/localstorage"

APP = ManagedIdentity(
    tenant_id=TENANT_ID,
    principal_id=PRINCIPAL_ID,
    client_id=CLIENT_ID,
    resource_id=f"{_IDENTITIES}/local-identity",
)
OPERATOR = ManagedIdentity(
    tenant_id=TENANT_ID,
    principal_id=OPERATOR_PRINCIPAL_ID,
    client_id=OPERATOR_CLIENT_ID,
    resource_id=f"{_IDENTITIES}/local-operator",
)


def hold_app_to_its_roles(access: Access, app_roles: Path) -> None:
    """Give the app the roles of this file, and no other. Raises what assign_roles raises."""
    assign_roles(
        access,
        app_roles,
        principal_id=PRINCIPAL_ID,
        scopes={
            "registry": _GROUP,  # all of them, also those that are made later
            "vault": VAULT_ID,
            "hub": HUB_ID,
            "storage": STORAGE_ID,
        },
    )
