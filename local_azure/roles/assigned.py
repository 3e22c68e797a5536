"""The role assignments of the app, read from infra/roles.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from local_azure.kernel.access import Access, Assignment
from local_azure.roles.reading import InvalidRole, built_in_roles, read_role

_APP = "app"


class _Entry(BaseModel):
    """A built-in role by its name, or a custom one by its `file` in the same folder."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: str
    file: str | None = None
    to: str
    on: str


def assign_roles(
    access: Access, file: Path, *, principal_id: str, scopes: Mapping[str, str]
) -> None:
    """Define Azure's roles and the custom ones, and assign the app's roles to the principal.

    `scopes`: the resource ids behind the file's `on`; entries with another `on` are skipped.
    Raises InvalidRole, UnknownRole, and OSError where a file cannot be read.
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
