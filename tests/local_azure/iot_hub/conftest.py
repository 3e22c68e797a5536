from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from local_azure.iot_hub import IotHub
from local_azure.kernel import Kernel
from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kernel.clock import Clock
from local_azure.kernel.tokens import TokenAuthority

from .hub_stack import HubHttp, HubMqtt, MachineTime, new_kernel


@pytest.fixture
def clock() -> Clock:
    return Clock(source=lambda: datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def model(clock: Clock) -> IotHub:
    """A hub by itself, in a time that stands still."""
    return IotHub(name="hub", clock=clock, random=Random(7))  # noqa: S311 - chance, not secrets


@pytest.fixture(scope="session")
def mqtt_address() -> str:
    """An address that no other stack on this machine is likely to use."""
    return f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(254) + 1}.9"


@pytest.fixture(scope="session")
def certificates(mqtt_address: str) -> CertificateAuthority:
    return CertificateAuthority(addresses=("127.0.0.1", mqtt_address))


@pytest.fixture(scope="session")
def ca_file(certificates: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("iot_hub") / "ca.pem"
    path.write_text(certificates.ca_pem)
    return str(path)


@pytest.fixture(scope="session")
def tokens() -> TokenAuthority:
    return TokenAuthority(clock=Clock())


@pytest.fixture
def machine_time() -> MachineTime:
    return MachineTime()


@pytest.fixture
def kernel(
    certificates: CertificateAuthority, tokens: TokenAuthority, machine_time: MachineTime
) -> Kernel:
    """A kernel in the machine's time, because SDKs sign with that."""
    return new_kernel(certificates, tokens, machine_time)


@pytest.fixture
def hub(kernel: Kernel) -> IotHub:
    return IotHub(name="hub", clock=kernel.clock, random=kernel.random)


@pytest.fixture
async def http(kernel: Kernel, hub: IotHub) -> AsyncIterator[HubHttp]:
    served = await HubHttp(kernel, hub).start()
    yield served
    await served.close()


@pytest.fixture
async def mqtt(kernel: Kernel, hub: IotHub, mqtt_address: str) -> AsyncIterator[HubMqtt]:
    served = await HubMqtt(kernel, hub, mqtt_address).start()
    yield served
    await served.close()
