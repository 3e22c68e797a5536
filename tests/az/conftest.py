"""A local Azure of its own, and azure-cli logged in to it. Skipped where there is no az."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from local_azure.commands.function_app import FunctionApp, run_function_app
from local_azure.commands.up import shell_environment
from local_azure.container_registry.models import AT_ONCE
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack

from .azure_cli import AzureCli

_INSTALLED = Path(__file__).parents[2] / ".local" / "azure-cli" / "bin" / "az"
AZ = Path(os.environ.get("FIRSTPULL_AZ", _INSTALLED))


@pytest.fixture(scope="session", autouse=True)
def _needs_az() -> None:
    if not AZ.exists():
        pytest.skip("azure-cli is not installed; `make az` does that")


@pytest.fixture(scope="session")
async def cloud(_needs_az: None) -> AsyncIterator[Stack]:
    """Synced on request only, so that tests see what a sync changes."""
    options = StackOptions(
        seed=5,
        connected_registries=tuple(
            ConnectedRegistryOptions(name=name, sync_every_seconds=3600)
            for name in ("plantone", "planttwo", "plantthree", "plantfour")
        ),
        operation_lengths=AT_ONCE,
        throttled=False,
    )
    async with start_stack(options) as stack:
        yield stack


@pytest.fixture(scope="session")
async def app(cloud: Stack, trusted: Path) -> AsyncIterator[FunctionApp]:
    """firstpull on the same cloud."""
    lines: list[str] = []
    async with run_function_app(cloud, ca_file=str(trusted), on_line=lines.append) as running:
        yield running


@pytest.fixture(scope="session")
def trusted(cloud: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cloud's certificate authority as a file, with room for azure-cli beside it."""
    file = tmp_path_factory.mktemp("azure") / "ca.pem"
    file.write_text(cloud.ca_pem)
    return file


@pytest.fixture(scope="session")
def shell(cloud: Stack, app: FunctionApp, trusted: Path) -> AzureCli:
    """A shell that has read the environment file of `make up`, and knows nothing else."""
    environment = {
        **shell_environment(cloud, app, ca_file=trusted),
        "HOME": str(trusted.parent),
        "PATH": os.pathsep.join([str(AZ.parent), os.environ["PATH"]]),
    }
    return AzureCli(az=str(AZ), environment=environment)


@pytest.fixture(scope="session")
async def az(shell: AzureCli, cloud: Stack, tmp_path_factory: pytest.TempPathFactory) -> AzureCli:
    """azure-cli, logged in, with a configuration of its own."""
    folder = tmp_path_factory.mktemp("az")
    logged_in = replace(
        shell, environment={**shell.environment, "AZURE_CONFIG_DIR": str(folder / "azure")}
    )
    await logged_in.log_in(cloud.arm_endpoint)
    return logged_in
