"""Answers of Azure Resource Manager as azure-cli's and azure-powershell's recordings have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from azure.mgmt.containerregistry import models

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.container_registry.resources import connected_registry_from, token_from
from firstpull.model.azure_resources import ConnectedRegistry, Token, TokenId
from firstpull.model.errors import Transient

AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
SYNC = (
    "/subscriptions/0/resourceGroups/any/providers/Microsoft.ContainerRegistry/registries/acrtest"
    "/tokens/plantone"
)


def connected(**properties: Any) -> ConnectedRegistry:  # noqa: ANN401 - JSON
    answer = {"name": "plantone", "properties": {"mode": "ReadOnly", **properties}}
    return connected_registry_from(models.ConnectedRegistry(answer))


@pytest.mark.parametrize(
    "properties",
    [
        # With a managed identity, api-version 2026-09-01-preview
        # (azure-cli, test_acr_connectedregistry_managed_identity).
        {"authType": "ManagedIdentity", "parent": {"syncProperties": {"messageTtl": "P2D"}}},
        {"parent": {"syncProperties": {"tokenId": None}}},
        {"parent": {"syncProperties": {"tokenId": ""}}},
        {"parent": {}},
        {"parent": None},
        {},
    ],
)
def test_a_connected_registry_without_a_sync_token_is_read(properties: dict[str, Any]) -> None:
    found = connected(**properties)
    assert (found.sync_token_id, found.last_sync_at) == (None, None)
    assert found.client_token_ids == ()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-09-01T12:00:00Z", AT),
        ("2026-09-01T12:00:00.1234567Z", AT + timedelta(microseconds=123456)),
        ("2026-09-01T12:00:00.12", AT + timedelta(milliseconds=120)),
        ("2026-09-01T12:00:00", AT),
        ("2026-09-01T14:00:00+02:00", AT),
        ("0001-01-01T00:00:00", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc(text: str, at: datetime) -> None:
    found = connected(parent={"syncProperties": {"tokenId": SYNC, "lastSyncTime": text}})
    assert found.last_sync_at == at
    assert found.sync_token_id == TokenId(SYNC)
    (password,) = token_with(creationTime=text, expiry=text).passwords
    assert (password.created_at, password.expires_at) == (at, at)
    assert password.is_live(AT.astimezone(timezone(timedelta(hours=1)))) == (at > AT)


def test_a_text_that_is_no_time_is_no_answer() -> None:
    with pytest.raises(Transient, match="unreadable time"):
        connected(parent={"syncProperties": {"lastSyncTime": "yesterday"}})
    with pytest.raises(Transient, match="unreadable time"):
        token_with(creationTime="2026-09-01T12:00:00Z", expiry="never")


def token_with(**password: str) -> Token:
    properties = {
        "provisioningState": "Succeeded",
        "status": "enabled",
        "credentials": {"passwords": [{"name": "password1", **password}]},
    }
    return token_from(models.Token({"id": SYNC, "name": "plantone", "properties": properties}))


@pytest.mark.parametrize(
    "answer",
    [
        {"name": "fp-1", "properties": True},
        {"id": "/a", "name": "fp-1", "properties": {"credentials": {"passwords": 7}}},
    ],
)
def test_a_field_of_another_kind_is_no_answer(answer: dict[str, Any]) -> None:
    with pytest.raises(Transient, match="unreadable field"):
        token_from(models.Token(answer))


async def test_an_answer_that_the_sdk_cannot_read_is_no_answer() -> None:
    with pytest.raises(Transient, match="DeserializationError"):
        async with azure_errors("The container registry"):
            models.GenerateCredentialsResult({"username": "fp-1", "passwords": True})
