"""Sessions of people who signed in to the fleet page with a named function key.

A session is a time and a seal over it. So it holds no key, any instance can check it, and it ends
by itself, or when its key is taken out of the settings.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.config.roles import NamedKey
from firstpull.model.clock import Clock
from firstpull.model.errors import Conflict
from firstpull.model.page_seal import PageSeal
from firstpull.model.ports import PageSeals

LASTS = timedelta(hours=12)
"""A working day: then a person signs in again."""
_SESSION = re.compile(r"([0-9]{1,12})-([0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class PageSessions:
    """Begins and checks sessions. All instances seal with the text that storage has."""

    seals: PageSeals
    clock: Clock
    new_seal: Callable[[], PageSeal]
    _known: list[PageSeal] = field(default_factory=list, repr=False)

    async def begin(self, key: NamedKey) -> str:
        """A session for who has shown this key."""
        until = self.clock.now() + LASTS
        return f"{_seconds(until)}-{_sealed(await self._seal(), key, _seconds(until))}"

    async def key_of(self, session: str, keys: Iterable[NamedKey]) -> NamedKey | None:
        """The named key that a session was begun with; None if it has ended, or never was one."""
        found = _SESSION.fullmatch(session)
        if found is None or int(found[1]) <= _seconds(self.clock.now()):
            return None
        seal = await self._seal()
        valid = [k for k in keys if hmac.compare_digest(_sealed(seal, k, int(found[1])), found[2])]
        return valid[0] if valid else None

    async def _seal(self) -> PageSeal:
        if not self._known:
            self._known[:] = [await self._read()]
        return self._known[0]

    async def _read(self) -> PageSeal:
        stored = await self.seals.get()
        if stored is not None and stored.value is not None:
            return stored.value
        made = self.new_seal()
        try:
            await self.seals.put(made, etag=stored.etag if stored is not None else None)
        except Conflict:  # another instance was first
            return await self._read()
        return made


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _sealed(seal: PageSeal, key: NamedKey, until: int) -> str:
    return hmac.new(seal.key, f"{key.sha256}-{until}".encode(), hashlib.sha256).hexdigest()
