"""Verifies signed webhooks by Standard Webhooks: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook, WebhookVerificationError

from firstpull.model.errors import Invalid
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class SignatureNotValid(Invalid):
    """The webhook's signature does not match, or is too old."""

    def __init__(self) -> None:
        super().__init__(
            "webhook-id, webhook-timestamp and webhook-signature do not match this body, or the "
            "time is more than five minutes off.",
            reason=Reason.SIGNATURE_NOT_VALID,
        )


def signed_at(headers: Mapping[str, str], body: bytes, *, keys: Sequence[Secret]) -> datetime:
    """When a webhook was signed, to the second. Raises SignatureNotValid.

    `keys` are the valid keys: two while an operator replaces one. A replay is valid for five
    minutes; the record refuses it by its time if there is a later request.
    """
    signature = {name: headers.get(name, "") for name in _HEADERS}
    if not any(_fits(key, body, signature) for key in keys):
        raise SignatureNotValid
    return datetime.fromtimestamp(int(float(signature["webhook-timestamp"])), tz=UTC)


def _fits(key: Secret, body: bytes, signature: dict[str, str]) -> bool:
    try:
        Webhook(key.reveal()).verify(body, signature, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True
