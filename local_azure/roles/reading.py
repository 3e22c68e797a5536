"""Role definitions in JSON, in the formats of azure-cli and of Azure's documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from local_azure.kernel.access import Permission, RoleDefinition

_BUILT_IN = Path(__file__).with_name("built_in.json")


class InvalidRole(Exception):
    """A file without a valid role definition."""


class _Permission(BaseModel):
    # azure-cli accepts the names in any case; `_lowered` makes them lower case.
    model_config = ConfigDict(strict=True, frozen=True)

    actions: list[str] = []
    notactions: list[str] = []
    dataactions: list[str] = []
    notdataactions: list[str] = []

    def permission(self) -> Permission:
        return Permission(
            actions=tuple(self.actions),
            not_actions=tuple(self.notactions),
            data_actions=tuple(self.dataactions),
            not_data_actions=tuple(self.notdataactions),
        )


class _Role(_Permission):
    """`name` is the name of a custom role, and the id of a published one, named by `roleName`."""

    name: str = ""
    rolename: str = ""
    permissions: list[_Permission] | None = None


def parse_role(document: object) -> RoleDefinition:
    """A role from its JSON. Raises InvalidRole."""
    try:
        found = TypeAdapter(_Role).validate_python(_lowered(document))
    except ValidationError as error:
        raise InvalidRole(f"this is not a role definition: {error.errors()[0]['msg']}") from error
    name = found.rolename or found.name
    if not name:
        raise InvalidRole("this role definition has no name")
    permissions = [found] if found.permissions is None else found.permissions
    return RoleDefinition(name, tuple(each.permission() for each in permissions))


def read_role(path: Path) -> RoleDefinition:
    """The role that a file defines. Raises InvalidRole, and OSError where it cannot be read."""
    try:
        return parse_role(json.loads(path.read_text()))
    except ValueError as error:
        raise InvalidRole(f"{path} is not JSON") from error
    except InvalidRole as error:
        raise InvalidRole(f"{path}: {error}") from error


def built_in_roles() -> tuple[RoleDefinition, ...]:
    """The roles of infra/roles.json, as "Azure built-in roles" of learn.microsoft.com has them."""
    return tuple(parse_role(document) for document in json.loads(_BUILT_IN.read_text()))


def _lowered(document: object) -> object:
    if isinstance(document, Mapping):
        return {str(name).lower(): _lowered(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_lowered(value) for value in document]
    return document
