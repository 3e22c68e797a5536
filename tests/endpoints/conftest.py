from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_azure.stack import ConnectedRegistryOptions, Stack

from .documents import ROLES, new_webhook_key
from .endpoints import Endpoints, open_endpoints, policy_for
from .ways_in import onboard_by_each


@pytest.fixture(scope="package")
async def doors_stack(stack: Stack) -> Stack:
    """The session's stack with the connected registries of these tests."""
    for name in (
        *("doorone", "doortwo", "doorsmall", "doorsynced", "doorapart"),
        *("atticone", "attictwo", "doorswept"),
    ):
        if stack.sites.get(name) is None:  # the package may have been left and come back to
            await stack.sites.deploy(ConnectedRegistryOptions(name=name, sync_every_seconds=3600.0))
    return stack


@pytest.fixture(scope="package")
async def endpoints(doors_stack: Stack, ca_file: Path) -> AsyncIterator[Endpoints]:
    """The app with every endpoint and trigger on."""
    policy = policy_for(
        doors_stack,
        defaultOnboarding={"connectedRegistry": "doortwo", "repositories": ["line/default"]},
        enrollments={"line": {"connectedRegistry": "doorone", **ROLES}},
    )
    async with open_endpoints(
        doors_stack,
        ca_file=str(ca_file),
        policy=policy,
        webhook_keys=(new_webhook_key(), new_webhook_key()),
        system_key=secrets.token_urlsafe(32),
    ) as opened:
        yield opened


@pytest.fixture(scope="package")
async def each_way(endpoints: Endpoints) -> Endpoints:
    """The app with one device onboarded by each endpoint and trigger."""
    await onboard_by_each(endpoints)
    return endpoints


@pytest.fixture(scope="package")
async def reserved_doors(doors_stack: Stack, ca_file: Path) -> AsyncIterator[Endpoints]:
    """An app that onboards nobody by default, and takes no webhooks."""
    async with open_endpoints(
        doors_stack,
        ca_file=str(ca_file),
        policy=policy_for(doors_stack),
        system_key=secrets.token_urlsafe(32),
    ) as opened:
        yield opened
