"""The identities of a stack: the app, which has roles, and the operator, who may do everything."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_azure.identity.responses import HostIdentities, ManagedIdentity
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


@dataclass(frozen=True)
class IdentityHeaders:
    """The values of X-IDENTITY-HEADER that tell hosts apart."""

    app: str
    operator: str
    both: str


def new_identity_headers() -> IdentityHeaders:
    """Random headers."""
    return IdentityHeaders(*(secrets.token_hex(16) for _ in range(3)))


def hosts_of(headers: IdentityHeaders) -> Mapping[str, HostIdentities]:
    """The identities of each host.

    The app's identity is user-assigned, as in Bicep: the app has to name its client id. An
    operator's shell gets the operator without a client id (`az login --identity`).
    """
    return {
        headers.app: HostIdentities(user_assigned=(APP,)),
        headers.operator: HostIdentities(system_assigned=OPERATOR, user_assigned=(APP,)),
        headers.both: HostIdentities(user_assigned=(APP, OPERATOR)),
    }


def hold_app_to_its_roles(access: Access, app_roles: Path) -> None:
    """Give the app the roles of a file and the operator everything. Raises as assign_roles."""
    access.own_everything(OPERATOR_PRINCIPAL_ID)
    assign_roles(
        access,
        app_roles,
        principal_id=PRINCIPAL_ID,
        scopes={
            "registry": _GROUP,  # all registries, also those that a test adds
            "vault": VAULT_ID,
            "hub": HUB_ID,
            "storage": STORAGE_ID,
            "resourceGroup()": _GROUP,
        },
    )
