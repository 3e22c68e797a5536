"""Key Vault's answers on the wire, read without an SDK."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from local_azure.kernel import Kernel
from local_azure.key_vault.models import Properties, Vault, VaultSettings
from local_azure.key_vault.responses import API_VERSION, create_key_vault_application

VAULT_URL = "https://vault.test"
RESOURCE = "https://vault-resource.test"
CHALLENGE = f'Bearer authorization="https://login.test/tenant", resource="{RESOURCE}"'
CANARY = "correct-horse-battery-staple"


@dataclass
class Wire:
    kernel: Kernel
    vault: Vault
    client: TestClient[Any, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def authorize(self, *, audience: str = RESOURCE) -> None:
        token = self.kernel.tokens.issue(
            issuer="test", audience=audience, lifetime=timedelta(hours=1), claims={}
        )
        self.headers = {"Authorization": f"Bearer {token}"}

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: str | None = None,
        version: str | None = API_VERSION,
    ) -> tuple[int, Any]:
        async with self.client.request(
            method,
            path,
            headers=self.headers,
            params={"api-version": version} if version is not None else {},
            json=json,
            data=data,
        ) as answer:
            self.challenge = answer.headers.get("WWW-Authenticate")
            return answer.status, await answer.json() if answer.status != 204 else None


@pytest.fixture
async def wire(kernel: Kernel) -> AsyncIterator[Wire]:
    settings = VaultSettings(moving_seconds=(0.0, 0.0))
    vault = Vault(clock=kernel.clock, random=kernel.random, settings=settings)
    application = create_key_vault_application(
        kernel,
        vault,
        vault_url=VAULT_URL + "/",
        authority="https://login.test/tenant",
        resource=RESOURCE,
    )
    async with TestClient(TestServer(application)) as client:
        wire = Wire(kernel, vault, client)
        wire.authorize()
        yield wire


def code_of(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    return status, body["error"]["code"]


async def test_a_request_without_a_token_is_challenged_before_any_other_check(wire: Wire) -> None:
    wire.headers = {}
    for path, version in (("/secrets/device", API_VERSION), ("/secrets/device", None), ("/no", "")):
        assert code_of(await wire.send("PUT", path, version=version)) == (401, "Unauthorized")
        assert wire.challenge == CHALLENGE


async def test_an_invalid_token_is_challenged(wire: Wire) -> None:
    assert (await wire.send("GET", "/secrets"))[0] == 200
    wire.kernel.clock.advance(timedelta(hours=2))  # it has expired
    assert (await wire.send("GET", "/secrets"))[0] == 401
    wire.authorize(audience="https://management.test")
    assert (await wire.send("GET", "/secrets"))[0] == 401
    assert wire.challenge == CHALLENGE
    for header in ("Bearer", "Bearer x.y.z", "Bearer ä", "Basic abc", "Bearer a b"):
        wire.headers = {"Authorization": header}
        assert (await wire.send("GET", "/secrets"))[0] == 401


async def test_the_api_version_of_azure_cli_is_served(wire: Wire) -> None:
    assert (await wire.send("GET", "/secrets", version="7.4"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "version", "expected"),
    [
        ("GET", "/secrets", None, (400, "BadParameter")),
        ("GET", "/secrets", "", (400, "BadParameter")),
        ("GET", "/secrets", "2016-10-01", (400, "BadParameter")),
        ("GET", "/secrets?maxResult=3", API_VERSION, (400, "BadParameter")),
        ("GET", "/keys/device", API_VERSION, (404, "NotFound")),
        ("POST", "/secrets/device/backup", API_VERSION, (405, "MethodNotAllowed")),
    ],
)
async def test_unknown_versions_paths_methods_and_parameters_are_refused(
    wire: Wire, method: str, path: str, version: str | None, expected: tuple[int, str]
) -> None:
    assert code_of(await wire.send(method, path, version=version)) == expected


async def test_a_secret_reads_back_as_it_was_set(wire: Wire) -> None:
    body = {
        "value": "one",
        "contentType": "password",
        "tags": {"device": "camera 7/ä"},
        "attributes": {"enabled": True, "exp": 2_000_000_000},
    }
    status, answer = await wire.send("PUT", "/secrets/device", json=body)

    assert status == 200
    for name in ("value", "contentType", "tags"):
        assert answer[name] == body[name]
    attributes = answer["attributes"]
    assert (attributes["enabled"], attributes["exp"]) == (True, 2_000_000_000)
    assert attributes["recoveryLevel"] == "Recoverable+Purgeable"
    assert attributes["created"] == attributes["updated"]
    path = urlsplit(answer["id"]).path
    assert answer["id"] == f"{VAULT_URL}{path}"
    for each in ("/secrets/device", "/secrets/device/", path):
        assert (await wire.send("GET", each)) == (200, answer)


async def test_only_set_and_get_answer_with_the_value(wire: Wire) -> None:
    await wire.send("PUT", "/secrets/device", json={"value": CANARY})
    for method, path in (
        ("PATCH", "/secrets/device/"),
        ("GET", "/secrets"),
        ("GET", "/secrets/device/versions"),
        ("DELETE", "/secrets/device"),
        ("GET", "/deletedsecrets/device"),
        ("POST", "/deletedsecrets/device/recover"),
    ):
        status, answer = await wire.send(method, path, json={} if method == "PATCH" else None)
        assert status == 200
        assert CANARY not in str(answer)


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, ["value"]),
        ({"value": 7}, ["value"]),
        ({"values": "x", "tags": []}, ["value", "values", "tags"]),
        ({"value": "x", "tags": {"a": 1}}, ["tags.a"]),
        ({"value": "x", "attributes": {"enabled": "yes"}}, ["attributes.enabled"]),
        ({"value": "x", "attributes": {"exp": "2030-01-01"}}, ["attributes.exp"]),
        ([], ["body"]),
    ],
)
async def test_every_wrong_or_unknown_field_of_a_body_is_named(
    wire: Wire, body: object, places: list[str]
) -> None:
    answer = await wire.send("PUT", "/secrets/device", json=body)
    assert code_of(answer) == (400, "BadParameter")
    for place in places:
        assert f"{place}: " in answer[1]["error"]["message"]
    assert (await wire.send("GET", "/secrets/device"))[0] == 404


async def test_a_refusal_has_the_codes_of_key_vault(wire: Wire) -> None:
    assert code_of(await wire.send("GET", "/secrets/device")) == (404, "SecretNotFound")

    await wire.send("PUT", "/secrets/device", json={"value": "x", "attributes": {"enabled": False}})
    answer = await wire.send("GET", "/secrets/device")
    assert code_of(answer) == (403, "Forbidden")
    assert answer[1]["error"]["innererror"] == {"code": "SecretDisabled"}

    _, deleted = await wire.send("DELETE", "/secrets/device")
    assert deleted["recoveryId"] == f"{VAULT_URL}/deletedsecrets/device"
    assert deleted["scheduledPurgeDate"] - deleted["deletedDate"] == 90 * 24 * 3600
    answer = await wire.send("PUT", "/secrets/device", json={"value": "x"})
    assert code_of(answer) == (409, "Conflict")
    assert answer[1]["error"]["innererror"] == {"code": "ObjectIsDeletedButRecoverable"}

    assert await wire.send("DELETE", "/deletedsecrets/device") == (204, None)
    answer = await wire.send("DELETE", "/deletedsecrets/device")
    assert code_of(answer) == (404, "SecretNotFound")


async def test_a_page_of_25_follows_the_last_one_although_the_list_has_changed(wire: Wire) -> None:
    for n in range(30):
        wire.vault.set(f"device-{n:02}", SecretStr("x"), Properties())
    _, first = await wire.send("GET", "/secrets")
    wire.vault.delete("device-07")
    link = urlsplit(first["nextLink"])
    _, second = await wire.send("GET", f"{link.path}?{link.query}", version=None)

    ids = [item["id"] for page in (first, second) for item in page["value"]]
    assert (len(first["value"]), len(second["value"])) == (25, 5)
    assert ids == [f"{VAULT_URL}/secrets/device-{n:02}" for n in range(30)]
    assert second["nextLink"] is None


async def test_challenges_are_counted_apart_from_operations(wire: Wire) -> None:
    token, wire.headers = wire.headers, {}
    await wire.send("PUT", "/secrets/device")
    wire.headers = token
    await wire.send("PUT", "/secrets/device", json={"value": "x"})
    await wire.send("GET", "/nowhere")

    counts = {"keyVault.challenge": 1, "keyVault.secrets.set": 1, "keyVault.unknown": 1}
    assert wire.kernel.calls.counts() == counts


async def test_no_refusal_and_no_log_line_repeats_a_value(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await wire.send("PUT", "/secrets/gone", json={"value": CANARY})
    await wire.send("DELETE", "/secrets/gone")
    answers = [
        await wire.send("PUT", "/secrets/gone", json={"value": CANARY}),
        await wire.send("PUT", "/secrets/a_b", json={"value": CANARY}),
        await wire.send("PUT", "/secrets/a", json={"value": CANARY, "more": CANARY}),
        await wire.send("PUT", "/secrets/a", json={"value": [CANARY]}),
        await wire.send("PUT", "/secrets/a", data=f'{{"value": "{CANARY}"'),
        await wire.send("PUT", "/secrets/a", json={"value": CANARY * 2000}),
        await wire.send("PUT", "/secrets/a", json={"value": CANARY}, version="1"),
        await wire.send("PATCH", "/secrets/a", json={"value": CANARY}),
    ]

    assert {status for status, _ in answers} == {400, 409}
    for shown in (str(answers), caplog.text, repr(wire.kernel.calls.latest())):
        assert CANARY not in shown
