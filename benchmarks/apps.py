"""firstpull on a local Azure. A benchmark imports this within `trusted_authority`, as that says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from benchmarks.trust import Trust
from local_azure.commands.function_app import ScalableApp, run_function_app
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack

_SEED = 20261129


@asynccontextmanager
async def running_app(
    trust: Trust,
    connected_registries: Iterable[ConnectedRegistryOptions],
    *,
    on_change: Callable[[str], None] | None = None,
) -> AsyncIterator[tuple[Stack, ScalableApp]]:
    """An Azure and a host of its own, which works at what it is asked for alone.

    With `on_change`, a host that is killed is started again.
    """
    address, authority, ca_file = trust
    options = StackOptions(
        seed=_SEED, connected_registries=tuple(connected_registries), event_subscriptions=()
    )
    async with (
        start_stack(options, address=address, certificates=authority) as stack,
        run_function_app(
            stack,
            ca_file=ca_file,
            on_line=lambda _: None,
            on_change=on_change,
            more_settings={"AzureWebJobs__sweep__Disabled": "true"},
        ) as app,
    ):
        yield stack, app
