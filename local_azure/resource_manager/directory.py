"""What there is, whoever provides it: by subscription, resource group and type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

LOCATION = "westeurope"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource as lists over all providers show it. `sku` is name and tier."""

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
    """A subscription, as a resource group, is there as soon as it holds a resource.

    Ids and names are compared without case and given as the first resource spells them.
    """

    def __init__(self, resources: Callable[[], Iterable[Resource]]) -> None:
        self._resources = resources

    def resources(self, subscription_id: str) -> list[Resource]:
        """Those of a subscription."""
        wanted = subscription_id.lower()
        return [each for each in self._resources() if each.subscription_id.lower() == wanted]

    def subscriptions(self) -> list[str]:
        """The ids of all of them."""
        return _spelled_once(each.subscription_id for each in self._resources())

    def resource_groups(self, subscription_id: str) -> list[str]:
        """The names of those in a subscription."""
        return _spelled_once(each.resource_group for each in self.resources(subscription_id))


def find(names: Iterable[str], wanted: str) -> str | None:
    """A name as it is spelled there, whatever its case."""
    return next((name for name in names if name.lower() == wanted.lower()), None)


def _spelled_once(names: Iterable[str]) -> list[str]:
    spellings: dict[str, str] = {}
    for name in names:
        spellings.setdefault(name.lower(), name)
    return [spelling for _, spelling in sorted(spellings.items())]
