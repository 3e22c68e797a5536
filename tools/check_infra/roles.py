"""Roles: every one that roles.json lists is assigned as it says, and no other is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tree_sitter import Node

from tools.check_infra.bicep import (
    BicepFile,
    Declaration,
    is_call,
    line_of,
    literal,
    properties,
    text,
    walk,
)
from tools.check_infra.findings import Finding

ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
DEFINITION = "Microsoft.Authorization/roleDefinitions"
_BUILT_IN = Path(__file__).parents[2] / "local_azure" / "roles" / "built_in.json"
# Modules that give the app a role are made for all of these, by a parameter that they have.
_EVERY = {"registryName": "registryIds", "hubName": "hubIds"}
# Who is meant, by the expressions that stand for them.
_PRINCIPALS = {
    "app": ("identity.outputs.principalId", "appPrincipalId"),
    "events": ("topic.identity.principalId",),
    "deployer": ("deployerPrincipalId",),
}
_HANDED_ON = {
    "appPrincipalId": "identity.outputs.principalId",
    "deployerPrincipalId": "principalId",
}


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A role that is given. `role` is its key in roles.json, or the expression as it stands."""

    file: str
    line: int
    role: str
    principal: str
    on: str


def check_roles(files: Mapping[str, BicepFile], folder: Path) -> Iterator[Finding]:
    """The roles that are assigned, against the list of those that are needed."""
    needed = json.loads((folder / "roles.json").read_text())
    given = [assignment for file in files.values() for assignment in _assignments(file, needed)]
    for key, role in needed.items():
        if not any(assignment.role == key for assignment in given):
            yield Finding("roles.json", 1, f"{role['name']} is assigned to nobody")
    for one in given:
        if one.role not in needed:
            yield Finding(one.file, one.line, f"{one.role} is no role of roles.json")
            continue
        role = needed[one.role]
        if one.principal not in _PRINCIPALS[role["to"]]:
            message = f"{role['name']} is for the {role['to']}, not for {one.principal}"
            yield Finding(one.file, one.line, message)
        if one.on != role["on"]:
            message = f"{role['name']} belongs on {role['on']}, not on {one.on}"
            yield Finding(one.file, one.line, message)
    yield from _handed_on(files)
    yield from _ids(needed)
    yield from _left_out(files)


def _ids(needed: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """Bicep assigns a built-in role by its id, the local Azure by its name: they are one role's."""
    known = {role["roleName"]: role["name"] for role in json.loads(_BUILT_IN.read_text())}
    for role in needed.values():
        if "id" in role and known.get(role["name"]) != role["id"]:
            message = f"{role['id']} is not known as the id of {role['name']}"
            yield Finding("roles.json", 1, message)


def _left_out(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Roles of the app and of Event Grid that some deployments would do without."""
    for file in files.values():
        for resource in file.of_kind("resource"):
            if resource.target in (ASSIGNMENT, DEFINITION) and _is_conditional(resource):
                principal = properties(resource.body["properties"]).get("principalId")
                if principal is None or text(principal) not in _PRINCIPALS["deployer"]:
                    message = f"{resource.name} is made under a condition only"
                    yield Finding(file.name, resource.line, message)
        for module in file.of_kind("module"):
            if module.params.keys() & {"appPrincipalId", "roleAssignments"}:
                every = next((_EVERY[p] for p in module.params if p in _EVERY), None)
                if _is_conditional(module):
                    message = f"{module.name} is made under a condition only"
                    yield Finding(file.name, module.line, message)
                if _round_of(module) != every:
                    message = f"{module.name} is not made for all of {every}"
                    yield Finding(file.name, module.line, message)


def _is_conditional(declaration: Declaration) -> bool:
    """Whether it is made for nobody, or for some of a loop, where an `if` says so."""
    node = declaration.node.named_children[-1]
    while node.type == "for_statement":
        node = node.named_children[-1]
    return node.type == "if_statement"


def _round_of(module: Declaration) -> str | None:
    """What a module is made for each of."""
    loop = module.node.named_children[-1]
    return text(loop.named_children[1]) if loop.type == "for_statement" else None


def _assignments(file: BicepFile, needed: Mapping[str, Mapping[str, str]]) -> Iterator[Assignment]:
    for resource in file.of_kind("resource"):
        if resource.target == ASSIGNMENT:
            properties_ = properties(resource.body["properties"])
            yield Assignment(
                file=file.name,
                line=resource.line,
                role=_key(file, properties_["roleDefinitionId"], needed),
                principal=text(properties_["principalId"]),
                on=text(resource.body["scope"]) if "scope" in resource.body else "everything",
            )
    for module in file.of_kind("module"):
        for node in walk(module.node):
            pairs = properties(node)
            if "roleDefinitionIdOrName" in pairs:
                yield Assignment(
                    file=file.name,
                    line=line_of(node),
                    role=_key(file, pairs["roleDefinitionIdOrName"], needed),
                    principal=text(pairs["principalId"]),
                    on=module.name,
                )


def _key(file: BicepFile, node: Node, needed: Mapping[str, Mapping[str, str]]) -> str:
    """`roles.<key>.id`, or the key of a role that is defined here from its file."""
    if is_call(node, "subscriptionResourceId"):
        node = node.named_children[-1].named_children[-1]
    expression = text(node)
    if expression.startswith("roles.") and expression.endswith(".id"):
        return expression.removeprefix("roles.").removesuffix(".id")
    definition = file.find("resource", expression.removesuffix(".name"))
    if definition is not None and definition.target == DEFINITION:
        source = _source(file, definition)
        for key, role in needed.items():
            if source is not None and role.get("file") == source:
                return key
    return expression


def _source(file: BicepFile, definition: Declaration) -> str | None:
    """The file whose actions a role definition has, all of them and nothing else."""
    permissions = properties(definition.body["properties"]).get("permissions")
    actions = {
        (name, text(value))
        for node in walk(permissions or definition.node)
        for name, value in properties(node).items()
        if name.lower().endswith("actions")
    }
    role = file.find("var", "role")
    right = ({("actions", "role.Actions")}, {("dataActions", "role.DataActions")})
    if actions not in right or role is None:
        return None
    if role.value is None or not is_call(role.value, "loadJsonContent"):
        return None
    path = literal(role.value.named_children[-1].named_children[0]) or ""
    return path.rpartition("/")[2]


def _handed_on(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """A module that gives a role to a parameter gets the principal that the parameter is called."""
    for file in files.values():
        for module in file.of_kind("module"):
            given = module.params
            for name, expression in _HANDED_ON.items():
                if name in given and text(given[name]) != expression:
                    message = f"{name} of {module.name} is not {expression}"
                    yield Finding(file.name, line_of(given[name]), message)
