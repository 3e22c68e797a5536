"""`make up`: the local Azure and firstpull on it, until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_azure.azurite import AzuriteNotInstalled, AzuriteNotStarted
from local_azure.commands.function_app import (
    AppNotStarted,
    FunctionApp,
    app_settings,
    run_function_app,
)
from local_azure.commands.workplace import Workplace, WorkplaceInUse
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack
from local_azure.stack.options import REGISTRY_NAME, RESOURCE_GROUP, SUBSCRIPTION_ID

CONNECTED_REGISTRY = "plantone"
_AZURE_CONFIG = "azure-config"


def main() -> int:
    """Run until Ctrl-C or SIGTERM. 1 when something did not start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    Workplace.add_option(parser)
    arguments = parser.parse_args()
    try:
        with arguments.workplace.lock():
            return asyncio.run(_serve(arguments.workplace, seed=arguments.seed))
    except (AppNotStarted, AzuriteNotInstalled, AzuriteNotStarted, WorkplaceInUse) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def default_options(*, seed: int) -> StackOptions:
    """A connected registry with 50 clients at most, and one with 2."""
    return StackOptions(
        seed=seed,
        connected_registries=(
            ConnectedRegistryOptions(name=CONNECTED_REGISTRY),
            ConnectedRegistryOptions(name="planttwo", max_clients=2),
        ),
    )


def shell_environment(stack: Stack, app: FunctionApp, *, ca_file: Path) -> dict[str, str]:
    """The environment for a shell of the operator."""
    site = stack.sites.all()[0]
    return {
        "FIRSTPULL_URL": app.url,
        "FIRSTPULL_KEY": app.key,
        "FIRSTPULL_MASTER_KEY": app.master_key,
        "ARM_ENDPOINT": stack.arm_endpoint,
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION_ID,
        "AZURE_RESOURCE_GROUP": RESOURCE_GROUP,
        "REGISTRY_NAME": REGISTRY_NAME,
        "CONNECTED_REGISTRY": site.options.name,
        "CONNECTED_REGISTRY_ENDPOINT": site.endpoint,
        "KEY_VAULT_URL": stack.key_vault_url,
        "IOT_HUB_HOSTNAME": stack.iot_hub_host_name,
        "IDENTITY_ENDPOINT": stack.identity_endpoint,
        "IDENTITY_HEADER": stack.operator_identity_header,
        "AZURE_STORAGE_CONNECTION_STRING": stack.storage.connection_string,
        "LOCAL_AZURE_MANAGEMENT_URL": stack.management_url,
        "CA_BUNDLE": str(ca_file),
        **_azure_cli_environment(ca_file=ca_file),
    }


def _azure_cli_environment(*, ca_file: Path) -> dict[str, str]:
    """Variables that separate azure-cli from the user's own configuration, with the CA."""
    return {
        "AZURE_CONFIG_DIR": str(ca_file.with_name(_AZURE_CONFIG)),
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "REQUESTS_CA_BUNDLE": str(ca_file),
    }


async def _serve(workplace: Workplace, *, seed: int) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _print(f"Starting the local Azure (seed {seed}) …")
    async with start_stack(default_options(seed=seed)) as stack:
        with workplace.ca("ca", stack.ca_pem) as ca_file:
            await _serve_app(stack, workplace, ca_file=ca_file, stop=stop)
    return 0


async def _serve_app(
    stack: Stack, workplace: Workplace, *, ca_file: Path, stop: asyncio.Event
) -> None:
    with _temporary_azure_config(ca_file.with_name(_AZURE_CONFIG)):
        webhook_key = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        async with run_function_app(
            stack,
            ca_file=str(ca_file),
            on_line=_print,
            more_settings=_optional_settings(stack, webhook_key),
        ) as app:
            variables = shell_environment(stack, app, ca_file=ca_file)
            variables["WEBHOOK_KEY"] = webhook_key
            with workplace.environment(variables) as file:
                _print(_INSTRUCTIONS.format(file=file, management=stack.management_url))
                await stop.wait()
                _print("Stopping …")


def _optional_settings(stack: Stack, webhook_key: str) -> dict[str, str]:
    """Settings that are off by default: signed webhooks, and adopting tokens."""
    policy = json.loads(app_settings(stack)["FIRSTPULL_POLICY"])
    return {
        "FIRSTPULL_POLICY": json.dumps({**policy, "adoptableTokens": ["*"]}),
        "FIRSTPULL_WEBHOOK_KEYS": webhook_key,
    }


@contextmanager
def _temporary_azure_config(folder: Path) -> Iterator[None]:
    """Remove azure-cli's configuration, because the next run has other addresses."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_INSTRUCTIONS = """
firstpull runs on the local Azure. In another shell:

  . {file}
  # register a device in the hub
  TOKEN=$(curl -s -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" \\
    "$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://iothubs.azure.net" |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
  curl -s --cacert $CA_BUNDLE -X PUT -H "Authorization: Bearer $TOKEN" \\
    -H 'Content-Type: application/json' -d '{{"deviceId":"gateway-1"}}' \\
    "https://$IOT_HUB_HOSTNAME/devices/gateway-1?api-version=2021-04-12"
  # the webhook onboards it
  curl -s -X POST $FIRSTPULL_URL/api/devices -H "x-functions-key: $FIRSTPULL_KEY" \\
    -H 'Prefer: wait=20' -d '{{"deviceId":"gateway-1","connectedRegistry":"'$CONNECTED_REGISTRY'",
    "repositories":["hello-world"]}}'
  # its twin has the credentials
  curl -s --cacert $CA_BUNDLE -H "Authorization: Bearer $TOKEN" \\
    "https://$IOT_HUB_HOSTNAME/twins/gateway-1?api-version=2021-04-12"

Management port (faults, clock, syncs, call counts): {management}/
Ctrl-C stops everything.
"""


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command


if __name__ == "__main__":
    sys.exit(main())
