"""A device's key in a request, and what is sealed to it."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc.jwe import JWERegistry, decrypt_compact
from joserfc.jwk import ECKey, OKPKey, RSAKey

from firstpull.model.sealing import (
    MOST_SEALED_BYTES,
    Recipient,
    SealingKey,
    entry_digest,
    read_sealing_key,
)
from firstpull.model.secret import Secret

EC = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
# Public only: to make one of this size takes seconds.
LARGEST = RSAKey.import_key(
    {"kty": "RSA", "e": "AQAB", "n": urlsafe_b64encode(b"\xff" * 512).decode().rstrip("=")}
)
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PASSWORD = Secret("p" * 84)
FIELDS = {"address": "10.0.0.4:8080", "repositories": ["plant/app"]}
SHORT = {"kty": "RSA", "e": "AQAB", "n": urlsafe_b64encode(b"\x80" + bytes(127)).decode()[:-1]}
type Key = ECKey | RSAKey


def public(key: Key, **changes: object) -> dict[str, Any]:
    members = {**key.as_dict(private=False), **changes}
    return {name: value for name, value in members.items() if value is not None}


def recipient(key: Key, **changes: Any) -> Recipient:  # noqa: ANN401 - fields of all kinds
    fields = {
        "device_id": "press-1",
        "generation_id": "638",
        "connected_registry": "plantone",
        **changes,
    }
    return Recipient(key=read_sealing_key(public(key)), **fields)


def opened(jwe: str, key: Key) -> tuple[Mapping[str, Any], str]:
    registry = JWERegistry(
        algorithms=["ECDH-ES", "RSA-OAEP-256", "A256GCM"], strict_check_header=False
    )
    registry.max_protected_header_length = 2048
    found = decrypt_compact(jwe, key, registry=registry)
    return found.protected, (found.plaintext or b"").decode()


@pytest.mark.parametrize(
    "key", [EC, ECKey.generate_key("P-384"), ECKey.generate_key("P-521"), RSA, LARGEST]
)
def test_a_public_key_is_known_by_its_thumbprint(key: Key) -> None:
    read = read_sealing_key(public(key, use="enc", kid=key.thumbprint()))
    assert read.thumbprint == key.thumbprint()
    assert read.public == public(key)
    assert read_sealing_key(dict(reversed(public(key).items()))) == read


_X, _N = EC.as_dict(private=False)["x"], RSA.as_dict(private=False)["n"]


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        (EC.as_dict(private=True), "private part d"),
        (RSA.as_dict(private=True), "private part d, dp, dq, p, q, qi"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "private part k"),
        ({}, "kty is neither EC nor RSA"),
        ({"kty": ["EC"]}, "kty is neither EC nor RSA"),
        (OKPKey.generate_key("X25519").as_dict(private=False), "kty is neither EC nor RSA"),
        (public(EC, crv="secp256k1"), "crv is none of P-256, P-384, P-521"),
        (public(EC, crv="P-384"), "x has not the 48 bytes of P-384"),
        (public(EC, y=None), "y is missing"),
        (public(EC, x=7), "x is missing, or no unpadded base64url"),
        (public(EC, x=f"{_X}="), "x is missing, or no unpadded base64url"),
        (public(EC, x=f"{_X[:-1]}é"), "x is missing, or no unpadded base64url"),
        (public(EC, y=_X), "no point of its curve"),
        (public(EC, use="sig"), "use is not enc"),
        (public(EC, alg="ECDH-ES+A256KW"), "alg is not ECDH-ES"),
        (public(EC, kid="mine"), "kid is not the key's RFC 7638 thumbprint"),
        (public(EC, x5c=[]), "other members than crv, kty, x, y"),
        (SHORT, "n has 1024 bits, not 2048 to 4096"),
        (public(RSA, n=f"AA{_N}"), "n is missing, or no unpadded base64url"),
        (public(RSA, e="Aw"), "e is not 65537"),
    ],
)
def test_another_key_is_refused_and_the_reason_said(jwk: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        read_sealing_key(jwk)
    assert str(jwk.get("d", "no private part")) not in str(refused.value)


@pytest.mark.parametrize("key", [EC, RSA])
def test_only_the_private_key_opens_what_is_sealed_and_the_header_binds_the_delivery(
    key: Key,
) -> None:
    seal = recipient(key).seal(PASSWORD, FIELDS, content_id="of-this", now=NOW)
    header, password = opened(seal, key)
    assert password == PASSWORD.reveal()
    header = {name: value for name, value in header.items() if name != "epk"}
    assert header == {
        "alg": "ECDH-ES" if key is EC else "RSA-OAEP-256",
        "enc": "A256GCM",
        "kid": key.thumbprint(),
        "deliveryId": "of-this",
        "deviceId": "press-1",
        "generationId": "638",
        "connectedRegistry": "plantone",
        "entry": entry_digest(FIELDS),
        "iat": int(NOW.timestamp()),
    }


def test_its_time_does_not_go_back_behind_the_delivery_before() -> None:
    later = NOW + timedelta(seconds=9)
    seal = recipient(EC, after=later).seal(PASSWORD, FIELDS, content_id="x", now=NOW)
    assert opened(seal, EC)[0]["iat"] == int(later.timestamp())


@pytest.mark.parametrize("key", [EC, ECKey.generate_key("P-521"), RSA, LARGEST])
def test_the_longest_names_fit_a_twins_text_and_the_estimate(key: Key) -> None:
    to = recipient(key, device_id="d" * 128, generation_id="6" * 20, connected_registry="c" * 50)
    seal = to.seal(PASSWORD, FIELDS, content_id="c" * 32, now=NOW)
    assert len(seal) <= to.most_bytes < MOST_SEALED_BYTES
    assert to.most_bytes - len(seal) < 400


def test_a_key_that_a_record_has_lost_seals_nothing() -> None:
    to = Recipient(
        key=SealingKey(thumbprint="known"),
        device_id="press-1",
        generation_id="638",
        connected_registry="plantone",
    )
    assert to.key.public is None
    assert SealingKey(thumbprint=EC.thumbprint(), jwk="damaged").public is None
    with pytest.raises(ValueError, match="not known"):
        to.seal(PASSWORD, FIELDS, content_id="x", now=NOW)


def test_nothing_of_it_is_loaded_before_there_is_a_sealed_device() -> None:
    users = "firstpull.reconcile.apply, firstpull.intake.requests, firstpull_agent.cli"
    program = f"import sys, {users}; sys.exit('joserfc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603


def test_the_digest_does_not_depend_on_the_order_of_the_fields() -> None:
    assert entry_digest(dict(reversed(FIELDS.items()))) == entry_digest(FIELDS)
    assert entry_digest(json.loads(json.dumps(FIELDS))) == entry_digest(FIELDS)
    assert entry_digest({**FIELDS, "insecure": True}) != entry_digest(FIELDS)
