"""All resources of all providers, by subscription and resource group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

LOCATION = "westeurope"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource in the lists over all providers. `sku` is both name and tier."""

    subscription_id: str
    resource_group: str
    type: str
    name: str
    sku: str

    @property
    def id(self) -> str:
        """Its whole resource id."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/{self.type}/{self.name}"
        )


class Directory:
    """The subscriptions and resource groups that hold a resource, or that `groups` names.

    `groups` gives pairs of a subscription's id and a group's name. Ids and names are compared
    without case and spelled as in the first resource.
    """

    def __init__(
        self,
        resources: Callable[[], Iterable[Resource]],
        groups: Callable[[], Iterable[tuple[str, str]]] = tuple,
    ) -> None:
        self._resources = resources
        self._groups = groups

    def resources(self, subscription_id: str) -> list[Resource]:
        """The resources of a subscription."""
        wanted = subscription_id.lower()
        return [each for each in self._resources() if each.subscription_id.lower() == wanted]

    def subscriptions(self) -> list[str]:
        """The ids of all subscriptions."""
        return _spelled_once(each.subscription_id for each in self._resources())

    def resource_groups(self, subscription_id: str) -> list[str]:
        """The names of the resource groups in a subscription."""
        held = [each.resource_group for each in self.resources(subscription_id)]
        wanted = subscription_id.lower()
        empty = [name for subscription, name in self._groups() if subscription.lower() == wanted]
        return _spelled_once([*held, *empty])


def find(names: Iterable[str], wanted: str) -> str | None:
    """The spelling in `names` of a name in any case, None when it is missing."""
    return next((name for name in names if name.lower() == wanted.lower()), None)


def _spelled_once(names: Iterable[str]) -> list[str]:
    spellings: dict[str, str] = {}
    for name in names:
        spellings.setdefault(name.lower(), name)
    return [spelling for _, spelling in sorted(spellings.items())]
