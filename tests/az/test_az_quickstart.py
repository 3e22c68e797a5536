"""Microsoft's quickstart for pulling from a connected registry, word for word."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.stack import Stack
from local_azure.stack.options import RESOURCE_GROUP, SUBSCRIPTION_ID, TENANT_ID

from .azure_cli import AzureCli, clients_of, log_in_at, registry_of, site_of, value_of

PLANT = "plantfour"

# https://learn.microsoft.com/azure/container-registry/pull-images-from-connected-registry
TOKEN = "myconnectedregistry-client-token"  # noqa: S105 - the name of a token
CREATE_SCOPE_MAP = """
az acr scope-map create \\
  --name hello-world-scopemap \\
  --registry $REGISTRY_NAME \\
  --repository hello-world content/read \\
  --description "Scope map for the connected registry."
"""
MAKE_CLIENT = """
az acr token create \\
  --name myconnectedregistry-client-token \\
  --registry $REGISTRY_NAME \\
  --scope-map hello-world-scopemap
"""
ADD_CLIENT = """
az acr connected-registry update \\
  --name $CONNECTED_REGISTRY_RW \\
  --registry $REGISTRY_NAME \\
  --add-client-token myconnectedregistry-client-token
"""
PULL = """
skopeo login --authfile auth.json -u $USERNAME -p $PASSWORD $CONNECTED_REGISTRY_ENDPOINT
skopeo --tmpdir . copy --authfile auth.json \\
  docker://$CONNECTED_REGISTRY_ENDPOINT/hello-world:latest dir:image
"""


@pytest.fixture(autouse=True)
def _nothing_left(cloud: Stack) -> Iterator[None]:
    yield
    registry = registry_of(cloud)
    registry.update_connected_registry(PLANT, ConnectedRegistryChanges(client_token_ids=()))
    registry.delete_token(TOKEN)
    registry.delete_scope_map("hello-world-scopemap")


async def test_the_session_is_the_local_cloud_s(az: AzureCli, cloud: Stack) -> None:
    account = await az("account", "show")
    assert account["id"] == SUBSCRIPTION_ID
    assert account["tenantId"] == TENANT_ID
    assert account["environmentName"] == "LocalAzure"
    endpoints = (await az("cloud", "show"))["endpoints"]
    assert endpoints["resourceManager"] == cloud.arm_endpoint


@pytest.mark.parametrize("where", ["", f"--resource-group {RESOURCE_GROUP}"])
async def test_the_three_commands_let_a_client_log_in_after_the_next_sync(
    az: AzureCli, cloud: Stack, where: str
) -> None:
    here = replace(az, environment={**az.environment, "CONNECTED_REGISTRY_RW": PLANT})

    async def run(command: str) -> Any:  # noqa: ANN401 - whatever az answers
        return json.loads(await here.script(f"{command.rstrip()} {where}"))

    scope_map = await run(CREATE_SCOPE_MAP)
    assert scope_map["actions"] == ["repositories/hello-world/content/read"]
    token = await run(MAKE_CLIENT)
    assert token["scopeMapId"] == scope_map["id"]
    updated = await run(ADD_CLIENT)
    assert updated["clientTokenIds"] == [token["id"]]
    passwords = [value_of(token["credentials"], name) for name in ("password1", "password2")]
    for password in passwords:
        assert await log_in_at(cloud, PLANT, username=TOKEN, password=password) == 401
    site_of(cloud, PLANT).backend.sync()
    for password in passwords:
        assert await log_in_at(cloud, PLANT, username=TOKEN, password=password) == 200


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
async def test_skopeo_pulls_with_the_password_that_az_printed(
    az: AzureCli, cloud: Stack, trusted: Path, tmp_path: Path
) -> None:
    token = await az(
        *("acr", "token", "create", "--name", "skopeo-token"),
        *("--registry", az.environment["REGISTRY_NAME"]),
        *("--repository", "hello-world", "content/read"),
    )
    await az(
        *("acr", "connected-registry", "update", "--name", PLANT),
        *("--registry", az.environment["REGISTRY_NAME"], "--add-client-tokens", "skopeo-token"),
    )
    site = site_of(cloud, PLANT)
    site.backend.sync()
    device = replace(
        az,
        environment={
            "PATH": az.environment["PATH"],
            "HOME": str(tmp_path),
            "SSL_CERT_FILE": str(trusted),
            "CONNECTED_REGISTRY_ENDPOINT": site.endpoint,
            "USERNAME": "skopeo-token",
            "PASSWORD": value_of(token["credentials"], "password2"),
        },
    )
    await device.script(f"cd {tmp_path}\n{PULL}")
    assert json.loads((tmp_path / "image" / "manifest.json").read_text())["layers"]
    assert clients_of(cloud, PLANT) == {"skopeo-token"}
