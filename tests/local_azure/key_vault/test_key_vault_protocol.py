"""Key Vault's answers on the wire, read without an SDK."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestClient, TestServer
from azure.keyvault.secrets import ApiVersion

from local_azure.kernel import Kernel
from local_azure.kernel.calls import CallLog
from local_azure.kernel.faults import Fault, FaultKind, Faults
from local_azure.key_vault.models import Vault
from local_azure.key_vault.responses import API_VERSIONS, create_key_vault_application

VAULT_URL = "https://vault.test"
RESOURCE = "https://vault-resource.test"
CHALLENGE = f'Bearer authorization="https://login.test/tenant", resource="{RESOURCE}"'
CANARY = "correct-horse-battery-staple"


@dataclass
class Wire:
    kernel: Kernel
    client: TestClient[Any, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def authorize(self, *, audience: str = RESOURCE, hours: float = 1) -> None:
        token = self.kernel.tokens.issue(
            issuer="test", audience=audience, lifetime=timedelta(hours=hours), claims={}
        )
        self.headers = {"Authorization": f"Bearer {token}"}

    async def ask(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: str | None = None,
        params: Mapping[str, str] | None = None,
        version: str | None = "7.6",
    ) -> tuple[int, Any]:
        api_version = {"api-version": version} if version is not None else {}
        async with self.client.request(
            method,
            path,
            headers=self.headers,
            params={**api_version, **(params or {})},
            json=json,
            data=data,
        ) as answer:
            self.challenge = answer.headers.get("WWW-Authenticate")
            return answer.status, await answer.json() if answer.status != 204 else None


@pytest.fixture(scope="module")
def keys() -> Kernel:
    return Kernel.create(seed=1, addresses=("127.0.0.1",))


@pytest.fixture
async def wire(keys: Kernel) -> AsyncIterator[Wire]:
    kernel = replace(keys, faults=Faults(), calls=CallLog())
    vault = Vault(clock=kernel.clock, random=kernel.random)
    application = create_key_vault_application(
        kernel,
        vault,
        vault_url=VAULT_URL + "/",
        authority="https://login.test/tenant",
        resource=RESOURCE,
    )
    async with TestClient(TestServer(application)) as client:
        wire = Wire(kernel, client)
        wire.authorize()
        yield wire


async def test_a_request_without_a_token_is_challenged_before_anything_else(wire: Wire) -> None:
    wire.headers = {}
    for path, version in (("/secrets/device", "7.6"), ("/secrets/device", None), ("/no", "7.6")):
        status, answer = await wire.ask("PUT", path, version=version)
        assert status == 401
        assert answer["error"]["code"] == "Unauthorized"
        assert wire.challenge == CHALLENGE


async def test_a_token_for_another_audience_is_challenged(wire: Wire) -> None:
    wire.authorize(audience="https://management.test")
    assert (await wire.ask("GET", "/secrets"))[0] == 401
    assert wire.challenge == CHALLENGE


async def test_a_token_past_its_time_is_challenged(wire: Wire) -> None:
    assert (await wire.ask("GET", "/secrets"))[0] == 200
    wire.kernel.clock.advance(timedelta(hours=2))
    assert (await wire.ask("GET", "/secrets"))[0] == 401


@pytest.mark.parametrize("sent", ["Bearer", "Bearer x.y.z", "Bearer ä", "Basic abc", "Bearer a b"])
async def test_what_is_no_token_is_challenged(wire: Wire, sent: str) -> None:
    wire.headers = {"Authorization": sent}
    assert (await wire.ask("GET", "/secrets"))[0] == 401


async def test_every_stable_api_version_of_the_sdk_is_served(wire: Wire) -> None:
    assert set(API_VERSIONS) == {version.value for version in ApiVersion}
    for version in API_VERSIONS:
        assert (await wire.ask("GET", "/secrets", version=version))[0] == 200


@pytest.mark.parametrize("version", [None, "", "7.9", "2026-03-01-preview"])
async def test_a_missing_or_unknown_api_version_is_refused(wire: Wire, version: str | None) -> None:
    status, answer = await wire.ask("GET", "/secrets", version=version)
    assert (status, answer["error"]["code"]) == (400, "BadParameter")


async def test_unknown_paths_methods_and_parameters_are_refused(wire: Wire) -> None:
    status, answer = await wire.ask("GET", "/keys/device")
    assert (status, answer["error"]["code"]) == (404, "NotFound")
    status, answer = await wire.ask("POST", "/secrets/device/backup")
    assert (status, answer["error"]["code"]) == (405, "MethodNotAllowed")
    status, answer = await wire.ask("GET", "/secrets", params={"maxResult": "3"})
    assert (status, answer["error"]["code"]) == (400, "BadParameter")
    assert "maxResult" in answer["error"]["message"]


async def test_a_secret_reads_back_as_it_was_set(wire: Wire) -> None:
    attributes = {"enabled": True, "nbf": 1_900_000_000, "exp": 2_000_000_000}
    body = {
        "value": "one",
        "contentType": "password",
        "tags": {"device": "camera 7/ä"},
        "attributes": attributes,
    }
    status, answer = await wire.ask("PUT", "/secrets/device", json=body)

    assert status == 200
    for name in ("value", "contentType", "tags"):
        assert answer[name] == body[name]
    assert attributes.items() <= answer["attributes"].items()
    assert answer["attributes"]["recoveryLevel"] == "Recoverable+Purgeable"
    assert answer["attributes"]["created"] == answer["attributes"]["updated"]
    path = urlsplit(answer["id"]).path
    assert answer["id"] == f"{VAULT_URL}{path}"
    for asked in ("/secrets/device", "/secrets/device/", path):
        assert (await wire.ask("GET", asked)) == (200, answer)


async def test_only_set_and_get_answer_with_the_value(wire: Wire) -> None:
    await wire.ask("PUT", "/secrets/device", json={"value": CANARY})
    for method, path in (
        ("PATCH", "/secrets/device/"),
        ("GET", "/secrets"),
        ("GET", "/secrets/device/versions"),
        ("DELETE", "/secrets/device"),
        ("GET", "/deletedsecrets"),
        ("GET", "/deletedsecrets/device"),
        ("POST", "/deletedsecrets/device/recover"),
    ):
        status, answer = await wire.ask(method, path, json={} if method == "PATCH" else None)
        assert status == 200
        assert CANARY not in str(answer)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "value"),
        ({"value": 7}, "value"),
        ({"value": "x", "Tags": {}}, "Tags"),
        ({"value": "x", "tags": {"a": 1}}, "tags.a"),
        ({"value": "x", "attributes": {"enabled": "yes"}}, "attributes.enabled"),
        ({"value": "x", "attributes": {"exp": "2030-01-01"}}, "attributes.exp"),
        ({"value": "x", "attributes": {"created": 1}}, "attributes.created"),
        ([], "body"),
    ],
)
async def test_a_body_with_wrong_or_unknown_fields_is_refused(
    wire: Wire, body: object, place: str
) -> None:
    status, answer = await wire.ask("PUT", "/secrets/device", json=body)
    assert (status, answer["error"]["code"]) == (400, "BadParameter")
    assert f"{place}: " in answer["error"]["message"]
    assert (await wire.ask("GET", "/secrets/device"))[0] == 404


async def test_all_errors_of_a_body_are_told_at_once(wire: Wire) -> None:
    _, answer = await wire.ask("PUT", "/secrets/device", json={"values": "x", "tags": []})
    for place in ("value: ", "values: ", "tags: "):
        assert place in answer["error"]["message"]


async def test_a_value_cannot_be_changed_by_an_update(wire: Wire) -> None:
    await wire.ask("PUT", "/secrets/device", json={"value": "one"})
    assert (await wire.ask("PATCH", "/secrets/device", json={"value": "two"}))[0] == 400
    assert (await wire.ask("GET", "/secrets/device"))[1]["value"] == "one"


async def test_refusals_have_the_codes_that_clients_look_at(wire: Wire) -> None:
    status, answer = await wire.ask("GET", "/secrets/device")
    assert (status, answer["error"]["code"]) == (404, "SecretNotFound")

    await wire.ask("PUT", "/secrets/device", json={"value": "x", "attributes": {"enabled": False}})
    status, answer = await wire.ask("GET", "/secrets/device")
    assert (status, answer["error"]["code"]) == (403, "Forbidden")
    assert answer["error"]["innererror"] == {"code": "SecretDisabled"}

    await wire.ask("DELETE", "/secrets/device")
    status, answer = await wire.ask("PUT", "/secrets/device", json={"value": "x"})
    assert (status, answer["error"]["code"]) == (409, "Conflict")
    assert answer["error"]["innererror"] == {"code": "ObjectIsDeletedButRecoverable"}

    assert await wire.ask("DELETE", "/deletedsecrets/device") == (204, None)
    status, answer = await wire.ask("DELETE", "/deletedsecrets/device")
    assert (status, answer["error"]["code"]) == (404, "SecretNotFound")


async def test_a_deleted_secret_says_when_it_will_be_purged(wire: Wire) -> None:
    await wire.ask("PUT", "/secrets/device", json={"value": "x"})
    _, answer = await wire.ask("DELETE", "/secrets/device")

    assert answer["recoveryId"] == f"{VAULT_URL}/deletedsecrets/device"
    assert answer["scheduledPurgeDate"] - answer["deletedDate"] == 90 * 24 * 3600


async def test_a_list_comes_in_pages_of_25(wire: Wire) -> None:
    for n in range(30):
        await wire.ask("PUT", f"/secrets/device-{n:02}", json={"value": "x"})
    _, first = await wire.ask("GET", "/secrets")
    next_link = urlsplit(first["nextLink"])
    _, second = await wire.ask("GET", f"{next_link.path}?{next_link.query}", version=None)

    ids = [item["id"] for page in (first, second) for item in page["value"]]
    assert (len(first["value"]), len(second["value"])) == (25, 5)
    assert ids == [f"{VAULT_URL}/secrets/device-{n:02}" for n in range(30)]
    assert second["nextLink"] is None


async def test_a_page_follows_its_predecessor_although_the_list_has_changed(wire: Wire) -> None:
    for name in "abcd":
        await wire.ask("PUT", f"/secrets/{name}", json={"value": "x"})
    _, first = await wire.ask("GET", "/secrets", params={"maxresults": "2"})
    for name in "ab":
        await wire.ask("DELETE", f"/secrets/{name}")
    next_link = urlsplit(first["nextLink"])
    _, second = await wire.ask("GET", f"{next_link.path}?{next_link.query}", version=None)

    assert [item["id"][-1] for item in second["value"]] == ["c", "d"]


@pytest.mark.parametrize(
    "params",
    [{"maxresults": "0"}, {"maxresults": "26"}, {"maxresults": "two"}, {"$skiptoken": "ä"}],
)
async def test_impossible_pages_are_refused(wire: Wire, params: dict[str, str]) -> None:
    status, answer = await wire.ask("GET", "/secrets", params=params)
    assert (status, answer["error"]["code"]) == (400, "BadParameter")


async def test_calls_are_counted_by_operation_and_challenges_apart(wire: Wire) -> None:
    token, wire.headers = wire.headers, {}
    await wire.ask("PUT", "/secrets/device")
    wire.headers = token
    await wire.ask("PUT", "/secrets/device", json={"value": "x"})
    await wire.ask("GET", "/secrets/device/")
    await wire.ask("PATCH", "/secrets/device/", json={})
    await wire.ask("GET", "/secrets/device/versions")
    await wire.ask("DELETE", "/secrets/device")
    await wire.ask("GET", "/deletedsecrets")
    await wire.ask("POST", "/deletedsecrets/device/recover")
    await wire.ask("GET", "/nowhere")

    assert wire.kernel.calls.counts() == {
        f"keyVault.{operation}": 1
        for operation in (
            "challenge",
            "secrets.set",
            "secrets.get",
            "secrets.update",
            "secrets.listVersions",
            "secrets.delete",
            "deletedSecrets.list",
            "deletedSecrets.recover",
            "unknown",
        )
    }


async def test_a_throttled_call_has_no_effect_and_says_when_to_come_back(wire: Wire) -> None:
    wire.kernel.faults.add(
        Fault("keyVault.secrets.set", FaultKind.STATUS, status=429, retry_after="7")
    )
    status, answer = await wire.ask("PUT", "/secrets/device", json={"value": "x"})

    assert (status, answer["error"]["code"]) == (429, "Throttled")
    assert (await wire.ask("GET", "/secrets/device"))[0] == 404


async def test_no_refusal_and_no_log_line_repeats_a_value(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await wire.ask("PUT", "/secrets/gone", json={"value": CANARY})
    await wire.ask("DELETE", "/secrets/gone")
    answers = [
        await wire.ask("PUT", "/secrets/gone", json={"value": CANARY}),
        await wire.ask("PUT", "/secrets/a_b", json={"value": CANARY}),
        await wire.ask("PUT", "/secrets/a", json={"value": CANARY, "more": CANARY}),
        await wire.ask("PUT", "/secrets/a", json={"value": [CANARY]}),
        await wire.ask("PUT", "/secrets/a", data=f'{{"value": "{CANARY}"'),
        await wire.ask("PUT", "/secrets/a", json={"value": CANARY * 2000}),
        await wire.ask("PUT", "/secrets/a", json={"value": CANARY}, version="1"),
        await wire.ask("PATCH", "/secrets/a", json={"value": CANARY}),
    ]

    assert {status for status, _ in answers} == {400, 409}
    assert CANARY not in str(answers)
    assert CANARY not in caplog.text
    assert CANARY not in repr(wire.kernel.calls.latest())
