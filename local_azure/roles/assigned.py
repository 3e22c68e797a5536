"""The file that says which roles an app's identity is given, on what, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from local_azure.kernel.access import Access, Assignment
from local_azure.roles.reading import InvalidRole, built_in_roles, read_role

_APP = "app"


class _Entry(BaseModel):
    """A built-in role by its name, or a custom one by its `file`, which lies beside this one."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: str
    file: str | None = None
    to: str
    on: str


def assign_roles(
    access: Access, file: Path, *, principal_id: str, scopes: Mapping[str, str]
) -> None:
    """Define Azure's roles and the custom ones, and give the principal those of the app.

    `scopes` are the resource ids of what a role is given on; what is not among them does not
    exist here. Raises InvalidRole, UnknownRole, and OSError where a file cannot be read.
    """
    access.define(*built_in_roles())
    assignments = []
    for entry in _entries(file):
        if entry.to != _APP or entry.on not in scopes:
            continue
        name = entry.name
        if entry.file is not None:
            role = read_role(file.with_name(entry.file))
            access.define(role)
            name = role.name
        assignments.append(Assignment(name, scopes[entry.on]))
    access.assign(principal_id, assignments)


def _entries(file: Path) -> list[_Entry]:
    try:
        return list(TypeAdapter(dict[str, _Entry]).validate_json(file.read_bytes()).values())
    except ValidationError as error:
        raise InvalidRole(f"{file} lists no roles: {error.errors()[0]['msg']}") from error
