"""Asynchronous operations, whose status a client polls at a signed address."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Operation:
    """One asynchronous operation.

    `signature`: the query parameters of its address, which the client must return unchanged.
    `polled_by`: the header that carried the address, which decides the answer there.
    """

    name: str
    path: str
    polled_by: PollHeader
    provisioning: Provisioning
    signature: Mapping[str, str] = field(repr=False)
    result: GeneratedCredentials | None = None


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
        polled_by: PollHeader,
        parent_id: str,
        provisioning: Provisioning,
        result: GeneratedCredentials | None = None,
    ) -> Operation:
        """An operation `<prefix>-<uuid>` below the resource `parent_id`."""
        self._forget_old()
        name = f"{prefix}-{uuid.UUID(int=self._random.getrandbits(128), version=4)}"
        operation = Operation(
            name=name,
            path=f"{parent_id}/operationStatuses/{name}",
            polled_by=polled_by,
            provisioning=provisioning,
            signature={key: secrets.token_urlsafe(24) for key in "tcsh"},
            result=result,
        )
        self._operations[operation.path.lower()] = operation
        return operation

    def find(self, path: str, query: Mapping[str, str]) -> Operation:
        """Raises ResourceNotFound, also for a changed address."""
        operation = self._operations.get(path.lower())
        if operation is None or any(query.get(k) != v for k, v in operation.signature.items()):
            raise ResourceNotFound(f"The resource {path.rpartition('/')[2]} could not be found.")
        return operation

    def _forget_old(self) -> None:
        oldest = self._clock.now() - _RETENTION
        self._operations = {
            path: operation
            for path, operation in self._operations.items()
            if operation.provisioning.since > oldest
        }
