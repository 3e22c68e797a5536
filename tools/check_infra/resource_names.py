"""Names of resources: within Azure's limits, for the longest inputs that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tree_sitter import Node

from tools.check_infra.bicep import BicepFile, line_of, properties
from tools.check_infra.findings import Finding
from tools.check_infra.modules import REGISTRY
from tools.check_infra.roles import ASSIGNMENT, DEFINITION
from tools.check_infra.storage_contents import storage_contents
from tools.check_infra.values import NotKnown, Scope

# resource-name-rules. A kind of resource that is made for the first time is added there.
_LIMITS: Mapping[str, str] = json.loads(Path(__file__).with_name("name_limits.json").read_text())
_DEPLOYMENT = "Microsoft.Resources/deployments"
_ID = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/{group}/providers/{type}"
_LONGEST: Mapping[str, Any] = {
    # azd takes letters, digits, dashes, underscores, dots and parentheses for an environment.
    "environmentName": "Stage-1_of(a.b)" + "x" * 49,
    "iotHubIds": [
        _ID.format(group="g" * 90, type="Microsoft.Devices/IotHubs/") + "Hub-" + "h" * 46
    ],
    "containerRegistryIds": [
        _ID.format(group="g" * 90, type="Microsoft.ContainerRegistry/registries/") + "R" * 50
    ],
    "location": "southafricanorth",
    "connectedRegistries": [{"name": "p" * 40, "containerRegistry": "R" * 50}],
    "sites": [{"name": "plant", "connectedRegistries": ["p" * 40]}],
    "createDemo": True,
    "privateNetworking": True,
}


def main_scope(files: Mapping[str, BicepFile], folder: Path) -> Scope:
    """main.bicep with the longest inputs."""
    return Scope(file=files["main.bicep"], folder=folder, given=_LONGEST, local={})


def check_resource_names(files: Mapping[str, BicepFile], folder: Path) -> Iterator[Finding]:
    """The name of everything that is made."""
    main = main_scope(files, folder)
    scopes = [main]
    for module in main.file.of_kind("module"):
        callee = main.callee(module, files)
        if callee is not None:
            scopes.append(callee)
    for scope in scopes:
        yield from _names_in(scope)
        yield from _names_of_roles(scope)
        yield from _names_of_subnets(scope)
    for kind, names in storage_contents(main).items():
        for name in names:
            if not re.fullmatch(_LIMITS[kind], name):
                yield Finding("main.bicep", 1, f"{name!r} is no name for one of the {kind}")


def _names_in(scope: Scope) -> Iterator[Finding]:
    for made in scope.file.of_kind("resource", "module"):
        if made.is_existing or made.target in (ASSIGNMENT, DEFINITION):
            continue
        checks = [(made.target, made.body.get("name"))]
        if made.kind == "module":
            checks = [(_DEPLOYMENT, made.body.get("name"))]
            if made.target.startswith(REGISTRY):
                module = made.target.removeprefix(REGISTRY).partition(":")[0]
                checks.append((module, made.params.get("name")))
        for kind, node in checks:
            problem = _problem(scope.inside(made), kind, node)
            if problem is not None:
                yield Finding(scope.file.name, made.line, f"{made.name}: {problem}")


def _names_of_roles(scope: Scope) -> Iterator[Finding]:
    """A role definition is called by its `roleName`; its name is an id."""
    for made in scope.file.of_kind("resource"):
        if made.target == DEFINITION:
            name = properties(made.body["properties"]).get("roleName")
            problem = _problem(scope.inside(made), DEFINITION, name)
            if problem is not None:
                yield Finding(scope.file.name, made.line, f"{made.name}: {problem}")


def _names_of_subnets(scope: Scope) -> Iterator[Finding]:
    for made in scope.file.of_kind("module"):
        subnets = made.params.get("subnets")
        for subnet in subnets.named_children if subnets is not None else ():
            problem = _problem(scope, "subnets", properties(subnet).get("name"))
            if problem is not None:
                yield Finding(scope.file.name, line_of(subnet), f"a subnet: {problem}")


def _problem(scope: Scope, kind: str, node: Node | None) -> str | None:
    if node is None:
        return "has no name"
    if kind not in _LIMITS:
        return f"the limits of names of {kind} are not listed"
    try:
        name = scope.value_of(node)
    except NotKnown as reason:
        return f"its name cannot be computed, for {reason}"
    return None if re.fullmatch(_LIMITS[kind], name) else f"{name!r} is no name for {kind}"
