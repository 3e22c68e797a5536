"""Role definitions and assignments, read from the files that infra/ deploys.

Needed by: the tests of least privilege, which hold firstpull to the roles that it gets in Azure.
"""

from __future__ import annotations

from local_azure.roles.assigned import assign_roles
from local_azure.roles.reading import InvalidRole, built_in_roles, parse_role, read_role

__all__ = ["InvalidRole", "assign_roles", "built_in_roles", "parse_role", "read_role"]
