"""Seals a password to a device's public key: who reads the twin reads no password.

The result is a JWE (RFC 7516) in its compact form. Its protected header binds delivery, device,
`generationId`, connected registry, time and a digest of the entry's other fields, so that the
agent refuses an old entry, another device's, and one that was edited.

joserfc and cryptography are imported where they are used: they take longer to load than a host
without a sealed device may need them.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from firstpull.model.secret import Secret

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

MOST_SEALED_BYTES = 4096
"""Of one text in a twin (iot-hub-devguide-device-twins)."""
_CURVES = {"P-256": 32, "P-384": 48, "P-521": 66}
"""Bytes of a coordinate (RFC 7518, 6.2.1.2)."""
_RSA_BITS = range(2048, 4096 + 1)
"""Shorter keys are broken; a longer one's result does not fit a twin."""
_PUBLIC = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}
"""The members of a thumbprint (RFC 7638), which are all of a public key."""
_PRIVATE = frozenset({"d", "dp", "dq", "k", "oth", "p", "q", "qi"})
_ALGORITHMS = {"EC": "ECDH-ES", "RSA": "RSA-OAEP-256"}
_ENCRYPTION = "A256GCM"
_DESCRIPTIONS = frozenset({"alg", "key_ops", "kid", "use"})
_MOST_HEADER_BYTES = 2048


@dataclass(frozen=True, kw_only=True)
class SealingKey:
    """A device's public key by its RFC 7638 thumbprint, and the key as a JWK of sorted members.

    `jwk` is None where a lost record was made again: the key comes from a request only. A damaged
    one counts as none: the thumbprint tells.
    """

    thumbprint: str
    jwk: str | None = None

    @property
    def public(self) -> dict[str, str] | None:
        """The key as a JWK."""
        if self.jwk is None or _thumbprint(self.jwk) != self.thumbprint:
            return None
        members: dict[str, str] = json.loads(self.jwk)
        return members


def read_sealing_key(jwk: Mapping[str, Any]) -> SealingKey:
    """The key in a JWK of a request. Raises ValueError, with what is wrong for a person."""
    if private := sorted(_PRIVATE & jwk.keys()):
        raise ValueError(
            f"has the private part {', '.join(private)}: give the public key only, and make another"
        )
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in _PUBLIC:
        raise ValueError("kty is neither EC nor RSA")
    if jwk.keys() - {*_PUBLIC[kind], *_DESCRIPTIONS}:
        raise ValueError(f"has other members than {', '.join(_PUBLIC[kind])}")
    if jwk.get("use", "enc") != "enc":
        raise ValueError("use is not enc: the key is for something else")
    if jwk.get("alg", _ALGORITHMS[kind]) != _ALGORITHMS[kind]:
        raise ValueError(f"alg is not {_ALGORITHMS[kind]}, the only one for {kind} keys")
    members = {name: jwk.get(name) for name in _PUBLIC[kind]}
    if kind == "EC":
        _check_curve(members)
    else:
        _check_modulus(members)
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    key = SealingKey(thumbprint=_thumbprint(text), jwk=text)
    if jwk.get("kid", key.thumbprint) != key.thumbprint:
        raise ValueError("kid is not the key's RFC 7638 thumbprint")
    try:
        _imported(key)
    except ValueError:
        raise ValueError("is no point of its curve, or no key at all") from None
    return key


def _check_curve(members: Mapping[str, object]) -> None:
    curve = members["crv"]
    if not isinstance(curve, str) or curve not in _CURVES:
        raise ValueError(f"crv is none of {', '.join(_CURVES)}")
    for name in ("x", "y"):
        if len(_decoded(members, name)) != _CURVES[curve]:
            raise ValueError(f"{name} has not the {_CURVES[curve]} bytes of {curve}")


def _check_modulus(members: Mapping[str, object]) -> None:
    bits = int.from_bytes(_decoded(members, "n")).bit_length()
    if bits not in _RSA_BITS:
        raise ValueError(f"n has {bits} bits, not {_RSA_BITS.start} to {_RSA_BITS.stop - 1}")
    exponent = int.from_bytes(_decoded(members, "e"))
    if exponent != 65537:
        raise ValueError("e is not 65537")


def _decoded(members: Mapping[str, object], name: str) -> bytes:
    """A member's bytes; only its one canonical spelling is taken."""
    text = members[name]
    if isinstance(text, str) and text.isascii():
        try:
            value = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            value = b""
        if value and _encoded(value) == text and (value[0] or name in ("x", "y")):
            return value
    raise ValueError(f"{name} is missing, or no unpadded base64url")


def _thumbprint(jwk: str) -> str:
    return _encoded(hashlib.sha256(jwk.encode(errors="replace")).digest())


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _imported(key: SealingKey) -> ECKey | RSAKey:
    """The key as joserfc has it. Raises ValueError."""
    from joserfc.jwk import ECKey, RSAKey  # noqa: PLC0415 - see above

    jwk = key.public
    if jwk is None:
        raise ValueError("the key is not known")
    imported: ECKey | RSAKey = (
        ECKey.import_key(dict(jwk)) if jwk["kty"] == "EC" else RSAKey.import_key(dict(jwk))
    )
    _ = imported.public_key  # whether it is one is found out here
    return imported


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """To whom a password is sealed.

    `after` is when the delivery before was made: a seal's time never goes back, for the agent
    refuses what is older than the one it uses.
    """

    key: SealingKey
    device_id: str
    generation_id: str
    connected_registry: str
    after: datetime | None = None

    @property
    def bound(self) -> dict[str, str]:
        """What the header binds besides the delivery itself."""
        return {
            "deviceId": self.device_id,
            "generationId": self.generation_id,
            "connectedRegistry": self.connected_registry,
        }

    @property
    def most_bytes(self) -> int:
        """No JWE to this recipient is longer: header, encrypted key, 84 bytes and their tags."""
        key = self.key.public or {}
        encrypted_key = len(key.get("n", ""))
        ephemeral_key = 2 * len(key.get("x", ""))  # in the header, on the curve of the key
        header = 400 + ephemeral_key + sum(map(len, self.bound.values()))
        return header * 4 // 3 + encrypted_key + 180

    def seal(
        self, password: Secret, fields: Mapping[str, Any], *, content_id: str, now: datetime
    ) -> str:
        """The compact JWE that stands in place of the password."""
        from joserfc.jwe import JWERegistry, encrypt_compact  # noqa: PLC0415 - see above

        key = _imported(self.key)
        algorithm = _ALGORITHMS[key.key_type]
        header = self.bound | {
            "alg": algorithm,
            "enc": _ENCRYPTION,
            "kid": self.key.thumbprint,
            "deliveryId": content_id,
            "entry": entry_digest(fields),
        }
        at = now if self.after is None else max(now, self.after)
        registry = JWERegistry(algorithms=[algorithm, _ENCRYPTION], strict_check_header=False)
        registry.max_protected_header_length = _MOST_HEADER_BYTES
        plain = password.reveal().encode()
        return encrypt_compact(header | {"iat": int(at.timestamp())}, plain, key, registry=registry)


def entry_digest(fields: Mapping[str, Any]) -> str:
    """The digest of an entry's fields other than `sealed` and `deliveryId`, as the agent has it."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return _encoded(hashlib.sha256(text.encode()).digest())
