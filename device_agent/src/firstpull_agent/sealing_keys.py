"""The device's own key, to which its deliveries can be sealed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from firstpull_agent.files import remove_unfinished, replace_file
from firstpull_agent.json_text import parse_json
from firstpull_agent.reports import Failure, Reason
from firstpull_agent.secret import Secret

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

# The ways to agree on a key and to encrypt; compression is not among them.
_ALGORITHMS = ("ECDH-ES", "RSA-OAEP-256", "A256GCM")
_RSA_BITS = 3072
_MOST_KEYS = 2


class KeyKind(StrEnum):
    """The kinds of key that a device can have. EC deliveries are half as long."""

    EC = "P-256"
    RSA = "RSA"


@dataclass(frozen=True)
class Opened:
    """An opened JWE: its protected header, which the seal covers too, and the content."""

    header: Mapping[str, Any]
    content: Secret


class SealingKeys(Protocol):
    """Where the private key is kept: a file here; a TPM or PKCS#11 token can be another backend."""

    def public_jwk(self) -> dict[str, Any]:
        """The newest key's public half as a JWK, for the onboarding. Raises OSError."""
        ...

    def open(self, jwe: str) -> Opened:
        """Open a compact JWE with the key that its header names. Raises Failure or OSError."""
        ...


class FileKeys:
    """Keys in a file that only its owner may read: the newest, and the one before it.

    A new key does not end the old one, so that deliveries open until they are sealed anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self, kind: KeyKind) -> None:
        """Add a new key, which is the newest then. Raises OSError."""
        from joserfc.jwk import ECKey, RSAKey  # noqa: PLC0415 - see `open`

        key: ECKey | RSAKey = (
            ECKey.generate_key(kind.value) if kind is KeyKind.EC else RSAKey.generate_key(_RSA_BITS)
        )
        private = {**key.as_dict(private=True), "kid": key.thumbprint()}
        keys = [private, *self._load()][:_MOST_KEYS]
        replace_file(self._path, json.dumps({"keys": keys}, indent=2).encode(), mode=0o600)

    def exists(self) -> bool:
        """Whether there is a key. Raises OSError."""
        return bool(self._load())

    def public_jwk(self) -> dict[str, Any]:
        """The newest key's public half. Raises OSError, also if there is no key."""
        keys = self._load()
        if not keys:
            raise FileNotFoundError(
                2, "there is no key; `firstpull-agent key` makes one", self._path
            )
        public = _imported(keys[0]).as_dict(private=False)
        return {**public, "kid": keys[0]["kid"], "use": "enc", "alg": _algorithm(public)}

    def discard_unfinished(self) -> None:
        """Remove a half-written file of a killed agent. Raises OSError."""
        remove_unfinished(self._path)

    def open(self, jwe: str) -> Opened:
        """Open a JWE. Raises Failure if it is for another key or not whole, and OSError."""
        # Imported here: cryptography loads slowly on a small device, and plain deliveries go
        # without it.
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwe import JWERegistry, decrypt_compact  # noqa: PLC0415

        named = _key_id(jwe)
        private = next((key for key in self._load() if key["kid"] == named), None)
        if private is None:
            raise Failure(
                Reason.UNSUPPORTED_DELIVERY,
                "the delivery is sealed to a key that this device does not have; `firstpull-agent"
                " key` prints its own",
            )
        registry = JWERegistry(algorithms=_ALGORITHMS, strict_check_header=False)
        registry.max_protected_header_length = 2048
        try:
            opened = decrypt_compact(jwe, _imported(private), registry=registry)
            content = (opened.plaintext or b"").decode()
        except (JoseError, ValueError):
            raise Failure(
                Reason.SEAL_NOT_ACCEPTED, "the sealed password cannot be opened"
            ) from None
        return Opened(opened.protected, Secret(content))

    def _load(self) -> list[dict[str, Any]]:
        try:
            content = parse_json(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError:
            raise OSError(22, "is not the agent's file of keys", str(self._path)) from None
        keys = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
            raise OSError(22, "is not the agent's file of keys", str(self._path))
        return keys


def _imported(jwk: dict[str, Any]) -> ECKey | RSAKey:
    from joserfc.jwk import ECKey, RSAKey  # noqa: PLC0415 - see `open`

    return ECKey.import_key(jwk) if jwk.get("kty") == "EC" else RSAKey.import_key(jwk)


def _algorithm(public: Mapping[str, Any]) -> str:
    return "ECDH-ES" if public.get("kty") == "EC" else "RSA-OAEP-256"


def _key_id(jwe: str) -> object:
    """The key that the header names, before anything of it is trusted."""
    from joserfc.util import urlsafe_b64decode  # noqa: PLC0415 - see `open`

    try:
        header = parse_json(urlsafe_b64decode(jwe.partition(".")[0].encode()))
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise Failure(Reason.SEAL_NOT_ACCEPTED, "sealed is not a compact JWE")
    return header.get("kid")
