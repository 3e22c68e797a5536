"""What is planted in the local Azure is found, and the printed command mends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from azure.storage.queue import QueueServiceClient

from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.kernel.access import Permission, RoleDefinition
from local_azure.stack import Stack
from local_azure.stack.identities import HUB_ID, VAULT_ID
from local_azure.stack.options import PRINCIPAL_ID, REGISTRY_NAME

from .az_commands import tables_of
from .conftest import Clinic, clinic_on, policy_of

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
_DEFINITIONS = "/providers/Microsoft.Authorization/policyDefinitions"
TOKENS_DENIED = "ff05e24e-195c-447e-b322-5e90c9f9f366"
TOKENS_DISABLED = "a9b426fe-8856-4945-8600-18c5dd1cca2a"
SECRETS_VALIDITY = "342e8053-e12e-4c44-be01-c3c2f318400f"


@dataclass(frozen=True)
class Planted:
    """A misconfiguration: how it comes about, and the finding that tells of it.

    `besides` are other findings that come with it. `afterwards` is what a person does besides the
    command, as the finding says.
    """

    finding: str
    subject: str
    plant: Callable[[Clinic], Awaitable[None]]
    besides: frozenset[str] = frozenset()
    afterwards: Callable[[Clinic], Awaitable[None]] | None = None


def without_role(name: str) -> Callable[[Clinic], Awaitable[None]]:
    """The app's identity loses a role everywhere."""

    async def plant(clinic: Clinic) -> None:
        access = clinic.stack.kernel.access
        kept = [a for a in access.assignments(PRINCIPAL_ID) if a.role != name]
        assert len(kept) < len(access.assignments(PRINCIPAL_ID))
        access.assign(PRINCIPAL_ID, kept)

    return plant


async def an_old_role(clinic: Clinic) -> None:
    """The role's definition is of an earlier version, without an action."""
    access = clinic.stack.kernel.access
    (role,) = [each for each in access.roles() if each.name == "firstpull"]
    (permission,) = role.permissions
    actions = tuple(a for a in permission.actions if not a.endswith("scopeMaps/delete"))
    assert len(actions) < len(permission.actions)
    access.define(RoleDefinition("firstpull", (Permission(actions=actions),)))


async def a_lower_tier(clinic: Clinic) -> None:
    clinic.registry.tier = "Standard"


async def no_data_endpoint(clinic: Clinic) -> None:
    clinic.registry.has_data_endpoint = False


def a_lock(level: str, scope: Callable[[Clinic], str]) -> Callable[[Clinic], Awaitable[None]]:
    async def plant(clinic: Clinic) -> None:
        path = f"{scope(clinic)}/providers/Microsoft.Authorization/locks/keep"
        await clinic.az.send("PUT", path, "2020-05-01", {"properties": {"level": level}})

    return plant


def a_policy(
    definition: str, scope: Callable[[Clinic], str], **parameters: object
) -> Callable[[Clinic], Awaitable[None]]:
    async def plant(clinic: Clinic) -> None:
        path = f"{scope(clinic)}/providers/Microsoft.Authorization/policyAssignments/house-rule"
        properties = {
            "policyDefinitionId": f"{_DEFINITIONS}/{definition}",
            "parameters": {name: {"value": value} for name, value in parameters.items()},
        }
        await clinic.az.send("PUT", path, "2023-04-01", {"properties": properties})

    return plant


def changed(resource: str, **properties: object) -> Callable[[Clinic], Awaitable[None]]:
    async def plant(clinic: Clinic) -> None:
        clinic.stack.governance.own[resource.lower()].change({"properties": properties})

    return plant


async def a_basic_hub(clinic: Clinic) -> None:
    tier = {"sku": {"name": "B1", "tier": "Basic"}}
    clinic.stack.governance.own[HUB_ID.lower()].change(tier)


async def no_event_subscription(clinic: Clinic) -> None:
    clinic.stack.events.grid.unsubscribe("hub-to-queue")


async def no_connected_registry(clinic: Clinic) -> None:
    assert clinic.registry.delete_connected_registry("planttwo")


async def deployed_at_the_site(clinic: Clinic) -> None:
    """What somebody at the site does after a connected registry was created."""
    there = clinic.registry.connected_registry("plantone").login_server
    clinic.registry.activate_connected_registry("planttwo", there)
    site = clinic.stack.sites.get("planttwo")
    assert site is not None
    assert site.backend.sync()


async def a_repository_less(clinic: Clinic) -> None:
    registry = clinic.registry
    token = registry.token_of(registry.connected_registry("plantone").sync_token_id)
    name = token.scope_map_id.rsplit("/", 1)[-1]
    actions = [a for a in registry.scope_map(name).actions if "/hello-world/" not in a]
    registry.update_scope_map(name, actions=actions)


async def a_rejected_message(clinic: Clinic) -> None:
    queues = QueueServiceClient.from_connection_string(
        clinic.stack.storage.connection_string, connection_verify=str(clinic.ca_file)
    )
    with queues, queues.get_queue_client("device-onboarding") as queue:
        await asyncio.to_thread(queue.send_message, "no JSON")


