from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector
from aiohttp.test_utils import TestServer, unused_port
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient

from local_azure.container_registry.models import (
    AT_ONCE,
    CloudSettings,
    ContainerRegistryCloud,
    Registry,
)
from local_azure.container_registry.responses import ContainerRegistryService
from local_azure.kernel import Kernel
from local_azure.resource_manager.application import create_arm_application
from local_azure.resource_manager.directory import Directory
from local_azure.resource_manager.links import Links
from local_azure.resource_manager.throttling import Throttle

from .arm_harness import AUDIENCE, REGISTRY_ID, Arm, LocalCredential


@pytest.fixture
def cloud(kernel: Kernel) -> ContainerRegistryCloud:
    """Tokens are active at once, unless a test sets a time; pages hold three."""
    settings = CloudSettings(operation_lengths=AT_ONCE, page_size=3)
    return ContainerRegistryCloud(clock=kernel.clock, random=kernel.random, settings=settings)


@pytest.fixture
def registry(cloud: ContainerRegistryCloud) -> Registry:
    return cloud.create_registry(REGISTRY_ID, login_server="contosofleet.azurecr.io")


@pytest.fixture
async def arm(
    kernel: Kernel, cloud: ContainerRegistryCloud, registry: Registry
) -> AsyncIterator[Arm]:
    port = unused_port()
    endpoint = f"https://127.0.0.1:{port}"
    throttle = Throttle(clock=kernel.clock, limits=None)
    application = create_arm_application(
        kernel,
        routes=ContainerRegistryService(
            kernel, cloud, Links(endpoint=endpoint, page_size=20)
        ).routes(),
        directory=Directory(cloud.resources),
        audiences=(AUDIENCE,),
        throttle=throttle,
    )
    server = TestServer(application, host="127.0.0.1", port=port, scheme="https")
    await server.start_server(ssl=kernel.certificates.server_context())
    connector = TCPConnector(ssl=kernel.certificates.client_context())
    async with ClientSession(connector=connector) as session:
        yield Arm(kernel, cloud, registry, throttle, endpoint, session)
    await server.close()


@pytest.fixture
async def client(arm: Arm, kernel_ca: Path) -> AsyncIterator[ContainerRegistryManagementClient]:
    """The unmodified SDK, without retries."""
    async with ContainerRegistryManagementClient(
        LocalCredential(arm.kernel),
        REGISTRY_ID.subscription_id,
        base_url=arm.endpoint,
        connection_verify=str(kernel_ca),
        polling_interval=0.01,
        retry_total=0,
    ) as client:
        yield client
