"""Asynchronous operations, whose status a client polls at a signed address."""

from __future__ import annotations

import hashlib
import hmac
import random
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from local_azure.container_registry.exceptions import ResourceNotFound
from local_azure.container_registry.resources import GeneratedCredentials, Provisioning
from local_azure.kernel.clock import Clock

PollHeader = Literal["Azure-AsyncOperation", "Location"]

_RETENTION = timedelta(hours=1)
_SIGNED_BYTES = 840
"""In each of three parameters: an address has some 3.5 kB (azure-cli's recordings of 2026)."""


@dataclass(frozen=True)
class Operation:
    """One asynchronous operation.

    `polled_by`: the header that carried the address, which decides the answer there.
    """

    path: str
    polled_by: PollHeader
    provisioning: Provisioning
    result: GeneratedCredentials | None = None
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def signature(self) -> Mapping[str, str]:
        """The query parameters of an address, others each time; a client returns them unchanged."""
        signed = {name: secrets.token_urlsafe(_SIGNED_BYTES) for name in "tcs"}
        return signed | {"h": self._digest(signed)}

    def accepts(self, query: Mapping[str, str]) -> bool:
        """Whether the query has a signature of this operation."""
        return hmac.compare_digest(self._digest(query), query.get("h", ""))

    def _digest(self, query: Mapping[str, str]) -> str:
        signed = "&".join(query.get(name, "") for name in "tcs")
        return hmac.new(self._key, signed.encode(), hashlib.sha256).hexdigest()


class Operations:
    """The operations of the last hour."""

    def __init__(self, *, clock: Clock, random: random.Random) -> None:
        self._clock = clock
        self._random = random
        self._operations: dict[str, Operation] = {}

    def start(
        self,
        prefix: str,
        *,
        below: str,
        polled_by: PollHeader,
        provisioning: Provisioning,
        result: GeneratedCredentials | None = None,
    ) -> Operation:
        """An operation `<prefix>-<uuid>` at a path below this one."""
        self._forget_old()
        name = f"{prefix}-{uuid.UUID(int=self._random.getrandbits(128), version=4)}"
        operation = Operation(
            path=f"{below}/{name}",
            polled_by=polled_by,
            provisioning=provisioning,
            result=result,
        )
        self._operations[operation.path.lower()] = operation
        return operation

    def find(self, path: str, query: Mapping[str, str]) -> Operation:
        """Raises ResourceNotFound, also for a changed address."""
        operation = self._operations.get(path.lower())
        if operation is None or not operation.accepts(query):
            raise ResourceNotFound(f"The resource {path.rpartition('/')[2]} could not be found.")
        return operation

    def _forget_old(self) -> None:
        oldest = self._clock.now() - _RETENTION
        self._operations = {
            path: operation
            for path, operation in self._operations.items()
            if operation.provisioning.since > oldest
        }
