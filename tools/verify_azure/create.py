"""Makes what a run needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential

from tools.verify_azure.journal import Journal
from tools.verify_azure.plan import (
    GROUP_VERSION,
    ROLE_VERSION,
    Resource,
    connected_registry,
    resources,
)
from tools.verify_azure.principal import Principal
from tools.verify_azure.rest import Answer, Arm, Document, Refused, Rest

HUB_AUDIENCE = "https://iothubs.azure.net"
STORAGE_AUDIENCE = "https://storage.azure.com"
_VAULT_VERSION = {"api-version": "7.4"}
_RESOURCE = re.compile(r'resource="(https://[^"]+)"')
_STORAGE_VERSION = {"x-ms-version": "2021-12-02", "Accept": "application/json"}
_ACCESS_POLLS = 60
_ACCESS_POLL_SECONDS = 10.0
_ACCESS_SECONDS = _ACCESS_POLLS * _ACCESS_POLL_SECONDS
_WITHOUT_EFFECT = (400, 401, 403, 404)
"""Not 409, which may be the answer to a repetition whose first answer was lost."""
_NO_ACCESS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, kw_only=True)
class Made:
    """The addresses of what was made. URLs end without a slash."""

    login_server: str
    vault_url: str
    vault_audience: str
    hub_host: str
    storage_urls: dict[str, str]


def create(arm: Arm, journal: Journal, principal: Principal, *, say: Callable[[str], None]) -> Made:
    """Make everything; each resource is noted first. Raises Refused."""
    run = journal.run
    say(f"Making the resource group {run.group.rpartition('/')[2]}")
    group = {"location": run.region, "tags": run.tags()}
    _put(arm, journal, run.group, group, api_version=GROUP_VERSION)
    for assignment, role in run.role_assignments.items():
        body = _assignment(run.subscription, role, principal)
        _put(arm, journal, assignment, body, api_version=ROLE_VERSION)
    wanted = resources(run, tenant=principal.tenant)
    for resource in wanted:
        _make(arm, journal, resource, say=say)
    found = {
        each.path: arm.when_ready(each.path, api_version=each.api_version)["properties"]
        for each in wanted
    }
    for resource in connected_registry(run):
        _make(arm, journal, resource, say=say)
        arm.when_ready(resource.path, api_version=resource.api_version)
    vault_url = found[run.vault]["vaultUri"].rstrip("/")
    endpoints: dict[str, str] = found[run.storage]["primaryEndpoints"]
    return Made(
        login_server=found[run.registry]["loginServer"],
        vault_url=vault_url,
        vault_audience=_audience_of(vault_url, arm),
        hub_host=found[run.hub]["hostName"],
        storage_urls={name: endpoints[name].rstrip("/") for name in ("blob", "queue", "table")},
    )


def await_access(
    made: Made, credential: TokenCredential, arm: Arm, *, say: Callable[[str], None]
) -> None:
    """Wait until the roles on vault, hub and storage account take effect. Raises Refused."""
    storage = made.storage_urls
    probes = (
        _Probe(made.vault_url, made.vault_audience, "/secrets", _VAULT_VERSION),
        _Probe(
            f"https://{made.hub_host}",
            HUB_AUDIENCE,
            "/devices/nobody",
            {"api-version": "2021-04-12"},
        ),
        _Probe(storage["blob"], STORAGE_AUDIENCE, "/", {"comp": "list"}),
        _Probe(storage["queue"], STORAGE_AUDIENCE, "/", {"comp": "list"}),
        _Probe(storage["table"], STORAGE_AUDIENCE, "/Tables", {}),
    )
    say("Waiting until the roles take effect")
    for probe in probes:
        _await(probe, credential, arm)


def _audience_of(vault_url: str, arm: Arm) -> str:
    """The audience of a vault's tokens, from its challenge. Raises Refused.

    Only a part of the vault's own address is accepted, as by Key Vault's SDK.
    """
    answer = _reach(Rest(vault_url), "/secrets", _VAULT_VERSION, arm)
    named = _RESOURCE.search(answer.headers.get("WWW-Authenticate", ""))
    audience = named[1] if named else ""
    if not urlsplit(vault_url).netloc.endswith(f".{urlsplit(audience).netloc or '/'}"):
        raise Refused(
            f"GET {vault_url}/secrets",
            status=answer.status,
            code="NoChallenge",
            message=f"The vault asks for tokens of another audience than its own: {audience}",
        )
    return audience


@dataclass(frozen=True)
class _Probe:
    endpoint: str
    audience: str
    path: str
    query: dict[str, str]


def _await(probe: _Probe, credential: TokenCredential, arm: Arm) -> None:
    rest = Rest(probe.endpoint, credential=credential, audience=probe.audience)
    for _ in _polls(arm):
        answer = _reach(rest, probe.path, probe.query, arm)
        if answer.status not in _NO_ACCESS:
            return
    raise Refused(
        f"GET {probe.endpoint}{probe.path}",
        status=403,
        code="NoAccess",
        message=f"The role assignments have had no effect for {_ACCESS_SECONDS:.0f} s.",
    )


def _reach(rest: Rest, path: str, query: dict[str, str], arm: Arm) -> Answer:
    """An answer of a service whose address may be too new to be known. Raises Refused."""
    refusal: Refused | None = None
    for _ in _polls(arm):
        try:
            return rest.send("GET", path, query=query, headers=_STORAGE_VERSION)
        except Refused as error:
            refusal = error
    raise refusal or LookupError(path)


def _polls(arm: Arm) -> Iterator[int]:
    for number in range(_ACCESS_POLLS):
        if number:
            arm.wait(_ACCESS_POLL_SECONDS)
        yield number


def _make(arm: Arm, journal: Journal, resource: Resource, *, say: Callable[[str], None]) -> None:
    say(f"Making {resource.title}")
    _put(arm, journal, resource.path, resource.body, api_version=resource.api_version)


def _put(arm: Arm, journal: Journal, path: str, body: Document, *, api_version: str) -> None:
    journal.note(path)
    try:
        arm.put(path, body, api_version=api_version)
    except Refused as refusal:
        if refusal.status in _WITHOUT_EFFECT:
            journal.forget(path)
        raise


def _assignment(subscription: str, role: str, principal: Principal) -> dict[str, object]:
    definitions = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions"
    return {
        "properties": {
            "roleDefinitionId": f"{definitions}/{role}",
            "principalId": principal.object_id,
            "principalType": principal.kind,
        }
    }
