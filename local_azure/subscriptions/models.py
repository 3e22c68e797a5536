"""Resource groups, made resources, deleted vaults and role assignments: state, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from local_azure.subscriptions.exceptions import (
    DeletedVaultNotFound,
    ResourceGroupBeingDeleted,
    ScopeLocked,
)

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ResourceId:
    """A resource right below its provider; `type` is `Microsoft.KeyVault/vaults`, say."""

    subscription_id: str
    group: str
    type: str
    name: str

    def __str__(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.group}"
            f"/providers/{self.type}/{self.name}"
        )


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of resource that can be made.

    `serve` makes one and serves it while its context is open; it gives what the resource's
    `properties` have besides those of the request.
    """

    type: str
    api_version: str
    also_served: tuple[str, ...] = ()
    serve: Callable[[ResourceId], AbstractAsyncContextManager[Mapping[str, object]]]


class MadeResource:
    """A resource that serves until it is removed. Its properties are None while it starts."""

    def __init__(self, resource_id: ResourceId, kind: Kind, body: Document) -> None:
        self.id = resource_id
        self.body = body
        self.properties: Mapping[str, object] | None = None
        self._task = asyncio.create_task(self._serve(kind))

    @property
    def state(self) -> str:
        """`provisioningState`."""
        if self._task.done():
            return "Failed"
        return "Creating" if self.properties is None else "Succeeded"

    async def remove(self) -> None:
        """Stop serving."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _serve(self, kind: Kind) -> None:
        async with kind.serve(self.id) as properties:
            self.properties = properties
            await asyncio.Event().wait()


@dataclass(kw_only=True, eq=False)
class ResourceGroup:
    """A resource group. `removal` is there as soon as it is being deleted."""

    subscription_id: str
    name: str
    location: str
    tags: Mapping[str, str]
    resources: dict[str, MadeResource] = field(default_factory=dict)
    removal: asyncio.Task[None] | None = None


@dataclass(frozen=True, kw_only=True)
class DeletedVault:
    """A vault that can be recovered until it is purged."""

    vault_id: ResourceId
    location: str


class ResourceGroups:
    """All resource groups that callers made, by name. Names have no case.

    `own_groups`: the names of the stack's own ones, which cannot be changed.
    """

    def __init__(self, own_groups: Callable[[], Iterable[str]] = tuple) -> None:
        self._own_groups = own_groups
        self._groups: dict[str, ResourceGroup] = {}
        self.deleted_vaults: dict[str, DeletedVault] = {}
        self.role_assignments: dict[str, Document] = {}
        """By id in lower case. They are kept and listed and grant nothing."""

    def all(self) -> list[ResourceGroup]:
        """All groups, the oldest first, also those that are being deleted."""
        return list(self._groups.values())

    def get(self, name: str) -> ResourceGroup | None:
        """One group, None without it."""
        return self._groups.get(name.lower())

    def put(self, subscription_id: str, name: str, body: Document) -> tuple[ResourceGroup, bool]:
        """Create a group or replace its tags; whether it is new. Raises ArmError."""
        self._refuse_own(name)
        found, tags = self.get(name), body.get("tags") or {}
        if found is None:
            found = self._groups[name.lower()] = ResourceGroup(
                subscription_id=subscription_id, name=name, location=body["location"], tags=tags
            )
            return found, True
        _refuse_deleted(found)
        found.tags = tags
        return found, False

    def delete(self, name: str) -> ResourceGroup | None:
        """Begin to delete a group with all that is in it; None without one."""
        self._refuse_own(name)
        group = self.get(name)
        if group is not None and group.removal is None:
            group.removal = asyncio.create_task(self._remove(group))
        return group

    def make(
        self, resource_id: ResourceId, kind: Kind, body: Document
    ) -> tuple[MadeResource, bool]:
        """Begin to make a resource, or find the one of this id; whether it is new."""
        self._refuse_own(resource_id.group)
        group = self._groups[resource_id.group.lower()]
        _refuse_deleted(group)
        key = str(resource_id).lower()
        is_new = key not in group.resources
        if is_new:
            group.resources[key] = MadeResource(resource_id, kind, body)
        return group.resources[key], is_new

    def find(self, resource_id: ResourceId) -> MadeResource | None:
        """A resource, None without it."""
        group = self.get(resource_id.group)
        return group.resources.get(str(resource_id).lower()) if group is not None else None

    def deleted_vault(self, name: str) -> DeletedVault:
        """A deleted vault. Raises DeletedVaultNotFound."""
        try:
            return self.deleted_vaults[name.lower()]
        except KeyError:
            raise DeletedVaultNotFound(f"The deleted vault '{name}' does not exist.") from None

    async def close(self) -> None:
        """Remove everything."""
        for group in self.all():
            self.delete(group.name)
        await asyncio.gather(*(group.removal for group in self.all() if group.removal))

    async def _remove(self, group: ResourceGroup) -> None:
        await asyncio.gather(*(resource.remove() for resource in group.resources.values()))
        for resource in group.resources.values():
            if resource.id.type == "Microsoft.KeyVault/vaults":
                self.deleted_vaults[resource.id.name.lower()] = DeletedVault(
                    vault_id=resource.id, location=resource.body["location"]
                )
        del self._groups[group.name.lower()]

    def is_own(self, name: str) -> bool:
        """Whether a group is the stack's own."""
        return name.lower() in {own.lower() for own in self._own_groups()}

    def _refuse_own(self, name: str) -> None:
        if self.is_own(name):
            raise ScopeLocked(f"The resource group '{name}' is the local Azure's own.")


def _refuse_deleted(group: ResourceGroup) -> None:
    if group.removal is not None:
        raise ResourceGroupBeingDeleted(
            f"The resource group '{group.name}' is in deprovisioning state."
        )
