from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from local_azure.kernel import Kernel
from local_azure.kernel.access import Access
from local_azure.kernel.calls import CallLog
from local_azure.kernel.faults import Faults


@pytest.fixture(scope="session")
def shared_kernel() -> Kernel:
    """One for the session, because a new key and new certificates take time."""
    return Kernel.create(seed=7, addresses=("127.0.0.1",))


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """A kernel whose clock may be ahead, and otherwise new."""
    return replace(
        shared_kernel,
        random=Random(7),  # noqa: S311 - chance, not secrets
        faults=Faults(),
        calls=CallLog(),
        access=Access(),
    )


@pytest.fixture(scope="session")
def kernel_ca(shared_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate authority of the kernel as a file."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_text(shared_kernel.certificates.ca_pem)
    return path
