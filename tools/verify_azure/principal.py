"""Who runs the verification."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from azure.core.credentials import TokenCredential

from tools.verify_azure.rest import ARM_AUDIENCE


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The caller's directory and object id; `kind` is `User` or `ServicePrincipal`."""

    tenant: str
    object_id: str
    kind: str


def principal_of(credential: TokenCredential) -> Principal:
    """The principal that a credential's tokens name. Raises AzureError without a token."""
    token = credential.get_token(f"{ARM_AUDIENCE}/.default").token
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return Principal(
        tenant=claims["tid"],
        object_id=claims["oid"],
        kind="ServicePrincipal" if claims.get("idtyp") == "app" else "User",
    )
