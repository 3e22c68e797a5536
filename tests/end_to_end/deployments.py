"""Deployments of firstpull that keep to themselves on a stack that others use, too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from local_azure.azurite import run_azurite
from local_azure.azurite.gate import StorageUrls
from local_azure.commands.function_app import app_settings
from local_azure.stack import Stack
from local_azure.stack.storage_gates import run_storage_gates


def settings_of(
    stack: Stack,
    deployment: str,
    *plants: str,
    capacity: int | None = None,
    storage: StorageUrls | None = None,
) -> dict[str, str]:
    """The settings of a deployment whose policy lists these connected registries only.

    Its storage is the stack's where no other is given.
    """
    policy = json.loads(app_settings(stack)["FIRSTPULL_POLICY"])
    listed = {entry["name"]: entry for entry in policy["connectedRegistries"]}
    more = {"capacity": capacity} if capacity is not None else {}
    policy["connectedRegistries"] = [{**listed[name], **more} for name in plants]
    del policy["sites"]
    settings = {
        "FIRSTPULL_DEPLOYMENT": deployment,
        "FIRSTPULL_POLICY": json.dumps(policy),
    }
    if storage is not None:
        settings |= {
            "AzureWebJobsStorage__blobServiceUri": storage.blob_url,
            "AzureWebJobsStorage__queueServiceUri": storage.queue_url,
            "AzureWebJobsStorage__tableServiceUri": storage.table_url,
        }
    return settings


@asynccontextmanager
async def another_storage(stack: Stack) -> AsyncIterator[StorageUrls]:
    """A second storage account, as a second deployment has it; it asks for roles, too."""
    async with (
        run_azurite(
            host=stack.address,
            certificate_pem=stack.kernel.certificates.server_certificate_pem,
            key_pem=stack.kernel.certificates.server_key_pem,
            account_name="seconddeployment",
        ) as storage,
        run_storage_gates(stack.kernel, storage, address=stack.address) as urls,
    ):
        yield urls
