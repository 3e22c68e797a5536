"""Who may do what over HTTP: by app role behind Entra, by named function key elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256

import azure.functions as func
import pytest

from firstpull.config.roles import Role
from firstpull.config.settings import read_caller_settings
from functions.callers import caller_name
from functions.endpoints import ENDPOINTS, ROUTE_PREFIX, Access
from functions.http_endpoint import http_endpoint

KEYS = {role: f"the key of {role}" for role in Role}
ENOUGH = {
    Role.READER: set(Role),
    Role.OPERATOR: {Role.OPERATOR},
    Role.MASS_REVOKE_APPROVER: {Role.MASS_REVOKE_APPROVER},
}
"""The roles that are each enough, by the role that an endpoint needs."""
WITH_KEY = [name for name, endpoint in ENDPOINTS.items() if endpoint.access is Access.KEY]
WITH_DRY_RUN = [name for name in WITH_KEY if ENDPOINTS[name].has_dry_run]


@pytest.fixture(autouse=True)
def _named_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    keys = [
        {
            "name": f"{role} team",
            "sha256": sha256(key.encode()).hexdigest(),
            "roles": [role],
        }
        for role, key in KEYS.items()
    ]
    monkeypatch.setenv("FIRSTPULL_NAMED_KEYS", json.dumps(keys))
    monkeypatch.delenv("WEBSITE_AUTH_ENABLED", raising=False)
    read_caller_settings.cache_clear()
    yield
    read_caller_settings.cache_clear()


@pytest.fixture
def _roles_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTPULL_ROLES_REQUIRED", "true")


@pytest.fixture
def _behind_entra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", "True")


def with_key(key: str) -> dict[str, str]:
    return {"x-functions-key": key}


def principal(*roles: str, name: str = "", app_id: str = "", kind: str = "roles") -> dict[str, str]:
    """The headers that the platform sets behind Entra."""
    claims = [{"typ": "aud", "val": "Operator"}, *({"typ": kind, "val": role} for role in roles)]
    document = json.dumps({"auth_typ": "aad", "claims": claims, "role_typ": kind})
    return {
        "x-ms-client-principal": base64.b64encode(document.encode()).decode(),
        **({"x-ms-client-principal-name": name} if name else {}),
        **({"x-ms-client-principal-id": app_id} if app_id else {}),
    }


def asked(name: str, headers: Mapping[str, str], query: str = "") -> func.HttpRequest:
    endpoint = ENDPOINTS[name]
    given = [f"{known.name}=x" for known in endpoint.query if known.required]
    url = f"https://host{ROUTE_PREFIX}/x?{'&'.join([*given, query])}".rstrip("?&")
    return func.HttpRequest(method="POST", url=url, headers=headers, body=b"")


async def status(name: str, headers: Mapping[str, str], query: str = "") -> int:
    """The status of an endpoint that does nothing but let the request in."""

    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        del req
        return func.HttpResponse(status_code=299)

    handler.__name__ = name
    answer = await http_endpoint(handler)(asked(name, headers, query))
    if answer.status_code == 403:
        problem = json.loads(answer.get_body())
        assert problem["reason"] == "RoleMissing"
        assert ENDPOINTS[name].role in problem["detail"]
        assert not any(key in problem["detail"] for key in KEYS.values())
    return int(answer.status_code)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", WITH_KEY)
async def test_an_endpoint_lets_in_whose_role_is_enough(
    name: str, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = 299 if role in ENOUGH[ENDPOINTS[name].role] else 403
    assert await status(name, with_key(KEYS[role])) == expected
    assert await status(name, {}, f"code={KEYS[role].replace(' ', '%20')}") == expected
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", "True")
    assert await status(name, principal(role, name="ann@example.com")) == expected


@pytest.mark.parametrize("name", WITH_DRY_RUN)
async def test_a_reader_may_have_a_dry_run(name: str) -> None:
    assert await status(name, with_key(KEYS[Role.READER]), "dryRun=true") == 299
    expected = 299 if ENDPOINTS[name].role is Role.READER else 403
    assert await status(name, with_key(KEYS[Role.READER]), "dryRun=false") == expected


def test_what_changes_something_needs_more_than_reading() -> None:
    reads = {n for n in WITH_KEY if ENDPOINTS[n].route.startswith("GET ")}
    assert {n for n in WITH_KEY if ENDPOINTS[n].role is Role.READER} == reads
    approves = {n for n in WITH_KEY if ENDPOINTS[n].role is Role.MASS_REVOKE_APPROVER}
    assert approves == {"approve_sweep", "approve_revokes", "rebuild_devices"}


@pytest.mark.parametrize("name", [n for n, e in ENDPOINTS.items() if e.access is not Access.KEY])
@pytest.mark.usefixtures("_roles_required")
async def test_a_route_without_a_key_needs_no_role(name: str) -> None:
    assert await status(name, {}) == 299


async def test_a_second_key_header_does_not_hide_whose_key_it_is() -> None:
    assert await status("revoke_device", with_key(f"{KEYS[Role.READER]},junk")) == 403
    assert await status("revoke_device", with_key(f"{KEYS[Role.READER]} , junk")) == 403


async def test_a_named_key_may_have_a_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    key = {"name": "a team", "sha256": sha256(b"one,two").hexdigest(), "roles": ["Reader"]}
    monkeypatch.setenv("FIRSTPULL_NAMED_KEYS", json.dumps([key]))
    read_caller_settings.cache_clear()
    assert await status("revoke_device", with_key("one,two")) == 403
    assert await status("revoke_device", {}, "CODE=one,two") == 403


async def test_a_key_without_a_name_may_do_everything_until_roles_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await status("approve_sweep", with_key("any other")) == 299
    monkeypatch.setenv("FIRSTPULL_ROLES_REQUIRED", "true")
    read_caller_settings.cache_clear()
    assert await status("list_devices", with_key("any other")) == 403
    assert await status("list_devices", with_key(KEYS[Role.READER])) == 299


@pytest.mark.usefixtures("_behind_entra")
async def test_a_principal_without_a_role_may_do_everything_until_roles_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = principal(name="ann@example.com")
    assert await status("revoke_device", headers) == 299
    monkeypatch.setenv("FIRSTPULL_ROLES_REQUIRED", "true")
    read_caller_settings.cache_clear()
    assert await status("revoke_device", headers) == 403
    assert await status("revoke_device", {**headers, "x-ms-client-principal": "junk"}) == 403
    assert await status("revoke_device", principal("Operator", app_id="6f2c")) == 299


@pytest.mark.usefixtures("_behind_entra")
async def test_a_named_key_narrows_what_a_principal_may_do() -> None:
    operator = principal("Operator", name="ann@example.com")
    assert await status("revoke_device", {**operator, **with_key("any other")}) == 299
    assert await status("revoke_device", {**operator, **with_key(KEYS[Role.READER])}) == 403


@pytest.mark.usefixtures("_roles_required", "_behind_entra")
async def test_where_entra_lets_the_provisioning_service_in_its_key_counts() -> None:
    assert await status("allocate_device", with_key(KEYS[Role.OPERATOR])) == 299
    assert await status("allocate_device", with_key("any other")) == 403


async def test_the_platforms_headers_count_where_it_authenticates_only() -> None:
    forged = {**principal("Operator", name="ann@example.com"), **with_key(KEYS[Role.READER])}
    assert await status("revoke_device", forged) == 403


@pytest.mark.parametrize("kind", ["roles", "http://schemas.example/role"])
@pytest.mark.usefixtures("_behind_entra")
async def test_roles_are_read_from_the_claims_that_hold_roles(kind: str) -> None:
    reader = principal("Reader", name="ann@example.com", kind=kind)
    assert await status("revoke_device", reader) == 403
    assert await status("list_devices", reader) == 299


@pytest.mark.parametrize(
    ("headers", "authenticates", "expected"),
    [
        (with_key("any other"), "false", "function key"),
        (with_key(KEYS[Role.OPERATOR]), "false", "key Operator team"),
        (principal(name="ann@example.com", app_id="6f2c"), "true", "ann@example.com"),
        (principal(app_id="6f2c"), "true", "6f2c"),
        (with_key(KEYS[Role.OPERATOR]), "true", "unknown principal"),
    ],
)
def test_the_audit_says_who_it_was(
    headers: dict[str, str], authenticates: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", authenticates)
    assert caller_name(asked("create_device", headers)) == expected