async def an_emptied_list(clinic: Clinic) -> None:
    """Another writer replaces a list with a device of firstpull's in it."""
    clinic.stack.hub.create_device(DeviceSettings("doctor-device"))
    wish = {"deviceId": "doctor-device", "connectedRegistry": "plantone"}
    await clinic.call("POST", "devices", {**wish, "repositories": ["hello-world"]})

    async def is_delivered() -> bool:
        return bool((await clinic.call("GET", "devices/doctor-device"))["state"] == "Delivered")

    await clinic.until(is_delivered)
    nobody = ConnectedRegistryChanges(client_token_ids=())
    clinic.registry.update_connected_registry("plantone", nobody)


async def a_late_sweep(clinic: Clinic) -> None:
    """The hourly timer did not run: the report of the last sweep is old."""
    clinic.stack.kernel.clock.advance(timedelta(hours=4))


async def no_table(clinic: Clinic) -> None:
    with tables_of(clinic.stack, clinic.ca_file) as tables:
        await asyncio.to_thread(tables.delete_table, "devices")


async def records_rebuilt(clinic: Clinic) -> None:
    await clinic.operator.ok("rebuild", "--yes")


async def a_wrong_policy(clinic: Clinic) -> None:
    clinic.policy.write_text('{"hubs": []}')
    right = json.dumps(policy_of(clinic.stack))
    (clinic.operator.home / "policy.json").write_text(right)
    clinic.stack.kernel.clock.advance(timedelta(seconds=30))  # a host reads it again by then


async def read_again(clinic: Clinic) -> None:
    clinic.stack.kernel.clock.advance(timedelta(seconds=30))


def registry_of(clinic: Clinic) -> str:
    return clinic.stack.registry_id


def group_of(clinic: Clinic) -> str:
    return clinic.stack.registry_id.partition("/providers/")[0]


def vault_of(_: Clinic) -> str:
    return VAULT_ID


PLANTED = {
    "no role on the registry": Planted("ActionsMissing", REGISTRY_NAME, without_role("firstpull")),
    "an old role on the registry": Planted("ActionsMissing", REGISTRY_NAME, an_old_role),
    "no role on the vault": Planted(
        "ActionsMissing", "local-vault", without_role("firstpull secrets")
    ),
    "no role on the hub": Planted("ActionsMissing", "local-hub", without_role("firstpull devices")),
    "no role on the queues": Planted(
        "ActionsMissing", "localstorage", without_role("Storage Queue Data Contributor")
    ),
    "a tier without connected registries": Planted("RegistryTier", REGISTRY_NAME, a_lower_tier),
    "no data endpoint": Planted("DataEndpointOff", REGISTRY_NAME, no_data_endpoint),
    "a lock on the registry": Planted(
        "LockForbidsChanges", REGISTRY_NAME, a_lock("ReadOnly", registry_of)
    ),
    "a lock on the resource group": Planted(
        "LockForbidsChanges", REGISTRY_NAME, a_lock("CanNotDelete", group_of)
    ),
    "a policy that denies tokens": Planted(
        "PolicyForbidsTokens", REGISTRY_NAME, a_policy(TOKENS_DENIED, group_of, effect="Deny")
    ),
    "a policy that disables tokens": Planted(
        "PolicyForbidsTokens", REGISTRY_NAME, a_policy(TOKENS_DISABLED, registry_of)
    ),
    "a policy on secrets": Planted(
        "PolicyLimitsValidity",
        "local-vault",
        a_policy(SECRETS_VALIDITY, vault_of, effect="Deny", maximumValidityInDays=30),
    ),
    "a firewall of the vault": Planted(
        "FirewallCloses", "local-vault", changed(VAULT_ID, networkAcls={"defaultAction": "Deny"})
    ),
    "a vault that is off the internet": Planted(
        "FirewallCloses", "local-vault", changed(VAULT_ID, publicNetworkAccess="Disabled")
    ),
    "access policies in the vault": Planted(
        "VaultUsesAccessPolicies", "local-vault", changed(VAULT_ID, enableRbacAuthorization=False)
    ),
    "a vault that can be purged": Planted(
        "VaultWithoutPurgeProtection",
        "local-vault",
        changed(VAULT_ID, enablePurgeProtection=False),
    ),
    "a hub of the basic tier": Planted("HubTier", "local-hub", a_basic_hub),
    "no event subscription": Planted("EventsNotDelivered", "local-hub", no_event_subscription),
    "no such connected registry": Planted(
        "ConnectedRegistryNotFound",
        f"{REGISTRY_NAME}/planttwo",
        no_connected_registry,
        afterwards=deployed_at_the_site,
    ),
    "a repository that is not synced": Planted(
        "RepositoriesNotSynced", f"{REGISTRY_NAME}/plantone", a_repository_less
    ),
    "a rejected message": Planted("MessagesKept", "device-onboarding", a_rejected_message),
    "a list that another writer replaced": Planted(
        "ClientsLost", f"{REGISTRY_NAME}/plantone", an_emptied_list
    ),
    "no table of records": Planted(
        "RecordsNotFound",
        "devices",
        no_table,
        besides=frozenset({"DevicesOverdue"}),
        afterwards=records_rebuilt,
    ),
    "a policy that cannot be read": Planted(
        "PolicyNotValid", "FIRSTPULL_POLICY_FILE", a_wrong_policy, afterwards=read_again
    ),
    "a sweep that did not run": Planted("SweepOverdue", "sweep", a_late_sweep),
}


