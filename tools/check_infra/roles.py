"""Roles: the templates give those that roles.json lists, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tree_sitter import Node

from tools.check_infra.bicep import (
    BicepFile,
    Declaration,
    Finding,
    arguments,
    literal,
    properties,
    text,
    walk,
)

_BUILT_IN = Path(__file__).parents[2] / "local_azure" / "roles" / "built_in.json"
_PERMISSIONS = "[ { actions: role.Actions dataActions: role.DataActions } ]"
_PRINCIPALS = {
    "identity.outputs.principalId": "app",
    "appPrincipalId": "app",
    "topicPrincipalId": "events",
    "deployerPrincipalId": "deployer",
}
# What is passed to the modules that give roles to a parameter.
_PASSED = {
    "appPrincipalId": "identity.outputs.principalId",
    "deployerPrincipalId": "principalId",
    "topicPrincipalId": "topic.identity.principalId",
}
# How what gives a role begins, where it is not made exactly once.
_BEGINNINGS = {
    "registryAccess": "[ for id in registryIds: {",
    "hubAccess": "[ for id in hubIds: {",
    "doctorAccess": "[ for id in doctorGroups: {",
    "demo": "if (createDemo) {",
    "mayRegisterDevices": "if (!empty(deployerPrincipalId)) {",
}


class _Grant(NamedTuple):
    """`role` is its key in roles.json, or the expression as it is written."""

    role: str
    to: str
    on: str

    def __str__(self) -> str:
        return f"{self.role} for the {self.to} on {self.on}"


def check_roles(files: Mapping[str, BicepFile], folder: Path) -> Iterator[Finding]:
    """Compares the role assignments of the templates with roles.json."""
    listed: dict[str, dict[str, str]] = json.loads((folder / "roles.json").read_text())
    keys = {role["file"]: key for key, role in listed.items() if "file" in role}
    needed = {_Grant(key, role["to"], role["on"]) for key, role in listed.items()}
    given: set[_Grant] = set()
    for file in files.values():
        for made in file.declarations:
            grants = set(_grants(file, made, keys))
            given |= grants
            for grant in grants - needed:
                yield Finding(file.name, made.line, f"roles.json does not list {grant}")
            if grants or _PASSED.keys() & made.params.keys():
                yield from _passed(file, made)
    for grant in needed - given:
        yield Finding("roles.json", 1, f"no template gives {grant}")
    # The templates name a built-in role by its id, the local Azure by its name.
    ids = {role["roleName"]: role["name"] for role in json.loads(_BUILT_IN.read_text())}
    for role in listed.values():
        if "id" in role and ids.get(role["name"]) != role["id"]:
            yield Finding("roles.json", 1, f"{role['id']} is not the id of {role['name']}")


def _grants(file: BicepFile, made: Declaration, keys: Mapping[str, str]) -> Iterator[_Grant]:
    for node in walk(made.node):
        given = properties(node)
        if "principalId" in given:
            principal = text(given["principalId"])
            to = _PRINCIPALS.get(principal, principal)
            if "roleDefinitionIdOrName" in given:
                yield _Grant(_key(file, given["roleDefinitionIdOrName"], keys), to, made.name)
            elif "roleDefinitionId" in given:
                on = text(made.body["scope"]) if "scope" in made.body else "everything"
                yield _Grant(_key(file, given["roleDefinitionId"], keys), to, on)


def _key(file: BicepFile, role: Node, keys: Mapping[str, str]) -> str:
    """The key of `roles.<key>.id`, or of a definition that has all actions of a role's file."""
    role = [role, *arguments(role, "subscriptionResourceId")][-1]
    definition = file.find("resource", text(role).removesuffix(".name"))
    source = file.find("variable", "role")
    if definition is not None and source is not None and source.value is not None:
        permissions = text(properties(definition.body["properties"])["permissions"])
        for path in map(literal, arguments(source.value, "loadJsonContent")):
            if permissions == _PERMISSIONS and path is not None:
                return keys.get(path.removeprefix("../"), path)
    return text(role).removeprefix("roles.").removesuffix(".id")


def _passed(file: BicepFile, made: Declaration) -> Iterator[Finding]:
    beginning = _BEGINNINGS.get(made.name, "{")
    if not text(made.node).partition(" = ")[2].startswith(beginning):
        yield Finding(file.name, made.line, f"{made.name} does not begin with {beginning}")
    for name in _PASSED.keys() & made.params.keys():
        if text(made.params[name]) != _PASSED[name]:
            yield Finding(file.name, made.line, f"{name} of {made.name} is not {_PASSED[name]}")
