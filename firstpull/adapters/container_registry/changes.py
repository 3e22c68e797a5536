"""How long a pass waits for a change that Azure has accepted.

It reads the resource itself; only of a password the operation alone has the value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling

from firstpull.adapters.timeouts import Sleep
from firstpull.model.errors import InProgress

_PAUSES = (0.4, 0.15, 0.15, 0.4, 0.5, 1.0, 1.5)
"""Seconds before each read. Most changes take 0.7 s; each read takes from ARM's bucket."""
_AGAIN_SECONDS = 2.0
_POLL_SECONDS = 0.5


class SoonPolling(AsyncARMPolling):
    """Polls an operation often: the ten seconds of a Retry-After are a request's whole deadline."""

    async def _delay(self) -> None:
        await self._sleep(_POLL_SECONDS)


async def until[T](read: Callable[[], Awaitable[T | None]], what: str, *, sleep: Sleep) -> T:
    """The first read that shows the effect of a write. Raises InProgress where it takes longer."""
    for pause in _PAUSES:
        await sleep(pause)
        if found := await read():
            return found
    raise InProgress(
        f"The container registry is still changing {what}.", retry_after=_AGAIN_SECONDS
    )
