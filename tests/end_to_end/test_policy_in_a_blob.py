"""The app with its policy in a blob of its own storage account."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob.aio import BlobServiceClient

from firstpull.adapters.storage import BlobPolicy
from firstpull.model.errors import Blocked
from firstpull.model.reasons import Reason
from local_azure.commands.function_app import app_settings
from local_azure.stack import Stack

from .api import Api, running_app
from .cloud import register

PLANT, OTHER = "plant01", "plant02"
_WITHIN = 60.0
"""Seconds within which a changed policy counts."""


class PolicyBlob:
    """The blob, as an operator writes it."""

    def __init__(self, stack: Stack) -> None:
        self.connection_string = stack.storage.connection_string
        self.path = f"policy/{secrets.token_hex(4)}.json"

    async def write(self, content: bytes) -> None:
        """Replace the blob; its container is there already in Azure."""
        container, _, name = self.path.partition("/")
        async with BlobServiceClient.from_connection_string(self.connection_string) as blobs:
            client = blobs.get_container_client(container)
            if not await client.exists():
                await client.create_container()
            await client.upload_blob(name, content, overwrite=True)


def document(stack: Stack, *names: str, padding: int = 0) -> bytes:
    """The local policy with these connected registries, and many that nobody has."""
    policy: dict[str, Any] = json.loads(app_settings(stack)["FIRSTPULL_POLICY"])
    listed = [entry for entry in policy["connectedRegistries"] if entry["name"] in names]
    more = [{"name": f"nobody{number:06}", "repositories": ["x"]} for number in range(padding)]
    return json.dumps({**policy, "connectedRegistries": [*listed, *more], "sites": []}).encode()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds, at most as long as a changed policy may take."""
    give_up = time.monotonic() + _WITHIN
    while not await holds():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def blob(stack: Stack) -> PolicyBlob:
    return PolicyBlob(stack)


@pytest.fixture(scope="module")
async def api(stack: Stack, ca_file: Path, blob: PolicyBlob) -> AsyncIterator[Api]:
    await blob.write(document(stack, PLANT, padding=3000))
    settings = {"FIRSTPULL_POLICY": "", "FIRSTPULL_POLICY_BLOB": blob.path}
    async with running_app(stack, ca_file, more_settings=settings) as api:
        yield api


@pytest.mark.slow
async def test_an_app_takes_a_policy_of_more_than_128_kib_and_a_later_one_within_a_minute(
    api: Api, stack: Stack, blob: PolicyBlob
) -> None:
    assert len(document(stack, PLANT, padding=3000)) > 128 * 1024
    register(stack, "large-policy")
    assert (await api.onboard("large-policy", PLANT, wait=20)).status == 200
    assert (await api.onboard("later-policy", OTHER)).status == 403

    async def is_allowed() -> bool:
        return (await api.onboard("later-policy", OTHER)).status == 202

    await blob.write(document(stack, PLANT, OTHER))
    await until(is_allowed)


@pytest.mark.slow
async def test_a_wrong_policy_leaves_the_one_before_and_readiness_says_so(
    api: Api, stack: Stack, blob: PolicyBlob
) -> None:
    async def warns() -> bool:
        answer = await api.ask("GET", "/api/readyz", key="")
        assert answer.status == 200
        return bool(answer.document.get("warning") == "PolicyNotValid")

    async def is_well() -> bool:
        return not await warns()

    await blob.write(b"{}")
    await until(warns)
    assert (await api.onboard("kept-policy", PLANT)).status == 202
    await blob.write(document(stack, PLANT, OTHER))
    await until(is_well)


async def test_a_blob_that_did_not_change_is_not_sent_again(stack: Stack) -> None:
    blob = PolicyBlob(stack)
    source = BlobPolicy.from_connection_string(blob.connection_string, blob.path)
    with pytest.raises(Blocked) as raised:
        await source.read(known=None)
    assert raised.value.reason is Reason.POLICY_NOT_VALID
    await blob.write(b"{}")
    first = await source.read(known=None)
    assert first is not None
    assert (first.value, await source.read(known=first.etag)) == (b"{}", None)
    await blob.write(b"[]")
    second = await source.read(known=first.etag)
    assert second is not None
    assert second.value == b"[]"
