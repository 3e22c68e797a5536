"""Carries out the `az` commands that the doctor prints, by the requests that `az` would send.

A command is parsed word by word: an option that `az` does not have, or a missing one, fails.
tests/az runs the same commands with azure-cli itself.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from azure.data.tables import TableServiceClient

from local_azure.stack import Stack
from local_azure.stack.options import OPERATOR_CLIENT_ID

_ACR, _PREVIEW = "2025-11-01", "2026-09-01-preview"
_GUID = "00000000-0000-0000-0000-000000000000"

Options = Mapping[str, list[str]]


@dataclass
class Az:
    """An operator's `az`, logged in to a stack."""

    stack: Stack
    http: aiohttp.ClientSession
    ca_file: Path
    _token: str = field(default="", repr=False)

    async def run(self, words: Sequence[str]) -> None:
        """Carry a command out. Raises AssertionError for one that `az` would not take."""
        assert words[0] == "az", words
        names = [name for name in _COMMANDS if tuple(words[1 : 1 + len(name)]) == name]
        assert names, f"az has no {words}"
        name = max(names, key=len)
        command = _COMMANDS[name]
        given = _options(words[1 + len(name) :])
        assert given.keys() <= {*command.required, *command.optional}, given.keys()
        assert given.keys() >= set(command.required), given.keys()
        await command.run(self, given)

    async def send(
        self, method: str, path: str, version: str, body: object = None, **query: str
    ) -> Any:  # noqa: ANN401 - JSON
        """A request to Azure Resource Manager, which has to succeed."""
        async with self.http.request(
            method,
            f"{self.stack.arm_endpoint}{path}",
            params={"api-version": version, **query},
            json=body,
            headers={"Authorization": f"Bearer {await self._bearer()}"},
            ssl=self.stack.kernel.certificates.client_context(),
        ) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else None

    async def _bearer(self) -> str:
        if not self._token:
            async with self.http.get(
                self.stack.identity_endpoint,
                params={
                    "api-version": "2019-08-01",
                    "resource": "https://management.azure.com",
                    "client_id": OPERATOR_CLIENT_ID,
                },
                headers={"X-IDENTITY-HEADER": self.stack.operator_identity_header},
            ) as answer:
                self._token = (await answer.json())["access_token"]
        return self._token


@dataclass(frozen=True)
class _Command:
    run: Callable[[Az, Options], Awaitable[None]]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


