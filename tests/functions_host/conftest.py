from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from local_azure.azurite import run_azurite
from local_azure.kernel import Kernel

from .hosts import Storage


@pytest.fixture(scope="session")
async def storage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Storage]:
    certificates = Kernel.create(seed=1, addresses=("127.0.0.1",)).certificates
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca_file.write_text(certificates.ca_pem)
    async with run_azurite(
        host="127.0.0.1",
        certificate_pem=certificates.server_certificate_pem,
        key_pem=certificates.server_key_pem,
    ) as endpoints:
        yield Storage(endpoints, str(ca_file))
