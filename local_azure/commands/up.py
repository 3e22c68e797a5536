"""`make up`: the local Azure and firstpull on it, until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
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
from local_azure.commands.management_routes import HostRoutes
from local_azure.commands.trial_policy import TrialPolicy
from local_azure.commands.workplace import Workplace, WorkplaceInUse
from local_azure.kernel.addresses import NoAddressFree
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack
from local_azure.stack.options import REGISTRY_NAME, RESOURCE_GROUP, SUBSCRIPTION_ID

CONNECTED_REGISTRY = "plantone"
_NOT_STARTED = (AppNotStarted, AzuriteNotInstalled, AzuriteNotStarted, NoAddressFree)
_AZURE_CONFIG = "azure-config"
_MOST_CONNECTED_REGISTRIES = 100
_SESSION = Path(__file__).with_name("session.sh")
_SERVES = re.compile(r" functions_host: serves ")


def main() -> int:
    """Run until Ctrl-C or SIGTERM. 1 when something did not start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    sites = parser.add_mutually_exclusive_group()
    sites.add_argument(
        "--connected-registries",
        type=_count,
        default=2,
        metavar="N",
        help="how many connected registries to deploy, 1 to 100; the second takes 2 clients",
    )
    sites.add_argument(
        "--policy",
        type=TrialPolicy.read,
        metavar="FILE",
        help="a FIRSTPULL_POLICY to try: its connected registries are deployed, and its hubs and "
        "container registries replaced by the local ones",
    )
    Workplace.add_option(parser)
    arguments = parser.parse_args()
    policy: TrialPolicy | None = arguments.policy
    options = StackOptions(
        seed=arguments.seed,
        connected_registries=(
            policy.options() if policy else connected_registries(arguments.connected_registries)
        ),
    )
    try:
        with arguments.workplace.lock():
            return asyncio.run(_serve(arguments.workplace, options, policy))
    except (*_NOT_STARTED, WorkplaceInUse) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def connected_registries(count: int) -> tuple[ConnectedRegistryOptions, ...]:
    """Connected registries for 50 clients each; the second, if there is one, for 2."""
    names = (CONNECTED_REGISTRY, "planttwo", *(f"plant{number}" for number in range(3, count + 1)))
    return tuple(
        ConnectedRegistryOptions(name=name, max_clients=2 if name == "planttwo" else 50)
        for name in names[:count]
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_CONNECTED_REGISTRIES:
        raise argparse.ArgumentTypeError(f"not a number from 1 to {_MOST_CONNECTED_REGISTRIES}")
    return int(text)


def shell_environment(stack: Stack, app: FunctionApp, *, ca_file: Path) -> dict[str, str]:
    """The environment for a shell of the operator."""
    site = stack.sites.all()[0]
    return {
        "FIRSTPULL_URL": app.url,
        "FIRSTPULL_KEY": app.key,
        "FIRSTPULL_MASTER_KEY": app.master_key,
        "FIRSTPULL_PAGE_KEY": app.page_key,
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


class Output:
    """The output of the app: all of it in the log, and on the screen what is not about a start."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def add(self, line: str) -> None:
        """One line."""
        with self.log.open("a") as file:
            file.write(f"{line}\n")
        if not _SERVES.search(line):
            _print(line)


async def _serve(workplace: Workplace, options: StackOptions, policy: TrialPolicy | None) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _print(f"Starting the local Azure (seed {options.seed}) …")
    routes = HostRoutes()
    async with start_stack(options, management=[routes]) as stack:
        with workplace.ca("ca", stack.ca_pem) as ca_file:
            await _serve_app(stack, workplace, policy, routes, ca_file=ca_file, stop=stop)
    return 0


async def _serve_app(
    stack: Stack,
    workplace: Workplace,
    policy: TrialPolicy | None,
    routes: HostRoutes,
    *,
    ca_file: Path,
    stop: asyncio.Event,
) -> None:
    output = Output(workplace.start_log("up"))
    webhook_key = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    with (
        _temporary_azure_config(ca_file.with_name(_AZURE_CONFIG)),
        workplace.policy(_policy(stack, policy)) as policy_file,
    ):
        async with run_function_app(
            stack,
            ca_file=str(ca_file),
            on_line=output.add,
            more_settings={
                "FIRSTPULL_POLICY": "",
                "FIRSTPULL_POLICY_FILE": str(policy_file),
                "FIRSTPULL_WEBHOOK_KEYS": webhook_key,
            },
            on_change=output.add,
        ) as app:
            routes.hosts = app.hosts
            variables = shell_environment(stack, app, ca_file=ca_file)
            variables["WEBHOOK_KEY"] = webhook_key
            variables["PYTHON"] = sys.executable
            with (
                workplace.environment(variables) as file,
                workplace.script("try", _SESSION.read_text()) as script,
            ):
                _print(
                    _INSTRUCTIONS.format(
                        file=file,
                        page=app.page,
                        page_key=app.page_key,
                        script=script,
                        management=stack.management_url,
                        log=output.log,
                        policy=policy_file,
                    )
                )
                await stop.wait()
                _print("Stopping …")


def _policy(stack: Stack, policy: TrialPolicy | None) -> dict[str, object]:
    """The policy to try, or one that also allows to adopt any token."""
    local = json.loads(app_settings(stack)["FIRSTPULL_POLICY"])
    return {**local, "adoptableTokens": ["*"]} if policy is None else policy.on(local)


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

  {script}
    a device, its credential and its first pull, step by step
  . {file}
    addresses and keys, for commands of your own

The fleet page, which the key {page_key} opens:
  {page}

The policy, which counts within a minute after a change: {policy}
Management port (faults, clock, syncs, hosts, call counts): {management}/
The log: {log}
Ctrl-C stops everything.
"""


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command


if __name__ == "__main__":
    sys.exit(main())
