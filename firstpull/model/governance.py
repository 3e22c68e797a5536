"""What Azure Resource Manager tells about a resource: permissions, locks, policies, events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from firstpull.model.azure_resources import ArmId

_RESOURCE_ID = re.compile(
    r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/[^/\s]+/[^/\s]+/[^/\s]+",
    re.IGNORECASE,
)


class ResourceId(ArmId):
    """The ARM id of a resource right below its provider."""

    @property
    def is_complete(self) -> bool:
        """Whether it has the form of such an id."""
        return _RESOURCE_ID.fullmatch(str(self)) is not None

    @property
    def resource_group(self) -> str:
        """The name of its resource group."""
        return str(self).split("/")[4]

    @property
    def type(self) -> str:
        """`microsoft.keyvault/vaults`, say, in lower case."""
        return "/".join(str(self).split("/")[6:8]).lower()


@dataclass(frozen=True, kw_only=True)
class AzureResource:
    """A resource. `tier` is that of its SKU; `properties` are as the service has them."""

    id: ResourceId
    tier: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_closed(self) -> bool:
        """Whether the resource's network rules keep some callers out."""
        rules = self.properties.get("networkAcls") or self.properties.get("networkRuleSets")
        by_default = rules.get("defaultAction") if isinstance(rules, dict) else None
        return self.properties.get("publicNetworkAccess") == "Disabled" or by_default == "Deny"


@dataclass(frozen=True, kw_only=True)
class Permission:
    """Actions that a caller has on a resource, less the excluded ones. `*` matches anything."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    def grants(self, action: str) -> bool:
        """Whether it grants a management action."""
        return _match(self.actions, action) and not _match(self.not_actions, action)

    def grants_data(self, action: str) -> bool:
        """Whether it grants a data action."""
        return _match(self.data_actions, action) and not _match(self.not_data_actions, action)


@dataclass(frozen=True, kw_only=True)
class ManagementLock:
    """A lock on a resource or above it. `level` is `CanNotDelete` or `ReadOnly`."""

    id: str
    level: str


@dataclass(frozen=True, kw_only=True)
class PolicyAssignment:
    """An assignment of an Azure Policy to a resource or above it, with its parameters' values."""

    id: str
    definition: str
    """The last part of the id of what is assigned: a definition's, or an initiative's."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    is_enforced: bool = True


@dataclass(frozen=True, kw_only=True)
class EventSubscription:
    """An event subscription of a resource. `event_types` of None are all."""

    name: str
    event_types: frozenset[str] | None
    is_active: bool = True

    def has(self, event_type: str) -> bool:
        """Whether it delivers events of a type."""
        return self.is_active and (self.event_types is None or event_type in self.event_types)


def _match(patterns: Iterable[str], action: str) -> bool:
    return any(_compiled(pattern).fullmatch(action) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE)
