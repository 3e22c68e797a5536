"""The rules of the doctor, and what it does where services do not answer."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firstpull.config.policy import Policy
from firstpull.fleet.doctor import AppState, FindingName
from firstpull.fleet.doctor.diagnosis import diagnose
from firstpull.fleet.doctor.needs import DOCTOR, NEEDED, Kind
from firstpull.fleet.doctor.reader import DoctorReader
from firstpull.fleet.doctor.readings import ConnectedReading, Readings, ResourceReading
from firstpull.model.azure_resources import ConnectedRegistry, TokenId
from firstpull.model.errors import Blocked, Transient, records_not_found
from firstpull.model.governance import (
    AzureResource,
    EventSubscription,
    ManagementLock,
    Permission,
    PolicyAssignment,
    ResourceId,
)
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import SweepReport
from local_azure.kernel.certificates import CertificateAuthority
from tests.firstpull.builders import DEVICE
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy
from tests.world.resource_manager import EVERYTHING, FakeResourceManager
from tests.world.storage import NoPoison

ROOT = Path(__file__).parents[3]
AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
_GROUP = "/subscriptions/0000/resourceGroups/Site-Group/providers"
IDS = {
    Kind.REGISTRY: ResourceId(str(REGISTRY)),
    Kind.VAULT: ResourceId(f"{_GROUP}/Microsoft.KeyVault/vaults/vault-1"),
    Kind.HUB: ResourceId(f"{_GROUP}/Microsoft.Devices/IotHubs/hub-1"),
    Kind.STORAGE: ResourceId(f"{_GROUP}/Microsoft.Storage/storageAccounts/account1"),
}
DENIED = Blocked(Reason.ACCESS_DENIED, "It answered 403 Forbidden.", remedy="")
SILENT = Transient(Reason.SERVICE_UNAVAILABLE, "It did not answer.")
LONG_AGO = "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"


def resource(kind: Kind) -> ResourceReading:
    return ResourceReading(
        id=IDS[kind],
        kind=kind,
        tried=(),
        resource=AzureResource(
            id=IDS[kind],
            tier={Kind.REGISTRY: "Premium", Kind.HUB: "Standard"}.get(kind),
            properties={"enablePurgeProtection": True, "dataEndpointEnabled": True},
        ),
        permissions=(EVERYTHING,),
        events=(EventSubscription(name="all", event_types=None),),
    )


def connected(name: str) -> ConnectedReading:
    policy = make_policy()
    entry = next(e for e in policy.connected_registries if e.name == name)
    return ConnectedReading(
        ref=policy.ref_of(entry),
        entry=entry,
        connected=ConnectedRegistry(
            name=name,
            client_token_ids=(),
            sync_token_id=None,
            login_server="10.0.0.4:443",
            last_sync_at=AT - timedelta(minutes=1),
            connection_state="Online",
        ),
        ledger=Ledger(),
        synced=None,
    )


def well(**changes: object) -> Readings:
    """What is read on a good day."""
    readings = Readings(
        at=AT,
        app=AppState(
            name="func-1",
            group="group-1",
            uses_identity_for_storage=True,
            password_validity=timedelta(days=90),
            resource_ids=tuple(IDS.values()),
            policy_setting="FIRSTPULL_POLICY_BLOB",
            policy_place="policy/policy.json",
        ),
        policy=make_policy(),
        policy_refusal=None,
        clock_offset=timedelta(),
        principal="principal-1",
        resources=tuple(map(resource, Kind)),
        unnamed={},
        listings={},
        connected=(connected("plantone"), connected("planttwo")),
        records=None,
        kept={"device-work": (0, True)},
        sweep=SweepReport(id="1", started_at=AT, finished_at=AT, devices=0, complete_at=AT),
    )
    return replace(readings, **changes)  # type: ignore[arg-type]


def with_resource(kind: Kind, **changes: object) -> Readings:
    changed = replace(resource(kind), **changes)  # type: ignore[arg-type]
    return well(resources=(*(resource(k) for k in Kind if k is not kind), changed))


def with_properties(kind: Kind, *, tier: str | None = None, **changes: object) -> Readings:
    before = resource(kind).resource
    assert isinstance(before, AzureResource)
    properties = {**before.properties, **changes}
    after = replace(before, tier=tier or before.tier, properties=properties)
    return with_resource(kind, resource=after)


def with_connected(**changes: object) -> Readings:
    """With `plantone` changed: fields of the reading, or else of the connected registry."""
    before = connected("plantone")
    assert before.connected is not None
    fields = {k: v for k, v in changes.items() if hasattr(before, k)}
    rest = {k: v for k, v in changes.items() if not hasattr(before, k)}
    if rest:
        fields["connected"] = replace(before.connected, **rest)  # type: ignore[arg-type]
    changed = replace(before, **fields)  # type: ignore[arg-type]
    return well(connected=(changed, connected("planttwo")))


def with_app(**changes: object) -> Readings:
    return well(app=replace(well().app, **changes))  # type: ignore[arg-type]


def with_entry(**changes: object) -> Readings:
    entry = connected("plantone").entry.model_copy(update=changes)
    return with_connected(entry=entry)


def lost_client() -> Readings:
    token = TokenId(f"{REGISTRY}/tokens/fp-1")
    entry = Entry(token_id=token, standing=Standing.MEMBER, since=AT)
    return with_connected(ledger=Ledger({token: entry}))


def full_site() -> Readings:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "capacity": 1}, {"name": "planttwo"}],
        sites=[{"name": "plant", "connectedRegistries": ["plantone"]}],
    )
    foreign = (TokenId(f"{REGISTRY}/tokens/somebody"),)
    one = connected("plantone")
    assert one.connected is not None
    full = replace(
        one,
        entry=policy.connected_registries[0],
        connected=replace(one.connected, client_token_ids=foreign),
    )
    return well(policy=policy, connected=(full, connected("planttwo")))


@dataclass(frozen=True)
class Case:
    """What is read, what is found, and how its command begins and what it has in it."""

    name: FindingName
    read: Readings
    command: str | None
    has: tuple[str, ...] = ()


F = FindingName
CASES = [
    Case(F.ACTIONS_MISSING, with_resource(Kind.HUB, permissions=()), "az role assignment create"),
    Case(
        F.ACTIONS_MISSING,
        with_resource(
            Kind.REGISTRY,
            permissions=(Permission(actions=("*",), not_actions=("*/tokens/write",)),),
        ),
        "az role definition update",
    ),
    Case(
        F.ACTIONS_MISSING,
        with_resource(
            Kind.STORAGE,
            permissions=(
                Permission(
                    actions=("*",),
                    data_actions=("*",),
                    not_data_actions=("*/messages/process/action",),
                ),
            ),
        ),
        "az role assignment create",
        ("Storage Queue Data Contributor", "principal-1"),
    ),
    Case(
        F.ACCESS_REFUSED,
        with_resource(Kind.VAULT, tried=(DENIED,)),
        "az role assignment list",
        (str(IDS[Kind.VAULT]),),
    ),
    Case(F.ACCESS_REFUSED, well(unnamed={"the vault": (DENIED,)}), "az role assignment list"),
    Case(
        F.FIREWALL_CLOSES,
        well(
            resources=(
                replace(
                    resource(Kind.STORAGE),
                    tried=(DENIED,),
                    resource=AzureResource(
                        id=IDS[Kind.STORAGE],
                        properties={"networkAcls": {"defaultAction": "Deny"}},
                    ),
                ),
            )
        ),
        "az storage account update",
        ("account1", "Allow"),
    ),
    Case(
        F.REGISTRY_NOT_FOUND,
        with_resource(Kind.REGISTRY, resource=None),
        "az storage blob upload",
        ("policy.json",),
    ),
    Case(F.REGISTRY_TIER, with_properties(Kind.REGISTRY, tier="Basic"), "az acr update"),
    Case(
        F.DATA_ENDPOINT_OFF,
        with_properties(Kind.REGISTRY, dataEndpointEnabled=False),
        "az acr update",
        ("--data-endpoint-enabled",),
    ),
    Case(
        F.CONNECTED_REGISTRY_NOT_FOUND,
        with_connected(connected=None),
        "az acr connected-registry create",
        ("plantone",),
    ),
    Case(F.CONNECTED_REGISTRY_OFFLINE, with_connected(connection_state="Offline"), None),
    Case(
        F.SYNC_OVERDUE,
        with_connected(last_sync_at=AT - timedelta(days=2)),
        "az acr connected-registry update",
        ("* * * * *",),
    ),
    Case(F.SYNC_OVERDUE, with_connected(last_sync_at=None), "az acr connected-registry update"),
    Case(F.SITE_FULL, full_site(), "firstpull sites"),
    Case(F.CLIENTS_LOST, lost_client(), "firstpull sweep run"),
    Case(
        F.REPOSITORIES_NOT_SYNCED,
        with_connected(
            entry=connected("plantone").entry.model_copy(
                update={"repositories": ("line/app", "hello-world", "samples/*")}
            ),
            synced=frozenset({"repositories/line/*/content/read"}),
        ),
        "az acr connected-registry repo",
        ("hello-world",),
    ),
    Case(F.NO_ENDPOINT, with_connected(login_server=None), "az storage blob upload"),
    Case(F.CA_NOT_VALID, with_entry(ca=LONG_AGO), "az storage blob upload"),
    Case(
        F.LOCK_FORBIDS_CHANGES,
        with_resource(
            Kind.REGISTRY, locks=(ManagementLock(id="/some/locks/keep", level="ReadOnly"),)
        ),
        "az lock delete",
        ("/some/locks/keep",),
    ),
    Case(
        F.POLICY_FORBIDS_TOKENS,
        with_resource(
            Kind.REGISTRY,
            policies=(
                PolicyAssignment(id="/a/none", definition="a9b426fe-8856-4945-8600-18c5dd1cca2a"),
            ),
        ),
        "az policy exemption create",
        ("/a/none", str(REGISTRY)),
    ),
    Case(
        F.POLICY_LIMITS_VALIDITY,
        with_resource(
            Kind.VAULT,
            policies=(
                PolicyAssignment(
                    id="/a/short",
                    definition="342e8053-e12e-4c44-be01-c3c2f318400f",
                    parameters={"effect": "deny", "maximumValidityInDays": 89},
                ),
            ),
        ),
        "az policy exemption create",
    ),
    Case(
        F.VAULT_USES_ACCESS_POLICIES,
        with_properties(Kind.VAULT, enableRbacAuthorization=False),
        "az keyvault update",
    ),
    Case(
        F.VAULT_WITHOUT_PURGE_PROTECTION,
        with_properties(Kind.VAULT, enablePurgeProtection=None),
        "az keyvault update",
    ),
    Case(F.HUB_TIER, with_properties(Kind.HUB, tier="Basic"), "az iot hub update", ("S1",)),
    Case(
        F.EVENTS_NOT_DELIVERED,
        with_resource(
            Kind.HUB,
            events=(
                EventSubscription(
                    name="half", event_types=frozenset({"Microsoft.Devices.DeviceCreated"})
                ),
            ),
        ),
        "az eventgrid event-subscription create",
        (str(IDS[Kind.HUB]),),
    ),
    Case(
        F.CLOCK_OFF,
        well(clock_offset=timedelta(seconds=-90)),
        "az functionapp restart",
        ("func-1", "group-1"),
    ),
    Case(
        F.POLICY_NOT_VALID,
        well(policy_refusal=Blocked(Reason.POLICY_NOT_VALID, "hubs: too short", remedy="")),
        "az storage blob upload",
    ),
    Case(
        F.POLICY_NOT_VALID,
        replace(
            with_app(policy_setting="FIRSTPULL_POLICY_FILE", policy_place="/etc/firstpull.json"),
            policy_refusal=Blocked(Reason.POLICY_NOT_VALID, "no JSON", remedy=""),
        ),
        "cp policy.json /etc/firstpull.json",
    ),
    Case(
        F.SECRET_REFERENCE_UNRESOLVED,
        with_app(unresolved=("FIRSTPULL_WEBHOOK_KEYS",)),
        "az functionapp restart",
    ),
    Case(
        F.FUNCTION_DISABLED,
        with_app(disabled=("AzureWebJobs.sweep.Disabled",)),
        "az functionapp config appsettings delete",
        ("AzureWebJobs.sweep.Disabled",),
    ),
    Case(
        F.RECORDS_NOT_FOUND,
        well(records=records_not_found("devices")),
        "az storage table create",
        ("account1",),
    ),
    Case(F.DEVICES_OVERDUE, well(overdue=(DEVICE,), oldest_due=AT), "az functionapp restart"),
    Case(
        F.MESSAGES_KEPT,
        well(kept={"device-work": (3, True)}),
        "firstpull poison discard",
        ("--queue",),
    ),
    Case(F.MESSAGES_KEPT, well(kept={"device-work": (0, False)}), "firstpull poison discard"),
    Case(F.SWEEP_OVERDUE, well(sweep=None), "firstpull sweep run"),
    Case(F.SWEEP_OVERDUE, well(at=AT + timedelta(hours=4), connected=()), "firstpull sweep run"),
]


def test_on_a_good_day_nothing_is_found_and_only_the_sites_are_not_tried() -> None:
    diagnosis = diagnose(well())
    assert diagnosis.findings == ()
    assert [each.subject for each in diagnosis.not_checked] == ["sites"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_rule_finds_one_thing_and_names_its_command(case: Case) -> None:
    (finding,) = diagnose(case.read).findings
    assert finding.name is case.name
    assert finding.what
    if case.command is None:
        assert finding.command is None
        return
    assert finding.command is not None
    assert shlex.join(finding.command).startswith(case.command)
    assert set(case.has) <= set(finding.command)


def test_every_finding_has_a_case() -> None:
    assert {case.name for case in CASES} == set(FindingName)


def test_a_certificate_authority_that_ends_soon_is_told_of() -> None:
    authority = CertificateAuthority(addresses=("127.0.0.1",))
    read = with_entry(ca=authority.ca_pem)
    now = replace(read, at=datetime.now(UTC), sweep=SILENT)
    assert F.CA_NOT_VALID not in {f.name for f in diagnose(now).findings}
    later = replace(now, at=now.at + timedelta(days=365 * 30))
    assert F.CA_NOT_VALID in {f.name for f in diagnose(later).findings}


@pytest.mark.parametrize(
    "policy",
    [
        PolicyAssignment(id="/a", definition="ff05e24e-195c-447e-b322-5e90c9f9f366"),
        PolicyAssignment(
            id="/a",
            definition="ff05e24e-195c-447e-b322-5e90c9f9f366",
            parameters={"effect": "Deny"},
            is_enforced=False,
        ),
        PolicyAssignment(
            id="/a",
            definition="a9b426fe-8856-4945-8600-18c5dd1cca2a",
            parameters={"effect": "Disabled"},
        ),
        PolicyAssignment(id="/a", definition="something-else", parameters={"effect": "Deny"}),
    ],
)
def test_a_policy_that_only_audits_is_no_finding(policy: PolicyAssignment) -> None:
    assert diagnose(with_resource(Kind.REGISTRY, policies=(policy,))).findings == ()


def test_errors_come_before_warnings() -> None:
    read = well(sweep=None, clock_offset=timedelta(minutes=1))
    assert [f.name for f in diagnose(read).findings] == [F.CLOCK_OFF, F.SWEEP_OVERDUE]


def test_what_the_identity_may_not_read_is_named_with_the_role_that_helps() -> None:
    read = with_resource(Kind.VAULT, locks=DENIED, policies=SILENT)
    denied, silent, _ = diagnose(read).not_checked
    assert denied.command is not None
    assert {DOCTOR.name, str(IDS[Kind.VAULT])} <= set(denied.command)
    assert silent.command is None


def test_resources_whose_id_the_settings_lack_are_not_checked() -> None:
    (one, _) = diagnose(well(unnamed={"the vault": ()})).not_checked
    assert one.subject == "the vault"
    assert "FIRSTPULL_RESOURCE_IDS" in one.why


@pytest.mark.parametrize(
    ("file", "roles"),
    [
        ("role.json", NEEDED[Kind.REGISTRY]),
        ("vault-role.json", NEEDED[Kind.VAULT]),
        ("iot-hub-role.json", NEEDED[Kind.HUB]),
        ("doctor-role.json", (DOCTOR,)),
    ],
)
def test_the_needed_actions_are_those_of_the_roles_in_infra(
    file: str, roles: tuple[object, ...]
) -> None:
    (role,) = roles
    given = json.loads((ROOT / "infra" / file).read_text())
    assert role == replace(
        NEEDED[Kind.REGISTRY][0],
        name=given["Name"],
        file=f"infra/{file}",
        actions=frozenset(given["Actions"]),
        data_actions=frozenset(given["DataActions"]),
    )


def test_the_needed_actions_on_storage_are_those_of_the_security_page() -> None:
    page = (ROOT / "docs/security.md").read_text()
    rows = re.findall(
        r"^\| `(Microsoft\.Storage[^`]+)` \| (data|management) \|", page, re.MULTILINE
    )
    roles = NEEDED[Kind.STORAGE]
    assert {n for n, kind in rows if kind == "data"} == {a for r in roles for a in r.data_actions}
    assert {n for n, kind in rows if kind != "data"} == {a for r in roles for a in r.actions}


def reader_on(harness: Harness, manager: FakeResourceManager, policy: Policy) -> DoctorReader:
    ports = harness.processes[0].application.ports
    return DoctorReader(
        app=well().app,
        policy=policy,
        policy_refusal=lambda: None,
        registries=ports.registries,
        secrets=ports.secrets,
        hubs=ports.hubs,
        records=ports.records,
        ledgers=ports.ledgers,
        poison=NoPoison(),
        sweeps=ports.sweeps,
        manager=manager,
        clock=ports.clock,
        clock_offset=ports.clock_offset,
        seconds=0.05,
    )


async def test_the_doctor_reads_everything_and_writes_nothing() -> None:
    harness = Harness()
    await harness.make_ready()
    before = harness.cloud.writes()
    read = await reader_on(harness, FakeResourceManager(), make_policy()).read()
    assert harness.cloud.writes() == before
    assert {one.kind for one in read.resources} == set(Kind)
    assert [one.ref for one in read.connected] == [PLANT_ONE, PLANT_TWO]
    assert all(one.tried == () for one in read.resources)


async def test_a_silent_azure_resource_manager_delays_the_answer_and_no_more() -> None:
    harness = Harness()
    manager = FakeResourceManager(is_silent=True)
    read = await reader_on(harness, manager, make_policy()).read()
    assert set(manager.asked) >= {"resource", "permissions", "locks", "policies"}
    assert len(diagnose(read).not_checked) > 1
    assert [f for f in diagnose(read).findings if f.name is F.ACTIONS_MISSING] == []
