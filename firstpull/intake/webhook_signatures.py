"""Verifies signed webhooks by Standard Webhooks: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from standardwebhooks import Webhook

from firstpull.model.errors import Invalid
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret

TOLERANCE = timedelta(minutes=5)
"""How far the sender's clock may be off, as the specification recommends."""
_SECONDS = re.compile(r"[0-9]{1,11}")


class SignatureNotValid(Invalid):
    """The webhook's signature does not match, or its time is too far off."""

    def __init__(self) -> None:
        super().__init__(
            "webhook-id, webhook-timestamp and webhook-signature do not match this body, or the "
            "time is more than five minutes off.",
            reason=Reason.SIGNATURE_NOT_VALID,
        )


@dataclass(frozen=True, kw_only=True)
class SignedWebhook:
    """What a valid signature covers besides the body. `at` is to the second."""

    id: str
    at: datetime


def verified(
    headers: Mapping[str, str], body: bytes, *, keys: Sequence[Secret], now: datetime
) -> SignedWebhook:
    """The id and the time of a signed webhook. Raises SignatureNotValid.

    `keys` are the valid keys: two while an operator replaces one. A replay is valid while its time
    is; the device's record recognises it by its id.
    """
    message_id, text = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not _SECONDS.fullmatch(text):
        raise SignatureNotValid
    seconds = int(text)
    if abs(seconds - now.timestamp()) > TOLERANCE.total_seconds():
        raise SignatureNotValid
    at = datetime.fromtimestamp(seconds, tz=UTC)
    try:
        content = body.decode()
        # Not the library's `verify`: it compares with the clock of this host.
        expected = [Webhook(key.reveal()).sign(message_id, at, content).encode() for key in keys]
    except UnicodeError:  # also of an id that cannot be encoded
        raise SignatureNotValid from None
    given = headers.get("webhook-signature", "").encode(errors="replace").split()
    if not any(hmac.compare_digest(one, other) for one in expected for other in given):
        raise SignatureNotValid
    return SignedWebhook(id=message_id, at=at)
