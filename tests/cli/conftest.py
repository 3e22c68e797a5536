from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from local_azure.stack import Stack
from tests.end_to_end.actions import write_clients
from tests.endpoints.endpoints import Endpoints, open_endpoints, policy_for

from .command import Operator

OURS = ("plant23", "plant24", "plant25", "plant26")
"""No other test uses them."""
SITES = [
    {"name": "works", "connectedRegistries": OURS[:2]},
    {"name": "small", "connectedRegistries": OURS[2:]},
]


def connected_registries(stack: Stack, names: Iterable[str]) -> list[dict[str, object]]:
    """Entries of a policy; those of the site `small` take one client."""
    return [
        {
            "name": name,
            "repositories": ["hello-world", "line/*"],
            "ca": stack.ca_pem,
            **({"capacity": 1} if name in OURS[2:] else {}),
        }
        for name in names
    ]


@pytest.fixture(scope="module")
async def service(stack: Stack, ca_file: Path) -> AsyncIterator[Endpoints]:
    """The app with four connected registries in two sites, whose lists of clients are empty."""
    for name in OURS:
        write_clients(stack, name, [])
    policy = policy_for(
        stack,
        connectedRegistries=connected_registries(stack, OURS),
        sites=SITES,
        adoptableTokens=["*"],
    )
    key = secrets.token_urlsafe(32)
    async with open_endpoints(stack, ca_file=str(ca_file), policy=policy, system_key=key) as opened:
        yield opened


@pytest.fixture
def operator(service: Endpoints, tmp_path: Path) -> Operator:
    """An operator of that app."""
    return operator_of(service, tmp_path)


def operator_of(service: Endpoints, home: Path) -> Operator:
    """An operator with the app's keys in the environment."""
    variables = {
        "FIRSTPULL_URL": service.app.url,
        "FIRSTPULL_KEY": service.app.key,
        "FIRSTPULL_MASTER_KEY": service.app.master_key,
    }
    return Operator(home, variables)
