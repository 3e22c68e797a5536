"""Role definitions: Azure's own that are of use here, and custom ones from files."""

from __future__ import annotations

from local_azure.roles.assigned import assign_roles
from local_azure.roles.reading import InvalidRole, built_in_roles, parse_role, read_role

__all__ = ["InvalidRole", "assign_roles", "built_in_roles", "parse_role", "read_role"]
