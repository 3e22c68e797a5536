"""What every local service shares: time, chance, certificates, tokens, roles, faults and counts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from local_azure.kernel.access import Access
from local_azure.kernel.calls import CallLog
from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kernel.clock import Clock
from local_azure.kernel.faults import Faults
from local_azure.kernel.tokens import TokenAuthority

__all__ = ["Kernel"]


@dataclass(frozen=True)
class Kernel:
    """One set per stack. Services keep their own state and take everything else from here."""

    clock: Clock
    random: random.Random
    certificates: CertificateAuthority
    tokens: TokenAuthority
    faults: Faults = field(default_factory=Faults)
    calls: CallLog = field(default_factory=CallLog)
    access: Access = field(default_factory=Access)

    @classmethod
    def create(
        cls,
        *,
        seed: int,
        addresses: tuple[str, ...],
        clock: Clock | None = None,
        certificates: CertificateAuthority | None = None,
    ) -> Kernel:
        """A kernel whose chance is `seed`'s and whose certificates name `addresses`.

        Keys and passwords are new at each start whatever the seed: nothing that was
        leaked from one run opens another. `certificates` are for who must know the
        authority before the kernel starts; they name the same addresses.
        """
        clock = clock or Clock()
        return cls(
            clock=clock,
            random=random.Random(seed),  # noqa: S311 - chance, not secrets
            certificates=certificates or CertificateAuthority(addresses=addresses),
            tokens=TokenAuthority(clock=clock),
        )
