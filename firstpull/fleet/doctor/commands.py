"""The commands that mend findings, as Microsoft's command line 2.91 and `firstpull` take them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from firstpull.fleet.doctor.findings import Command
from firstpull.model.azure_resources import ArmId, ConnectedRegistryRef

APP, GROUP, PRINCIPAL = "APP_NAME", "RESOURCE_GROUP", "PRINCIPAL_ID"
"""What a command has in place of a name that the app does not know."""


def firstpull(*words: str) -> Command:
    """A command of `firstpull`."""
    return ("firstpull", *words)


def az(*words: str) -> Command:
    """A command of `az`."""
    return ("az", *words)


def on(resource: ArmId) -> tuple[str, ...]:
    """The options that name a resource."""
    return ("--name", resource.name, *_where(resource))


def on_registry(ref: ConnectedRegistryRef) -> tuple[str, ...]:
    """The options that name a connected registry."""
    registry = ref.registry
    return ("--registry", registry.name, "--name", ref.name, *_where(registry))


def on_app(name: str | None, group: str | None) -> tuple[str, ...]:
    """The options that name the function app."""
    return ("--name", name or APP, "--resource-group", group or GROUP)


def assign_role(role: str, *, principal: str | None, scope: object) -> Command:
    """Give the app's identity a role."""
    return az(
        *("role", "assignment", "create", "--assignee-object-id", principal or PRINCIPAL),
        *("--assignee-principal-type", "ServicePrincipal", "--role", role, "--scope", f"{scope}"),
    )


def update_role(
    role: str, *, actions: Iterable[str], data_actions: Iterable[str], resource: ArmId
) -> Command:
    """Bring the definition of a custom role up to date, in the subscription of a resource."""
    definition = {
        "Name": role,
        "IsCustom": True,
        "Description": "What firstpull needs there.",
        "Actions": sorted(actions),
        "DataActions": sorted(data_actions),
        "AssignableScopes": ["/".join(f"{resource}".split("/")[:3])],
    }
    return az("role", "definition", "update", "--role-definition", json.dumps(definition))


def exempt(assignment: str, *, scope: ArmId) -> Command:
    """Exempt a resource from an Azure Policy. Each assignment has an exemption of its own."""
    digest = hashlib.sha256(assignment.lower().encode()).hexdigest()[:8]
    return az(
        *("policy", "exemption", "create", "--name", f"firstpull-{digest}"),
        *("--policy-assignment", assignment, "--exemption-category", "Waiver"),
        *("--scope", f"{scope}"),
    )


def subscribe_to_devices(hub: ArmId, *, storage: ArmId, event_types: Iterable[str]) -> Command:
    """Have the hub's events in the queue of the app."""
    return az(
        *("eventgrid", "event-subscription", "create", "--name", "firstpull-devices"),
        *("--source-resource-id", f"{hub}", "--endpoint-type", "storagequeue"),
        *("--endpoint", f"{storage}/queueServices/default/queues/device-events"),
        *("--included-event-types", *event_types),
    )


def _where(resource: ArmId) -> tuple[str, ...]:
    parts = f"{resource}".split("/")
    return ("--resource-group", parts[4], "--subscription", parts[2])
