"""The rows of docs/drift.md that `az` can do, by its commands."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from local_azure.stack import Stack
from local_azure.stack.options import REGISTRY_NAME
from tests.end_to_end.actions import REMEDIES
from tests.end_to_end.cloud import cloud_registry
from tests.end_to_end.deployments import Deployment, Subject, deployed
from tests.end_to_end.drift_rows import check_row, rows

from .azure_cli import AzureCli

PLANT = "plant11"
ROWS = rows()
COMMANDS = {
    "disables the token": "az acr token update -n $TOKEN --status disabled",
    "takes the token off the list": (
        "az acr connected-registry update -n $CONNECTED_REGISTRY --remove-client-tokens $TOKEN"
    ),
    "deletes the token": (
        "az acr connected-registry update -n $CONNECTED_REGISTRY --remove-client-tokens $TOKEN && "
        "az acr token delete -n $TOKEN --yes"
    ),
    "changes the scope map": (
        "az acr scope-map update -n $SCOPE_MAP --remove-repository hello-world content/read "
        "--add-repository sensor-gateway content/read"
    ),
    "gives the token another scope map": (
        "az acr scope-map create -n other-map --repository sensor-gateway content/read && "
        "az acr token update -n $TOKEN --scope-map other-map"
    ),
    "makes a new password1 by hand": "az acr token credential generate -n $TOKEN --password1",
    "makes both passwords anew": "az acr token credential generate -n $TOKEN",
    "deletes the passwords of the token": "az acr token credential delete -n $TOKEN --password1",
    "disables the secret": (
        "az keyvault secret set-attributes --id $KEY_VAULT_URL/secrets/$SECRET --enabled false"
    ),
    "deletes the secret": "az keyvault secret delete --id $KEY_VAULT_URL/secrets/$SECRET",
    "purges the secret": (
        "az keyvault secret delete --id $KEY_VAULT_URL/secrets/$SECRET && "
        "az keyvault secret purge --id $KEY_VAULT_URL/deletedsecrets/$SECRET"
    ),
    "deletes the connected registry": (
        "az acr connected-registry delete -n $CONNECTED_REGISTRY --yes"
    ),
}
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
async def deployment(stack: Stack) -> AsyncIterator[Deployment]:
    async with deployed(stack, "by-az", PLANT) as deployment:
        yield deployment


@pytest.fixture
async def subject(deployment: Deployment, somebody: str, stack: Stack) -> AsyncIterator[Subject]:
    """A device that has logged in. It is revoked afterwards."""
    subject = await deployment.ready_device(f"by-az-{list(COMMANDS).index(somebody)}")
    yield subject
    await deployment.revoke(subject.device_id)
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
    deployment: Deployment, az: AzureCli, subject: Subject, somebody: str
) -> None:
    remedy = REMEDIES.get(somebody)
    await check_row(
        ROWS[somebody],
        deployment,
        subject,
        act=partial(_run, az, COMMANDS[somebody], subject),
        remedy=partial(remedy, deployment.stack, subject) if remedy else None,
    )
