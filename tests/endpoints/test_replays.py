"""A signed webhook that is sent again restores nothing."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from .documents import body_of, request, signed
from .endpoints import Endpoints


@pytest.mark.parametrize("seconds", [-290, 0, 290])
async def test_a_webhook_sent_again_restores_no_revoked_device(
    endpoints: Endpoints, seconds: int
) -> None:
    name = f"replayed-{secrets.token_hex(4)}"
    body = body_of(request(name))
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    headers = signed(body, key=endpoints.webhook_keys[0], at=at)
    assert (await endpoints.signed_webhook(body, headers=headers)).status == 202
    again = await endpoints.signed_webhook(body, headers=headers)
    assert (again.status, again.document["generation"]) == (202, 1)
    await endpoints.call("DELETE", f"devices/{name}")
    for _ in range(3):
        answer = await endpoints.signed_webhook(body, headers=headers)
        assert (answer.status, answer.document["reason"]) == (409, "OutOfDate")
    assert (await endpoints.until_state(name, "Revoked"))["generation"] == 2