_FAST = {
    "an old role on the registry",
    "no data endpoint",
    "a lock on the registry",
    "a policy that denies tokens",
    "no event subscription",
    "a repository that is not synced",
}
"""One of each way in which a thing is wrong. The others are left to the slow tier."""


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(planted, id=name, marks=() if name in _FAST else pytest.mark.slow)
        for name, planted in PLANTED.items()
    ],
)
async def test_what_is_planted_is_found_and_the_printed_command_mends_it(
    clinic: Clinic, planted: Planted
) -> None:
    await clinic.until_well()
    await planted.plant(clinic)
    finding = await clinic.found(planted.finding, besides=planted.besides)
    assert finding["subject"] == planted.subject
    await clinic.apply(finding)
    if planted.afterwards is not None:
        await planted.afterwards(clinic)
    await clinic.until_well()


async def test_without_its_role_the_doctor_says_what_it_could_not_see_and_how_it_could(
    clinic: Clinic,
) -> None:
    await clinic.until_well()
    await without_role("firstpull doctor")(clinic)
    said = await clinic.diagnosis()
    assert said["findings"] == []
    blind = [one for one in said["notChecked"] if one["subject"] != "sites"]
    names = {REGISTRY_NAME, "local-vault", "local-hub", "localstorage"}
    assert {one["subject"] for one in blind} == names
    for one in {one["subject"]: one for one in blind}.values():
        await clinic.apply(one)
    await clinic.until_well()


async def test_the_doctor_does_nothing_that_its_roles_do_not_permit(clinic: Clinic) -> None:
    """And needs each action of its own role, which has no other."""
    access = clinic.stack.kernel.access
    await clinic.until_well()
    access.decisions.clear()
    await clinic.diagnosis()
    own = [d for d in access.decisions if d.principal_id == PRINCIPAL_ID]
    assert all(decision.allowed for decision in own)
    used = {action.name for decision in own for action in decision.actions}
    role = json.loads((ROOT / "infra/doctor-role.json").read_text())
    assert used >= set(role["Actions"])


async def test_no_password_is_in_what_the_doctor_says(clinic: Clinic) -> None:
    """Nor in the audit: of a device that has one."""
    device = "doctor-secret"
    clinic.stack.hub.create_device(DeviceSettings(device))
    wish = {"deviceId": device, "connectedRegistry": "plantone", "repositories": ["hello-world"]}
    await clinic.call("POST", "devices", wish)

    async def is_delivered() -> bool:
        return bool((await clinic.call("GET", f"devices/{device}"))["state"] == "Delivered")

    await clinic.until(is_delivered)
    said = json.dumps([await clinic.diagnosis(), await clinic.call("GET", "audit")])
    assert device in said
    vault = clinic.stack.vault
    passwords = [vault.get(name, None).value.get_secret_value() for name in vault.list_secrets()]
    assert passwords
    assert not [password for password in passwords if password in said]


@pytest.mark.slow
async def test_an_app_that_cannot_reach_its_storage_is_told_why(
    ward: Stack, tmp_path: Path
) -> None:
    access = ward.kernel.access
    before = access.assignments(PRINCIPAL_ID)
    access.assign(PRINCIPAL_ID, [a for a in before if not a.role.startswith("Storage Table")])
    try:
        async with clinic_on(ward, tmp_path) as clinic:
            finding = await clinic.found("ActionsMissing")
            assert finding["subject"] == "localstorage"
            await clinic.apply(finding)
            assert "ActionsMissing" not in await clinic.findings()
    finally:
        access.assign(PRINCIPAL_ID, before)


@pytest.mark.slow
async def test_a_function_that_a_setting_switches_off_is_found(ward: Stack, tmp_path: Path) -> None:
    setting = "AzureWebJobs__measure__Disabled"
    async with clinic_on(ward, tmp_path, **{setting: "true"}) as clinic:
        finding = await clinic.found("FunctionDisabled")
        assert finding["subject"] == setting
        words = finding["command"].split()
        assert words[:5] == ["az", "functionapp", "config", "appsettings", "delete"]
        assert words[words.index("--setting-names") + 1 :] == [setting]
    async with clinic_on(ward, tmp_path) as clinic:
        assert "FunctionDisabled" not in await clinic.findings()
