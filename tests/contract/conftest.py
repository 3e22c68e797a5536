from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from firstpull.adapters.container_registry import ContainerRegistryAdapter
from local_azure.kernel import Kernel
from local_azure.kernel.certificates import CertificateAuthority

from .local_services import LocalServices


@pytest.fixture
async def azure(authority: CertificateAuthority) -> AsyncIterator[LocalServices]:
    """The local Azure's services as they are by default."""
    kernel = Kernel.create(seed=11, addresses=("127.0.0.1",), certificates=authority)
    async with LocalServices.start(kernel) as services:
        yield services


@pytest.fixture
async def adapter(azure: LocalServices) -> AsyncIterator[ContainerRegistryAdapter]:
    """firstpull's adapter to Azure Resource Manager, against the local one."""
    adapter = azure.adapter()
    yield adapter
    await adapter.close()