def _options(words: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word
            assert name not in found, f"{name} is there twice"
            found[name] = []
        else:
            assert name, f"{word} belongs to no option"
            found[name].append(word)
    return found


def _one(given: Options, name: str) -> str:
    (value,) = given[name]
    return value


def _resource(given: Options, kind: str, *, name: str = "--name") -> str:
    subscription, group = _one(given, "--subscription"), _one(given, "--resource-group")
    return (
        f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{kind}/{_one(given, name)}"
    )


def _registry(given: Options, *, name: str = "--name") -> str:
    return _resource(given, "Microsoft.ContainerRegistry/registries", name=name)


async def _assign_role(az: Az, given: Options) -> None:
    assert _one(given, "--assignee-principal-type") == "ServicePrincipal"
    scope = _one(given, "--scope")
    found = await az.send(
        "GET",
        f"{scope}/providers/Microsoft.Authorization/roleDefinitions",
        "2022-04-01",
        **{"$filter": f"roleName eq '{_one(given, '--role')}'"},
    )
    (role,) = found["value"]
    properties = {
        "roleDefinitionId": role["id"],
        "principalId": _one(given, "--assignee-object-id"),
        "principalType": "ServicePrincipal",
    }
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    await az.send("PUT", path, "2022-04-01", {"properties": properties})


async def _update_role(az: Az, given: Options) -> None:
    role = json.loads(_one(given, "--role-definition"))
    (scope,) = role["AssignableScopes"]
    subscription = scope.removeprefix("/subscriptions/")
    assert role.keys() >= {"Name", "IsCustom", "Description"}
    properties = {
        "roleName": role["Name"],
        "permissions": [{"actions": role["Actions"], "dataActions": role["DataActions"]}],
    }
    path = (
        f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{_GUID}"
    )
    await az.send("PUT", path, "2022-04-01", {"properties": properties})


async def _delete_lock(az: Az, given: Options) -> None:
    await az.send("DELETE", _one(given, "--ids"), "2020-05-01")


async def _exempt(az: Az, given: Options) -> None:
    name, scope = _one(given, "--name"), _one(given, "--scope")
    assert _one(given, "--exemption-category") in ("Waiver", "Mitigated")
    properties = {
        "policyAssignmentId": _one(given, "--policy-assignment"),
        "exemptionCategory": _one(given, "--exemption-category"),
    }
    path = f"{scope}/providers/Microsoft.Authorization/policyExemptions/{name}"
    await az.send("PUT", path, "2022-07-01-preview", {"properties": properties})


async def _update_acr(az: Az, given: Options) -> None:
    body: dict[str, Any] = {"properties": {}}
    if "--sku" in given:
        body["sku"] = {"name": _one(given, "--sku")}
    if "--data-endpoint-enabled" in given:
        body["properties"]["dataEndpointEnabled"] = _one(given, "--data-endpoint-enabled") == "true"
    await az.send("PATCH", _registry(given), _ACR, body)


async def _update_vault(az: Az, given: Options) -> None:
    properties: dict[str, Any] = {}
    if "--enable-rbac-authorization" in given:
        properties["enableRbacAuthorization"] = _one(given, "--enable-rbac-authorization") == "true"
    if "--enable-purge-protection" in given:
        properties["enablePurgeProtection"] = _one(given, "--enable-purge-protection") == "true"
    if "--public-network-access" in given:
        properties["publicNetworkAccess"] = _one(given, "--public-network-access")
    if "--default-action" in given:
        properties["networkAcls"] = {"defaultAction": _one(given, "--default-action")}
    path = _resource(given, "Microsoft.KeyVault/vaults")
    await az.send("PATCH", path, "2026-02-01", {"properties": properties})


async def _update_hub(az: Az, given: Options) -> None:
    tier = {"S": "Standard", "B": "Basic", "F": "Free"}[_one(given, "--sku")[0]]
    path = _resource(given, "Microsoft.Devices/IotHubs")
    body = {"sku": {"name": _one(given, "--sku"), "tier": tier}}
    await az.send("PATCH", path, "2023-06-30", body)


async def _subscribe(az: Az, given: Options) -> None:
    assert _one(given, "--endpoint-type") == "storagequeue"
    storage, _, queue = _one(given, "--endpoint").partition("/queueServices/default/queues/")
    properties = {
        "destination": {
            "endpointType": "StorageQueue",
            "properties": {"resourceId": storage, "queueName": queue},
        },
        "filter": {"includedEventTypes": given["--included-event-types"]},
    }
    path = (
        f"{_one(given, '--source-resource-id')}/providers/Microsoft.EventGrid"
        f"/eventSubscriptions/{_one(given, '--name')}"
    )
    await az.send("PUT", path, "2025-02-15", {"properties": properties})


async def _create_connected(az: Az, given: Options) -> None:
    """`az` makes a scope map and a sync token of its own first."""
    registry, name = _registry(given, name="--registry"), _one(given, "--name")
    assert _one(given, "--mode") == "ReadOnly"
    scope_map, token = f"{registry}/scopeMaps/{name}-sync-map", f"{registry}/tokens/{name}-sync"
    verbs = ("content/read", "metadata/read")
    actions = [f"repositories/{r}/{verb}" for r in given["--repository"] for verb in verbs]
    actions.append(f"gateway/{name}/config/read")
    await az.send("PUT", scope_map, _ACR, {"properties": {"actions": actions}})
    await az.send("PUT", token, _ACR, {"properties": {"scopeMapId": scope_map}})
    parent = {"syncProperties": {"tokenId": token, "schedule": "* * * * *", "messageTtl": "P2D"}}
    body = {"properties": {"mode": "ReadOnly", "parent": parent}}
    await az.send("PUT", f"{registry}/connectedRegistries/{name}", _ACR, body)


async def _add_repositories(az: Az, given: Options) -> None:
    registry, name = _registry(given, name="--registry"), _one(given, "--name")
    connected = await az.send("GET", f"{registry}/connectedRegistries/{name}", _ACR)
    token_id = connected["properties"]["parent"]["syncProperties"]["tokenId"]
    token = await az.send("GET", token_id, _ACR)
    scope_map_id = token["properties"]["scopeMapId"]
    scope_map = await az.send("GET", scope_map_id, _ACR)
    verbs = ("content/read", "metadata/read")
    added = [f"repositories/{r}/{verb}" for r in given["--add"] for verb in verbs]
    actions = sorted({*scope_map["properties"]["actions"], *added})
    await az.send("PATCH", scope_map_id, _ACR, {"properties": {"actions": actions}})


async def _create_table(az: Az, given: Options) -> None:
    assert _one(given, "--auth-mode") == "login"
    with tables_of(az.stack, az.ca_file) as tables:
        await asyncio.to_thread(tables.create_table, _one(given, "--name"))


def tables_of(stack: Stack, ca_file: Path) -> TableServiceClient:
    """The tables of a stack's storage account."""
    return TableServiceClient.from_connection_string(
        stack.storage.connection_string, connection_verify=str(ca_file)
    )


_WHERE = ("--resource-group", "--subscription")
_COMMANDS: Mapping[tuple[str, ...], _Command] = {
    ("role", "assignment", "create"): _Command(
        _assign_role,
        ("--assignee-object-id", "--assignee-principal-type", "--role", "--scope"),
    ),
    ("role", "definition", "update"): _Command(_update_role, ("--role-definition",)),
    ("lock", "delete"): _Command(_delete_lock, ("--ids",)),
    ("policy", "exemption", "create"): _Command(
        _exempt, ("--name", "--policy-assignment", "--exemption-category", "--scope")
    ),
    ("acr", "update"): _Command(
        _update_acr, ("--name", *_WHERE), ("--sku", "--data-endpoint-enabled")
    ),
    ("keyvault", "update"): _Command(
        _update_vault,
        ("--name", *_WHERE),
        (
            "--enable-rbac-authorization",
            "--enable-purge-protection",
            "--public-network-access",
            "--default-action",
        ),
    ),
    ("iot", "hub", "update"): _Command(_update_hub, ("--name", *_WHERE, "--sku")),
    ("eventgrid", "event-subscription", "create"): _Command(
        _subscribe,
        (
            *("--name", "--source-resource-id", "--endpoint-type", "--endpoint"),
            "--included-event-types",
        ),
    ),
    ("acr", "connected-registry", "create"): _Command(
        _create_connected, ("--registry", "--name", *_WHERE, "--mode", "--repository")
    ),
    ("acr", "connected-registry", "repo"): _Command(
        _add_repositories, ("--registry", "--name", *_WHERE, "--add")
    ),
    ("storage", "table", "create"): _Command(
        _create_table, ("--name", "--account-name", "--auth-mode")
    ),
}
