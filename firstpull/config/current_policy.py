"""The policy that counts now: given with the settings, or read again from a file or a blob."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from firstpull.config.policy import Policy
from firstpull.config.settings import SettingsError, read_policy_document
from firstpull.model.clock import Clock
from firstpull.model.errors import Blocked, FirstpullError
from firstpull.model.ports import Stored
from firstpull.model.reasons import Reason
from firstpull.observability.log import emit, emit_warning
from firstpull.observability.log_events import LogEvent

FRESH = timedelta(seconds=20)
"""A call that comes later than this after the last look at the source looks again."""
_LONGEST_MESSAGE = 2000
_REMEDY = "Correct the document of the policy; firstpull reads it again by itself."


class PolicySource(Protocol):
    """Where the document of a policy is."""

    async def read(self, *, known: str | None) -> Stored[bytes] | None:
        """The document, None while it still has the ETag `known`. Raises FirstpullError."""
        ...


class FilePolicy:
    """Implements `PolicySource`: a file, whose hash is its ETag."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self, *, known: str | None) -> Stored[bytes] | None:
        """The document, None while it is the same. Raises Blocked where it cannot be read."""
        try:
            content = await asyncio.to_thread(self._path.read_bytes)
        except OSError as error:
            raise policy_not_valid(f"The file cannot be read: {error.strerror}.") from None
        etag = hashlib.sha256(content).hexdigest()
        return Stored(value=content, etag=etag) if etag != known else None


def policy_not_valid(message: str) -> Blocked:
    """The error for a document that is missing or no policy."""
    return Blocked(Reason.POLICY_NOT_VALID, message, remedy=_REMEDY)


@dataclass(kw_only=True)
class CurrentPolicy:
    """The policy, and what is wrong with a later one.

    A caller keeps the policy that it got. Each host looks by itself, so that two hosts may have
    different policies for less than a minute.
    """

    policy: Policy | None
    clock: Clock
    setting: str = "FIRSTPULL_POLICY"
    source: PolicySource | None = None
    refusal: Blocked | None = None
    """Why a later document does not count, while there is one."""
    _etag: str | None = None
    _looked_at: datetime | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self) -> Policy:
        """The policy that counts now. Raises FirstpullError if none was ever read."""
        is_being_read = self._lock.locked() and self.policy is not None
        if self._is_due() and not is_being_read:
            async with self._lock:
                if self._is_due():
                    await self._look()
        if self.policy is None:
            raise self.refusal or policy_not_valid("There is no policy.")
        return self.policy

    def service_host(self, hub: str) -> str:
        """The host name to call, by a hub's name in records; itself if the policy lists none."""
        listed = self.policy.hub(hub) if self.policy is not None else None
        return listed.service_host if listed is not None else hub

    async def read_at_start(self) -> None:
        """Read the policy for the first time. Raises SettingsError if it is wrong or missing.

        A source that does not answer, or refuses, is read at the first call instead: storage and
        a new role may need a while.
        """
        if self.source is None:
            return
        try:
            found = await self.source.read(known=None)
        except FirstpullError as error:
            if error.reason is not Reason.POLICY_NOT_VALID:
                return
            raise SettingsError.of({self.setting: error.message}) from None
        if found is not None:
            self.policy, self._etag = (
                read_policy_document(found.value, setting=self.setting),
                found.etag,
            )
            self._looked_at = self.clock.now()

    def _is_due(self) -> bool:
        if self.source is None:
            return False
        at = self._looked_at
        return self.policy is None or at is None or not timedelta() <= self.clock.now() - at < FRESH

    async def _look(self) -> None:
        """Take a changed policy over; keep the present one if the changed one is wrong."""
        if self.source is None:
            return
        self._looked_at = self.clock.now()
        try:
            found = await self.source.read(known=self._etag)
            if found is None:
                return
            policy = read_policy_document(found.value, setting=self.setting)
        except SettingsError as error:
            self._etag = found.etag if found is not None else None
            self._refuse(policy_not_valid(str(error)[:_LONGEST_MESSAGE]))
        except Blocked as error:
            self._etag = None  # what comes back there is read again, also if it is the same
            self._refuse(error)
        except FirstpullError:
            if self.policy is None:
                raise
        else:
            self._etag, self.refusal = found.etag, None
            if policy != self.policy:
                self.policy = policy
                emit(LogEvent.POLICY_CHANGED, setting=self.setting)

    def _refuse(self, error: Blocked) -> None:
        if self.refusal is None or self.refusal.message != error.message:
            emit_warning(
                LogEvent.POLICY_REFUSED,
                setting=self.setting,
                reason=error.reason.value,
                message=error.message,
            )
        self.refusal = error
