"""The latency that the local Azure has in a benchmark.

The operations are those of `GET /calls`. contract/ has what Azure was recorded to answer: an
operation that creates or changes a token ends 0.6 to 11 s after its request. Seconds of single
calls are in no recording, so these are round numbers for a region's own services.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_azure.container_registry.models import OperationLengths
from local_azure.kernel.latency import Latency, OperationLatency
from local_azure.stack import Stack

TOKEN_PUT = 0.5
LIST_PATCH = 1.0
PASSWORD = 0.8
SCOPE_MAP_PUT = 0.5
ARM = 0.15
KEY_VAULT = 0.1
HUB = 0.1
IDENTITY = 0.05
_READY_AFTER_ANSWER = (0.2, 1.0)
"""From the answer of a token's PUT until the token is ready."""
_DELETED_AFTER_ANSWER = (1.0, 3.0)

_CALLS = (
    (r"arm\.tokens\.createOrUpdate", TOKEN_PUT),
    (r"arm\.connectedRegistries\.update", LIST_PATCH),
    (r"arm\.registries\.generateCredentials", PASSWORD),
    (r"arm\.scopeMaps\.createOrUpdate", SCOPE_MAP_PUT),
    (r"arm\..*", ARM),
    (r"keyVault\..*", KEY_VAULT),
    (r"iotHub\..*", HUB),
    (r"identity\..*", IDENTITY),
)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How long calls take, and ARM's asynchronous operations. `scale` multiplies all times."""

    scale: float = 1.0

    @property
    def calls(self) -> tuple[tuple[str, float], ...]:
        """The seconds of each operation's calls; the first pattern that matches counts."""
        return tuple((operation, seconds * self.scale) for operation, seconds in _CALLS)

    @property
    def operation_lengths(self) -> OperationLengths:
        """Of ARM's asynchronous operations, from their effect in the middle of a request.

        An operation is ready 0.2 to 1.0 s after the answer of a token's PUT.
        """
        half = TOKEN_PUT / 2
        change = [(half + seconds) * self.scale for seconds in _READY_AFTER_ANSWER]
        deletion = [(ARM / 2 + seconds) * self.scale for seconds in _DELETED_AFTER_ANSWER]
        return OperationLengths(change=(change[0], change[1]), deletion=(deletion[0], deletion[1]))

    @property
    def mean_operation_seconds(self) -> float:
        """The mean of an operation that makes a token, from its effect."""
        return sum(self.operation_lengths.change) / 2

    def apply_to(self, stack: Stack) -> None:
        """Slow a stack down, as `PUT /latency` and `PUT /operationLengths` do."""
        stack.kernel.faults.latency = Latency(
            operations=tuple(
                OperationLatency(operation=operation, least_seconds=seconds, most_seconds=seconds)
                for operation, seconds in self.calls
            )
        )
        stack.cloud.settings.operation_lengths = self.operation_lengths
