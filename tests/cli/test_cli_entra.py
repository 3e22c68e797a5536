"""The token of a profile that names an Entra application."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from firstpull_cli.credentials import Credentials
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.profiles import Profile

from local_azure.stack import Stack
from local_azure.stack.options import OPERATOR_CLIENT_ID

_PROFILE = Profile(
    name="prod",
    url="https://somewhere.test",
    entra="api://client-1",
    variables={"FIRSTPULL_KEY": "sesame"},
)


async def test_a_managed_identity_gets_the_token_of_the_profiles_application(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", stack.operator_identity_header)
    headers = await asyncio.to_thread(Credentials(_PROFILE).headers)
    assert headers["x-functions-key"] == "sesame"
    claims = headers["Authorization"].removeprefix("Bearer ").split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert (found["aud"], found["appid"]) == ("api://client-1", OPERATOR_CLIENT_ID)


async def test_without_a_sign_in_the_error_says_how_to_sign_in(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", stack.identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", "nobody's")
    monkeypatch.setenv("PATH", "/nowhere")  # no azure-cli, which could be signed in
    with pytest.raises(CliError) as raised:
        await asyncio.to_thread(Credentials(_PROFILE).headers)
    assert raised.value.status is Exit.DENIED
    assert "az login --scope api://client-1/.default" in raised.value.advice


def test_behind_entra_the_fleet_page_is_opened_by_way_of_the_sign_in() -> None:
    assert _PROFILE.page == (
        "https://somewhere.test/.auth/login/aad?post_login_redirect_uri=/api/fleet"
    )
