"""Locks, policy assignments and exemptions, and the stack's own resources: state, without HTTP.

Assumptions: a lock on a resource refuses writes of what is below it, as on the resource; an
exemption counts at once; a policy's effect is its assignment's parameter `effect`, else its own
default. Only the two policies that Azure/azure-policy has for tokens and for secrets take effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from local_azure.governance.exceptions import RequestDisallowedByPolicy, ScopeIsLocked

Document = dict[str, Any]

TOKENS_DENIED = "ff05e24e-195c-447e-b322-5e90c9f9f366"
"""ACR_TokenDisabled_AuditDeny.json of Azure/azure-policy."""
SECRETS_VALIDITY = "342e8053-e12e-4c44-be01-c3c2f318400f"
"""Secrets_ValidityPeriod.json of Azure/azure-policy."""
_HUB_TIERS = {
    **dict.fromkeys(("S1", "S2", "S3"), "Standard"),
    **dict.fromkeys(("B1", "B2", "B3"), "Basic"),
    "F1": "Free",
}
_AUTHORIZATION = "/providers/microsoft.authorization/"


@dataclass
class OwnResource:
    """A resource of the stack itself, whose tier and network rules can be changed."""

    document: Document

    @property
    def id(self) -> str:
        """Its ARM id."""
        return str(self.document["id"])

    @property
    def properties(self) -> Document:
        """Its properties."""
        found: Document = self.document["properties"]
        return found

    @property
    def is_closed(self) -> bool:
        """Whether its network rules keep everybody out."""
        rules = self.properties.get("networkAcls") or {}
        is_off = self.properties.get("publicNetworkAccess") == "Disabled"
        return is_off or rules.get("defaultAction") == "Deny"

    def change(self, changes: Mapping[str, Any]) -> None:
        """Merge what is given into it, as PATCH does. Its id, name and type stay."""
        fixed = ("id", "name", "type")
        _merge(self.document, {k: v for k, v in changes.items() if k not in fixed})
        # A hub's tier follows from the name of its SKU, whatever a client sends along.
        sku = self.document.get("sku") or {}
        sku["tier"] = _HUB_TIERS.get(str(sku.get("name")), sku.get("tier"))


@dataclass(kw_only=True)
class Governance:
    """Documents by id in lower case."""

    own: dict[str, OwnResource] = field(default_factory=dict)
    locks: dict[str, Document] = field(default_factory=dict)
    policy_assignments: dict[str, Document] = field(default_factory=dict)
    policy_exemptions: dict[str, Document] = field(default_factory=dict)

    def add(self, *resources: OwnResource) -> None:
        """Add resources of the stack."""
        self.own |= {resource.id.lower(): resource for resource in resources}

    def resource(self, resource_id: str) -> OwnResource | None:
        """One of the stack's resources."""
        return self.own.get(resource_id.lower())

    def clear(self) -> None:
        """Remove every lock, assignment and exemption."""
        for documents in (self.locks, self.policy_assignments, self.policy_exemptions):
            documents.clear()

    def check(self, method: str, path: str, *, is_token: bool, disables: bool) -> None:
        """Raises ArmError where a lock or a policy forbids a request.

        `is_token` says that it writes a token, `disables` that the token is disabled then.
        """
        if _AUTHORIZATION in path.lower() or method in ("GET", "HEAD"):
            return
        for lock in at_or_above(self.locks.values(), path):
            if method == "DELETE" or lock["properties"]["level"] == "ReadOnly":
                verb = "delete" if method == "DELETE" else "write"
                raise ScopeIsLocked(
                    f"The scope '{path}' cannot perform {verb} operation because following "
                    f"scope(s) are locked: '{scope_of(lock)}'. Please remove the lock and try "
                    "again."
                )
        if is_token and not disables and self.denies_tokens(path):
            name = path.rsplit("/", 1)[-1]
            raise RequestDisallowedByPolicy(f"Resource '{name}' was disallowed by policy.")

    def denies_tokens(self, path: str) -> bool:
        """Whether a policy denies tokens that are enabled."""
        return any(
            _effect(found) == "deny"
            for found in self.assignments(path)
            if found["properties"]["policyDefinitionId"].lower().endswith(TOKENS_DENIED)
        )

    def longest_validity(self, vault_id: str) -> int | None:
        """The days that a policy allows secrets of a vault to be valid, None without one."""
        days = [
            found["properties"]["parameters"]["maximumValidityInDays"]["value"]
            for found in self.assignments(vault_id)
            if found["properties"]["policyDefinitionId"].lower().endswith(SECRETS_VALIDITY)
            and _effect(found) == "deny"
        ]
        return min(days, default=None)

    def assignments(self, resource_id: str) -> list[Document]:
        """The policy assignments that count for a resource: not the exempted ones."""
        exempted = {
            str(each["properties"]["policyAssignmentId"]).lower()
            for each in at_or_above(self.policy_exemptions.values(), resource_id)
        }
        found = at_or_above(self.policy_assignments.values(), resource_id)
        return [each for each in found if str(each["id"]).lower() not in exempted]


def scope_of(document: Document) -> str:
    """What a lock, assignment or exemption is on."""
    found: str = document["id"]
    return found[: found.lower().rindex(_AUTHORIZATION)]


def at_or_above(documents: Iterable[Document], resource_id: str) -> list[Document]:
    """Those on a resource or above it."""
    wanted = f"{resource_id.lower()}/"
    return [each for each in documents if wanted.startswith(f"{scope_of(each).lower()}/")]


def _effect(assignment: Document) -> str:
    given = assignment["properties"].get("parameters", {}).get("effect", {})
    return str(given.get("value", "Audit")).lower()


def _merge(into: Document, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = deepcopy(value)
