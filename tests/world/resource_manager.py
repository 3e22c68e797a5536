"""A fake of what Azure Resource Manager tells about resources."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from firstpull.model.governance import (
    AzureResource,
    EventSubscription,
    ManagementLock,
    Permission,
    PolicyAssignment,
    ResourceId,
)

EVERYTHING = Permission(actions=("*",), data_actions=("*",))


@dataclass
class FakeResourceManager:
    """Says that all is well; of a silent one nothing is heard."""

    is_silent: bool = False
    asked: list[str] = field(default_factory=list)

    async def principal_id(self) -> str | None:
        await self._hear("principal")
        return "principal-1"

    async def resource(self, resource: ResourceId) -> AzureResource | None:
        await self._hear("resource")
        return AzureResource(
            id=resource, tier="Premium", properties={"enablePurgeProtection": True}
        )

    async def permissions(self, resource: ResourceId) -> tuple[Permission, ...]:
        del resource
        await self._hear("permissions")
        return (EVERYTHING,)

    async def locks(self, resource: ResourceId) -> tuple[ManagementLock, ...]:
        del resource
        await self._hear("locks")
        return ()

    async def policy_assignments(self, resource: ResourceId) -> tuple[PolicyAssignment, ...]:
        del resource
        await self._hear("policies")
        return ()

    async def event_subscriptions(self, resource: ResourceId) -> tuple[EventSubscription, ...]:
        del resource
        await self._hear("events")
        return (EventSubscription(name="all", event_types=None),)

    async def _hear(self, what: str) -> None:
        self.asked.append(what)
        if self.is_silent:
            await asyncio.Event().wait()
