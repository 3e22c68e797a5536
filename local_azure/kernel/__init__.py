"""The clock, random numbers, certificates, tokens, roles, faults and counts of all services.

Needed by: every other part.
"""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from local_azure.kernel.access import Access
from local_azure.kernel.calls import CallLog
from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kernel.clock import Clock
from local_azure.kernel.faults import Faults
from local_azure.kernel.storm import Oddities
from local_azure.kernel.tokens import TokenAuthority

__all__ = ["Kernel"]


@dataclass(frozen=True)
class Kernel:
    """One per stack. A service adds only its own state."""

    clock: Clock
    random: random.Random
    certificates: CertificateAuthority
    tokens: TokenAuthority
    faults: Faults = field(default_factory=Faults)
    oddities: Oddities = field(default_factory=Oddities)
    calls: CallLog = field(default_factory=CallLog)
    storage_calls: CallLog = field(default_factory=CallLog)
    """Of the storage account, apart from the others: hosts poll it all the time."""
    access: Access = field(default_factory=Access)

    @classmethod
    def create(
        cls,
        *,
        seed: int,
        addresses: tuple[str, ...],
        certificates: CertificateAuthority | None = None,
    ) -> Kernel:
        """A kernel whose random numbers follow `seed` and whose certificates name `addresses`.

        Keys and passwords do not follow the seed, so that a leaked one is useless in another run.
        `certificates`: the authority of a caller that needs it before the kernel exists; it must
        name the same addresses.
        """
        clock = Clock()
        return cls(
            clock=clock,
            random=random.Random(seed),  # noqa: S311 - chance, not secrets
            certificates=certificates or CertificateAuthority(addresses=addresses),
            tokens=TokenAuthority(clock=clock),
        )

    def latency(self, operation: str) -> AbstractAsyncContextManager[None]:
        """A call of `service.operation` takes as long as the profile says."""
        return self.faults.latency.around(operation, self.random)
