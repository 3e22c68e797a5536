"""Signed bearer tokens of the local tenant and of the registries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from local_azure.kernel.clock import Clock


class InvalidToken(Exception):
    """A bearer token with a wrong signature or audience, or an expired one."""


class TokenAuthority:
    """Issues and verifies RS256 tokens with a new key."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._key = RSAKey.generate_key(2048, {"use": "sig", "kid": "local-azure"})

    def issue(
        self, *, issuer: str, audience: str, lifetime: timedelta, claims: Mapping[str, Any]
    ) -> str:
        """A compact JWT that is valid for `lifetime`."""
        now = int(self._clock.now().timestamp())
        payload: dict[str, Any] = {
            "iss": issuer,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime.total_seconds()),
            **claims,
        }
        return jwt.encode({"alg": "RS256", "kid": "local-azure"}, payload, self._key)

    def verify(self, token: str, *, audiences: Collection[str]) -> dict[str, Any]:
        """The claims of a valid token. Raises InvalidToken with the reason.

        Audiences match with and without a trailing slash, because Entra has both.
        """
        try:
            claims = jwt.decode(token, self._key, algorithms=["RS256"]).claims
        except (JoseError, ValueError) as error:
            raise InvalidToken("the signature is not this tenant's") from error
        now = self._clock.now().timestamp()
        wanted = {audience.rstrip("/") for audience in audiences}
        if str(claims.get("aud", "")).rstrip("/") not in wanted:
            raise InvalidToken(f"the audience is {claims.get('aud')}, not {sorted(wanted)}")
        if not claims["nbf"] <= now < claims["exp"]:
            raise InvalidToken("the token has expired")
        return dict(claims)
