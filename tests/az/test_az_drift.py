"""The rows of docs/drift.md that `az` can do, by its commands as they stand there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from local_azure.stack import Stack
from local_azure.stack.options import REGISTRY_NAME
from tests.end_to_end.actions import REMEDIES
from tests.end_to_end.cloud import cloud_registry, forget_devices
from tests.end_to_end.deployments import settings_of
from tests.end_to_end.drift_rows import Case, Subject, rows, table_below
from tests.end_to_end.in_process import connected
from tests.end_to_end.operators import Operator, operator_of

from .azure_cli import AzureCli

PLANT = "plant11"
ROWS = rows()
COMMANDS = {somebody: command.strip("`") for somebody, command in table_below("By `az`")}
_INSTALLED = Path(__file__).parents[2] / ".local" / "azure-cli" / "bin" / "az"
_AZ = Path(os.environ.get("FIRSTPULL_AZ", _INSTALLED))


@pytest.fixture(scope="module")
async def az(stack: Stack, ca_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AzureCli:
    """azure-cli, logged in to the session's own cloud, where firstpull runs in this process."""
    folder = tmp_path_factory.mktemp("az-drift")
    environment = {
        "IDENTITY_ENDPOINT": stack.identity_endpoint,
        "IDENTITY_HEADER": stack.operator_identity_header,
        "REQUESTS_CA_BUNDLE": str(ca_file),
        "AZURE_CONFIG_DIR": str(folder),
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_DEFAULTS_ACR": REGISTRY_NAME,
        "KEY_VAULT_URL": stack.key_vault_url,
        "HOME": str(folder),
        "PATH": os.pathsep.join([str(_AZ.parent), os.environ["PATH"]]),
    }
    az = AzureCli(az=str(_AZ), environment=environment)
    await az.log_in(stack.arm_endpoint)
    return az


@pytest.fixture(scope="module")
async def case(stack: Stack) -> AsyncIterator[Case]:
    async with connected(stack, settings_of(stack, "by-az", PLANT)) as firstpull:
        yield Case(firstpull, firstpull.application(), PLANT)
    await forget_devices(stack)


@pytest.fixture(scope="module")
async def operator(stack: Stack) -> AsyncIterator[Operator]:
    async with operator_of(stack) as operator:
        yield operator


@pytest.fixture
async def subject(case: Case, somebody: str, stack: Stack) -> AsyncIterator[Subject]:
    """A device that has logged in; afterwards nothing of it is left."""
    subject = await case.ready_device(f"by-az-{list(COMMANDS).index(somebody)}")
    yield subject
    await case.revoke(subject.device_id)
    cloud_registry(stack).delete_scope_map("other-map")


async def _run(az: AzureCli, command: str, subject: Subject) -> None:
    variables = {
        "TOKEN": subject.token,
        "SECRET": subject.secret,
        "SCOPE_MAP": subject.scope_map,
        "CONNECTED_REGISTRY": subject.plant,
    }
    here = AzureCli(az=az.az, environment={**az.environment, **variables})
    await here.script(command)


@pytest.mark.parametrize("somebody", list(COMMANDS))
async def test_what_az_does_is_found_by_the_next_sweep(
    case: Case, az: AzureCli, operator: Operator, subject: Subject, somebody: str
) -> None:
    remedy = REMEDIES.get(somebody)
    await case.goes_through(
        ROWS[somebody],
        subject,
        act=partial(_run, az, COMMANDS[somebody], subject),
        remedy=partial(remedy, operator, subject) if remedy else None,
    )
