"""firstpull as a function app on a stack: its settings and its hosts."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local_azure.commands.processes import OnLine, inherited, running
from local_azure.stack import Stack
from local_azure.stack.options import CLIENT_ID, HUB_NAME

APP_FOLDER = Path(__file__).parents[2]
_START_SECONDS = 60.0


class AppNotStarted(Exception):
    """The function app did not start; its output has the reason."""


@dataclass(frozen=True, kw_only=True)
class FunctionApp:
    """A running app. `urls`: plain HTTP, one per host, without a slash at the end."""

    urls: tuple[str, ...]
    key: str = field(repr=False)
    master_key: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @property
    def url(self) -> str:
        """The URL of the first host."""
        return self.urls[0]


def app_settings(stack: Stack) -> dict[str, str]:
    """The app's settings, as in Azure with local addresses."""
    return {
        "FIRSTPULL_POLICY": json.dumps(_policy(stack)),
        "FIRSTPULL_KEY_VAULT_URL": stack.key_vault_url,
        "FIRSTPULL_ARM_ENDPOINT": stack.arm_endpoint,
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


@asynccontextmanager
async def run_function_app(
    stack: Stack,
    *,
    ca_file: str,
    on_line: OnLine,
    hosts: int = 1,
    more_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[FunctionApp]:
    """Run the app in `hosts` processes on one storage account, as Azure scales out."""
    key, master_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    environment = {
        **inherited("PATH", "HOME", "LANG", "TMPDIR"),
        **stack.identity_environment(ca_file=ca_file),
        **app_settings(stack),
        **(more_settings or {}),
        "LOCAL_FUNCTIONS_KEY": key,
        "LOCAL_FUNCTIONS_MASTER_KEY": master_key,
        "PYTHONUNBUFFERED": "1",
    }
    async with AsyncExitStack() as processes:
        starting = [
            _start_host(processes, stack.address, environment, on_line) for _ in range(hosts)
        ]
        urls = [await start for start in starting]
        yield FunctionApp(urls=tuple(urls), key=key, master_key=master_key, environment=environment)


async def _start_host(
    processes: AsyncExitStack, address: str, environment: Mapping[str, str], on_line: OnLine
) -> str:
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def watch(line: str) -> None:
        if not listening.done() and line.startswith('{"listening"'):
            listening.set_result(json.loads(line)["listening"].rstrip("/"))
        else:
            on_line(line)

    process = await processes.enter_async_context(
        running(
            sys.executable,
            *("-m", "local_azure.functions_host"),
            *("--app-dir", str(APP_FOLDER), "--host", address, "--port", "0"),
            environment={**environment, "PYTHONPATH": str(APP_FOLDER)},
            on_line=watch,
        )
    )
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.wait(
            (listening, ended), timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        ended.cancel()
    if not listening.done():
        raise AppNotStarted("The function app did not start; the lines above have the reason.")
    return listening.result()
