"""Signed webhooks, by the Standard Webhooks specification: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook, WebhookVerificationError

from firstpull.model.errors import Invalid
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret


class SignatureNotValid(Invalid):
    """The webhook is not signed with a key of ours, or not now."""

    def __init__(self) -> None:
        super().__init__(
            "webhook-id, webhook-timestamp and webhook-signature do not fit this body, or the "
            "time is more than five minutes off.",
            reason=Reason.SIGNATURE_NOT_VALID,
        )


def signed_at(headers: Mapping[str, str], body: bytes, *, keys: Sequence[Secret]) -> datetime:
    """When a webhook was signed, to the second. Raises SignatureNotValid.

    `keys` are those that hold now: two while one is being replaced. A replayed webhook is
    valid for five minutes; the time says that it is old, and the intent decides.
    """
    signature = {name: headers.get(name, "") for name in _HEADERS}
    if not any(_fits(key, body, signature) for key in keys):
        raise SignatureNotValid
    return datetime.fromtimestamp(int(float(signature["webhook-timestamp"])), tz=UTC)


_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def _fits(key: Secret, body: bytes, signature: dict[str, str]) -> bool:
    try:
        Webhook(key.reveal()).verify(body, signature, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True
