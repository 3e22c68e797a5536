"""The limit of revokes an hour over the API, beyond which a person has to approve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from firstpull.model.clock import Clock
from firstpull.model.errors import Refused
from firstpull.model.ports import RevokeCounts
from firstpull.model.reasons import Reason
from firstpull.model.record_update import Chance, retried
from firstpull.model.revoke_count import WINDOW, RevokeApproval, RevokeCount
from firstpull.observability.log import emit, emit_warning
from firstpull.observability.log_events import LogEvent


@dataclass(frozen=True, kw_only=True)
class RevokeLimit:
    """Counts the devices that the API revokes, over all instances.

    A crash between the count and the revoke counts one too many.
    """

    most_per_hour: int
    counts: RevokeCounts
    clock: Clock
    chance: Chance
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def take(self) -> None:
        """Count one more revoke. Raises Refused where the hour has no room for it."""

        def counted(count: RevokeCount) -> RevokeCount:
            self._check(count)
            return count.with_revoke(self.clock.now(), most=self.most_per_hour)

        await self._update(counted)

    async def check(self) -> None:
        """Raises what `take` would raise. Writes nothing."""
        self._check(await self.count())

    async def rehearsal(self) -> Callable[[], None]:
        """A `take` for many devices that writes nothing: it counts on from what counts now."""
        count = await self.count()
        left = self.room(count)

        def take() -> None:
            nonlocal left
            if left <= 0:
                raise self._refusal(count)
            left -= 1

        return take

    async def count(self) -> RevokeCount:
        """What counts now."""
        stored = await self.counts.get()
        return (stored.value if stored is not None else RevokeCount()).at(self.clock.now())

    async def approve(self, revokes: int, *, approved_by: str) -> RevokeCount:
        """Allow so many revokes beyond the limit, for an hour, in place of an earlier approval."""
        until = self.clock.now() + WINDOW
        approval = RevokeApproval(revokes=revokes, until=until, approved_by=approved_by)
        count = await self._update(lambda count: replace(count, approval=approval))
        emit(LogEvent.REVOKES_APPROVED, revokes=revokes, approved_by=approved_by)
        return count

    def room(self, count: RevokeCount) -> int:
        """How many more devices the API may revoke."""
        return count.room(most=self.most_per_hour)

    def _check(self, count: RevokeCount) -> None:
        if not self.room(count):
            emit_warning(LogEvent.REVOKES_HELD, most=self.most_per_hour)
            raise self._refusal(count)

    def _refusal(self, count: RevokeCount) -> Refused:
        return Refused(
            f"The API has revoked {len(count.revoked_at)} devices within an hour, and may revoke "
            f"{self.room(count)} more; others need an approval: a caller with the role "
            "MassRevokeApprover sends POST /api/revokes/approve. The device keeps its access until "
            "then.",
            reason=Reason.TOO_MANY_REVOKES,
        )

    async def _update(self, change: Callable[[RevokeCount], RevokeCount]) -> RevokeCount:
        async def write() -> RevokeCount:
            stored = await self.counts.get()
            count = stored.value if stored is not None else RevokeCount()
            changed = change(count.at(self.clock.now()))
            await self.counts.put(changed, etag=stored.etag if stored is not None else None)
            return changed

        # One at a time in this process, so that only other instances conflict.
        async with self._writing:
            return await retried(write, clock=self.clock, chance=self.chance)
