"""Checks of container registries, and of the connected registries of the policy."""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain

from firstpull.config.policy import address_of
from firstpull.fleet.doctor import commands
from firstpull.fleet.doctor.app import change_policy
from firstpull.fleet.doctor.findings import Finding, FindingName
from firstpull.fleet.doctor.needs import Kind
from firstpull.fleet.doctor.readings import ConnectedReading, Readings, known
from firstpull.model.errors import FirstpullError
from firstpull.model.ledger import Ledger, Standing
from firstpull.model.scope_actions import covers

_LATE = timedelta(days=1)
_EXPIRES_SOON = timedelta(days=30)
_CONTENT_READ = "/content/read"


def check_registries(read: Readings) -> Iterator[Finding]:
    """Whether each container registry is there, of the right tier, with its data endpoint."""
    for one in read.of_kind(Kind.REGISTRY):
        if isinstance(one.resource, FirstpullError):
            continue
        if one.resource is None:
            yield Finding(
                name=FindingName.REGISTRY_NOT_FOUND,
                subject=one.id.name,
                what=f"There is no {one.id}.",
                command=change_policy(read),
            )
            continue
        update = ("acr", "update", *commands.on(one.id))
        if (tier := one.resource.tier) and tier.lower() != "premium":
            yield Finding(
                name=FindingName.REGISTRY_TIER,
                subject=one.id.name,
                what=f"Its tier is {tier}.",
                command=commands.az(*update, "--sku", "Premium"),
            )
        if one.resource.properties.get("dataEndpointEnabled") is False:
            yield Finding(
                name=FindingName.DATA_ENDPOINT_OFF,
                subject=one.id.name,
                what="Its dedicated data endpoint is off.",
                command=commands.az(*update, "--data-endpoint-enabled", "true"),
            )


def check_connected_registries(read: Readings) -> Iterator[Finding]:
    """Whether each connected registry is there, connected, reachable, and syncs what it should."""
    for one in read.connected:
        if one.connected is None:
            yield _missing(one)
            continue
        yield from chain(
            _connection(one, at=read.at),
            _repositories(one),
            _endpoint(read, one),
            _certificate(read, one),
            _lost_clients(one),
        )


def check_room(read: Readings) -> Iterator[Finding]:
    """Whether each site takes another device."""
    free: dict[str, int] = defaultdict(int)
    for one in read.connected:
        free[one.ref.name.casefold()] += _free(one)
    known_names = {one.ref.name.casefold() for one in read.connected}
    groups = {
        site.name: {n.casefold() for n in site.connected_registries} for site in read.policy.sites
    }
    alone = known_names - {name for names in groups.values() for name in names}
    groups |= {name: {name} for name in alone}
    for name, members in groups.items():
        if members <= known_names and not any(free[member] for member in members):
            yield Finding(
                name=FindingName.SITE_FULL,
                subject=name,
                what="No connected registry of it has room. Revoke devices that are gone, or add a "
                "connected registry to the site in the policy.",
                command=commands.firstpull("sites"),
            )


def _missing(one: ConnectedReading) -> Finding:
    repositories = [r for r in one.entry.repositories or () if not r.endswith("*")]
    return Finding(
        name=FindingName.CONNECTED_REGISTRY_NOT_FOUND,
        subject=str(one.ref),
        what="The policy lists it, and its container registry does not have it. After the command "
        "it has to be deployed at the site.",
        command=commands.az(
            *("acr", "connected-registry", "create", *commands.on_registry(one.ref)),
            *("--mode", "ReadOnly", "--repository", *(repositories or ("REPOSITORY",))),
        ),
    )


def _connection(one: ConnectedReading, *, at: datetime) -> Iterator[Finding]:
    if one.connected is None:
        return
    state, last = one.connected.connection_state, one.connected.last_sync_at
    since = f"its last sync was {last:%Y-%m-%d %H:%M} UTC" if last else "it has never synced"
    if state not in (None, "Online", "Syncing"):
        yield Finding(
            name=FindingName.CONNECTED_REGISTRY_OFFLINE,
            subject=str(one.ref),
            what=f"It is {state}; {since}. Repair power, network or the deployment at the site; "
            "firstpull has no way in.",
            command=None,
        )
    elif last is None or at - last > _LATE:
        yield Finding(
            name=FindingName.SYNC_OVERDUE,
            subject=str(one.ref),
            what=f"It is connected, and {since}.",
            command=commands.az(
                *("acr", "connected-registry", "update", *commands.on_registry(one.ref)),
                *("--sync-schedule", "* * * * *"),
            ),
        )


def _repositories(one: ConnectedReading) -> Iterator[Finding]:
    synced = known(one.synced, None)
    if synced is None:
        return
    have = [
        action.removeprefix("repositories/").removesuffix(_CONTENT_READ)
        for action in synced
        if action.endswith(_CONTENT_READ)
    ]
    lacking = [
        repository
        for repository in one.entry.repositories or ()
        if not repository.endswith("*") and not any(covers(h, repository) for h in have)
    ]
    if lacking:
        yield Finding(
            name=FindingName.REPOSITORIES_NOT_SYNCED,
            subject=str(one.ref),
            what=f"It does not sync {', '.join(lacking)}.",
            command=commands.az(
                *("acr", "connected-registry", "repo", *commands.on_registry(one.ref)),
                *("--add", *lacking),
            ),
        )


def _endpoint(read: Readings, one: ConnectedReading) -> Iterator[Finding]:
    if address_of(one.entry, one.connected, registry=one.ref.registry) is None:
        yield Finding(
            name=FindingName.NO_ENDPOINT,
            subject=str(one.ref),
            what="Neither Azure nor the policy has its address. Set `endpoint` in the policy.",
            command=change_policy(read),
        )


def _certificate(read: Readings, one: ConnectedReading) -> Iterator[Finding]:
    """The certificate authority in the policy. The site itself cannot be reached from the app."""
    if one.entry.ca is None:
        return
    wrong: str | None = None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=one.entry.ca)
        ends = [
            datetime.fromtimestamp(ssl.cert_time_to_seconds(str(each["notAfter"])), UTC)
            for each in context.get_ca_certs()
        ]
    except (ssl.SSLError, ValueError):
        wrong = "The policy's `ca` cannot be read."
    else:
        if ends and min(ends) - read.at < _EXPIRES_SOON:
            wrong = f"The policy's `ca` ends on {min(ends):%Y-%m-%d}. Put the next one beside it."
    if wrong is not None:
        yield Finding(
            name=FindingName.CA_NOT_VALID,
            subject=str(one.ref),
            what=wrong,
            command=change_policy(read),
        )


def _lost_clients(one: ConnectedReading) -> Iterator[Finding]:
    ledger = known(one.ledger, Ledger())
    connected = one.connected
    if connected is None:
        return
    lost = [
        entry.token_id.name
        for entry in ledger.of(Standing.MEMBER)
        if not connected.lists(entry.token_id)
    ]
    if lost:
        yield Finding(
            name=FindingName.CLIENTS_LOST,
            subject=str(one.ref),
            what=f"Its list of clients lacks {len(lost)} of firstpull's, such as {lost[0]}.",
            command=commands.firstpull("sweep", "run"),
        )


def _free(one: ConnectedReading) -> int:
    if one.connected is None or isinstance(one.ledger, FirstpullError):
        return 1  # reported by itself: whether it has room is not known
    return max(one.entry.capacity - one.ledger.used(one.connected.client_token_ids), 0)
