"""Checks of roles and networks: may firstpull do its work on each resource?"""

from __future__ import annotations

from collections.abc import Iterator

from firstpull.fleet.doctor import commands
from firstpull.fleet.doctor.findings import Command, Finding, FindingName, NotChecked
from firstpull.fleet.doctor.needs import DOCTOR, NEEDED, Kind, Role
from firstpull.fleet.doctor.readings import Readings, ResourceReading, known
from firstpull.model.errors import FirstpullError, Transient
from firstpull.model.reasons import Reason

_RESOURCES = "FIRSTPULL_RESOURCE_IDS"


def check_actions(read: Readings) -> Iterator[Finding]:
    """Every action of the roles that the app's identity needs, by what it is permitted."""
    for one in read.resources:
        if one.kind is Kind.STORAGE and not read.app.uses_identity_for_storage:
            continue
        if isinstance(one.permissions, FirstpullError) or _is_absent(one):
            continue
        for role in NEEDED[one.kind]:
            if missing := role.missing(one.permissions):
                yield Finding(
                    name=FindingName.ACTIONS_MISSING,
                    subject=one.id.name,
                    what=f"The app's identity lacks {', '.join(missing)}.",
                    command=_grant(role, read, one, is_whole=len(missing) == role.count),
                )


def check_access(read: Readings) -> Iterator[Finding]:
    """What each service answers to the reads that firstpull's work consists of."""
    for one in read.resources:
        error = next((e for e in one.tried if e.reason is Reason.ACCESS_DENIED), None)
        if error is None or _lacks_actions(read, one):
            continue
        resource = known(one.resource, None)
        if resource is not None and resource.properties.get("enableRbacAuthorization") is False:
            continue  # reported by itself
        if resource is not None and resource.is_closed:
            yield Finding(
                name=FindingName.FIREWALL_CLOSES,
                subject=one.id.name,
                what=f"{error.message} Its network rules let selected networks in. The command "
                "opens it to all; a rule for the app's subnet is narrower.",
                command=_open(one),
            )
        else:
            yield Finding(
                name=FindingName.ACCESS_REFUSED,
                subject=one.id.name,
                what=error.message,
                command=commands.az(
                    *("role", "assignment", "list", "--include-inherited", "--assignee"),
                    *(read.principal or commands.PRINCIPAL, "--scope", str(one.id)),
                ),
            )
    for what, errors in read.unnamed.items():
        for error in errors[:1]:
            if error.reason is Reason.ACCESS_DENIED:
                yield Finding(
                    name=FindingName.ACCESS_REFUSED,
                    subject=what,
                    what=f"{error.message} Its ARM id is not in {_RESOURCES}, so the roles there "
                    "are not known.",
                    command=commands.az(
                        *("role", "assignment", "list", "--all", "--assignee"),
                        read.principal or commands.PRINCIPAL,
                    ),
                )


def not_checked(read: Readings) -> Iterator[NotChecked]:
    """What could not be looked at, and why."""
    for one in read.resources:
        for error in {e.message: e for e in one.errors}.values():
            yield NotChecked(
                subject=one.id.name,
                why=error.message,
                command=_let_look(read, one) if error.reason is Reason.ACCESS_DENIED else None,
            )
        for message in {e.message for e in one.tried if isinstance(e, Transient)}:
            yield NotChecked(subject=one.id.name, why=message)
    for what in read.unnamed:
        yield NotChecked(
            subject=what,
            why=f"Its ARM id is not in {_RESOURCES}: roles, locks, policies and network rules.",
            command=commands.az(
                *("functionapp", "config", "appsettings", "set"),
                *commands.on_app(read.app.name, read.app.group),
                *("--settings", f"{_RESOURCES}=ARM_ID,ARM_ID"),
            ),
        )


def _grant(role: Role, read: Readings, one: ResourceReading, *, is_whole: bool) -> Command:
    if role.file is not None and not is_whole:
        return commands.update_role(
            role.name, actions=role.actions, data_actions=role.data_actions, resource=one.id
        )
    return commands.assign_role(role.name, principal=read.principal, scope=one.id)


def _let_look(read: Readings, one: ResourceReading) -> Command:
    return commands.assign_role(DOCTOR.name, principal=read.principal, scope=one.id)


def _lacks_actions(read: Readings, one: ResourceReading) -> bool:
    return any(f.subject == one.id.name for f in check_actions(read))


def _is_absent(one: ResourceReading) -> bool:
    return one.resource is None


def _open(one: ResourceReading) -> Command:
    match one.kind:
        case Kind.VAULT:
            command: Command = ("keyvault", "update")
        case Kind.STORAGE:
            command = ("storage", "account", "update")
        case _:
            changes = ("--set", "properties.publicNetworkAccess=Enabled")
            return commands.az("iot", "hub", "update", *commands.on(one.id), *changes)
    to_all = ("--public-network-access", "Enabled", "--default-action", "Allow")
    return commands.az(*command, *commands.on(one.id), *to_all)
