"""firstpull as a function app on a stack: its settings and its hosts."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local_azure.commands.function_hosts import APP_FOLDER, AppNotStarted, FunctionHosts
from local_azure.commands.processes import OnLine, inherited
from local_azure.stack import Stack
from local_azure.stack.identities import HUB_ID, STORAGE_ID, VAULT_ID
from local_azure.stack.options import CLIENT_ID, HUB_NAME

__all__ = [
    "AppNotStarted",
    "FunctionApp",
    "ScalableApp",
    "app_settings",
    "fleet_page",
    "run_function_app",
]


@dataclass(frozen=True, kw_only=True)
class FunctionApp:
    """A running app. `urls`: plain HTTP, one per host, without a slash at the end."""

    urls: tuple[str, ...]
    key: str = field(repr=False)
    master_key: str = field(repr=False)
    page_key: str = field(default="", repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @property
    def url(self) -> str:
        """The URL of the first host."""
        return self.urls[0]

    @property
    def page(self) -> str:
        """The address of the fleet page, which `page_key` opens."""
        return f"{self.url}/api/fleet"


@dataclass(frozen=True, kw_only=True)
class ScalableApp(FunctionApp):
    """An app whose hosts can be killed, and made more or fewer."""

    hosts: FunctionHosts


def app_settings(stack: Stack) -> dict[str, str]:
    """The app's settings, as in Azure with local addresses."""
    return {
        "FIRSTPULL_POLICY": json.dumps(_policy(stack)),
        "FIRSTPULL_KEY_VAULT_URL": stack.key_vault_url,
        "FIRSTPULL_ARM_ENDPOINT": stack.arm_endpoint,
        "FIRSTPULL_RESOURCE_IDS": ",".join((HUB_ID, VAULT_ID, STORAGE_ID)),
        "AZURE_CLIENT_ID": CLIENT_ID,
        "AzureWebJobsStorage__blobServiceUri": stack.storage_urls.blob_url,
        "AzureWebJobsStorage__queueServiceUri": stack.storage_urls.queue_url,
        "AzureWebJobsStorage__tableServiceUri": stack.storage_urls.table_url,
        "AzureWebJobsStorage__credential": "managedidentity",
        "AzureWebJobsStorage__clientId": CLIENT_ID,
    }


def _policy(stack: Stack) -> dict[str, object]:
    """The policy: all connected registries of the stack in one site."""
    sites = stack.sites.all()
    return {
        "hubs": [{"host": stack.iot_hub_host_name, "name": HUB_NAME}],
        "containerRegistries": [stack.registry_id],
        "connectedRegistries": [
            {
                "name": site.options.name,
                "capacity": site.options.max_clients,
                **({"insecure": True} if site.options.insecure else {"ca": stack.ca_pem}),
            }
            for site in sites
        ],
        "sites": [{"name": "plant", "connectedRegistries": [s.options.name for s in sites]}],
    }


def fleet_page(key: str, *more_roles: str) -> dict[str, str]:
    """The settings that turn the fleet page on, and name a key that opens it."""
    named = {
        "name": "fleet page",
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "roles": ["Reader", *more_roles],
    }
    return {"FIRSTPULL_FLEET_PAGE": "true", "FIRSTPULL_NAMED_KEYS": json.dumps([named])}


@asynccontextmanager
async def run_function_app(
    stack: Stack,
    *,
    ca_file: str,
    on_line: OnLine,
    hosts: int = 1,
    more_settings: Mapping[str, str] | None = None,
    on_change: OnLine | None = None,
    app_folder: Path = APP_FOLDER,
) -> AsyncIterator[ScalableApp]:
    """Run the app in `hosts` processes on one storage account, as Azure scales out.

    `on_line` and `on_change`: see FunctionHosts.
    """
    key, master_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    page_key = secrets.token_urlsafe(32)
    environment = {
        **inherited("PATH", "HOME", "LANG", "TMPDIR"),
        **stack.identity_environment(ca_file=ca_file),
        **app_settings(stack),
        **fleet_page(page_key),
        **(more_settings or {}),
        "LOCAL_FUNCTIONS_KEY": key,
        "LOCAL_FUNCTIONS_MASTER_KEY": master_key,
        "PYTHONUNBUFFERED": "1",
    }
    running = FunctionHosts(
        address=stack.address,
        app_folder=app_folder,
        environment=environment,
        clock=stack.kernel.clock,
        on_line=on_line,
        on_change=on_change,
    )
    async with aclosing(running):
        await running.scale_to(hosts)
        yield ScalableApp(
            urls=tuple(host.url for host in running.all()),
            key=key,
            master_key=master_key,
            page_key=page_key,
            environment=environment,
            hosts=running,
        )
