"""Seals entries as firstpull does, for tests of the agent."""

from __future__ import annotations

from typing import Any

from firstpull_agent.seals import entry_digest
from joserfc.jwe import JWERegistry, encrypt_compact
from joserfc.jwk import ECKey, RSAKey

from .deliveries import PASSWORD

DEVICE_ID = "device-1"
GENERATION = "638000000000000001"


def sealed(entry: dict[str, Any], jwk: dict[str, Any], /, **header: object) -> dict[str, Any]:
    """The entry with its password sealed; `header` replaces what the seal binds."""
    fields = {key: value for key, value in entry.items() if key != "password"}
    is_ec = jwk["kty"] == "EC"
    key = ECKey.import_key(jwk) if is_ec else RSAKey.import_key(jwk)
    bound = {
        "alg": jwk["alg"],
        "enc": "A256GCM",
        "kid": jwk["kid"],
        "deliveryId": fields["deliveryId"],
        "deviceId": DEVICE_ID,
        "generationId": GENERATION,
        "connectedRegistry": "site1",
        "iat": 1_700_000_000,
        "entry": entry_digest(fields),
        **header,
    }
    registry = JWERegistry(algorithms=["ECDH-ES", "RSA-OAEP-256", "A256GCM"])
    registry.strict_check_header = False
    return {
        **fields,
        "sealed": encrypt_compact(bound, PASSWORD.encode(), key, registry=registry),
        "deliveryId": f"{fields['deliveryId']}.{'0' * 32}",
    }
