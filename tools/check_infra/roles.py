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
        text(value)
        for node in walk(permissions or definition.node)
        for name, value in properties(node).items()
        if name.lower().endswith("actions")
    }
    role = file.find("var", "role")
    if actions not in ({"role.Actions"}, {"role.DataActions"}) or role is None:
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
