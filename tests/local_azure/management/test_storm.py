"""A storm: trouble at a share of all calls, and answers that clients must not mind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from local_azure.kernel import Kernel
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.kernel.service import create_application
from local_azure.kernel.storm import KINDS, Oddities, Storm
from local_azure.management import create_management_application

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
DOCUMENT = {"id": "/subscriptions/0000/resourceGroups/g", "value": [{"properties": {"a": 1}}]}


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Iterator[Kernel]:
    yield shared_kernel
    shared_kernel.faults.clear()
    shared_kernel.oddities.clear()


def storm(*, seed: int, share: float = 1.0) -> Storm:
    return Storm(chance=random.Random(seed), share=share, now=lambda: NOON)  # noqa: S311


def met(seed: int, operation: str, *, calls: int = 200) -> list[Fault]:
    weather = storm(seed=seed)
    return [fault for _ in range(calls) if (fault := weather.next_for(operation)) is not None]


def test_the_same_seed_brings_the_same_trouble_of_every_kind() -> None:
    one, other = storm(seed=3), storm(seed=3)
    for _ in range(300):
        first, second = one.next_for("arm.tokens.get"), other.next_for("arm.tokens.get")
        assert (first and first.status) == (second and second.status)
    assert one.met == other.met
    assert set(one.met) == set(KINDS)


def test_a_refusal_for_too_many_calls_says_when_to_come_back_in_three_ways() -> None:
    pauses = {fault.retry_after for fault in met(1, "arm.tokens.get") if fault.status == 429}
    assert {None, "1"} < pauses
    (date,) = pauses - {None, "1"}
    assert date is not None
    assert (parsedate_to_datetime(date) - NOON).total_seconds() == 1


def test_storage_is_never_throttled_by_429_and_bearer_tokens_have_no_trouble() -> None:
    assert {429, 409, 412}.isdisjoint(fault.status for fault in met(1, "table.GET"))
    assert met(1, "identity.token") == []


def test_a_share_of_the_calls_meets_trouble() -> None:
    weather = storm(seed=5, share=0.1)
    found = sum(weather.next_for("arm.tokens.get") is not None for _ in range(2000))
    assert 100 < found < 300


def test_documents_change_their_ids_case_and_grow() -> None:
    odd = Oddities(case_of_ids=True, unknown_fields=True, chance=random.Random(1))  # noqa: S311
    changed = [odd.changed(DOCUMENT) for _ in range(20)]
    assert {each["id"].lower() for each in changed} == {str(DOCUMENT["id"]).lower()}
    assert len({each["id"] for each in changed}) > 1
    assert all("addedLater" in each["value"][0]["properties"] for each in changed)


async def test_a_storm_is_made_and_ended_by_the_management_port(kernel: Kernel) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(DOCUMENT)

    def refusal(*, status: int, code: str | None, message: str) -> web.Response:
        del code
        return web.json_response({"error": message}, status=status)

    service = create_application(kernel, service="arm", render_error=refusal)
    service.router.add_get("/", answer, name="documents")
    management = create_management_application(kernel, seed=1, routes=[])
    async with (
        TestClient(TestServer(service)) as arm,
        TestClient(TestServer(management)) as port,
    ):
        body: dict[str, Any] = {"share": 0.0, "seed": 7, "unknownFields": True, "pageSize": 2}
        assert (await port.put("/storm", json=body)).status == 200
        assert "addedLater" in await (await arm.get("/")).json()
        assert kernel.oddities.page_size == 2
        assert (await port.put("/storm", json={"share": 1, "seed": 2})).status == 200
        fault = kernel.faults.next_for("arm.documents")
        assert fault is not None
        assert fault.kind in FaultKind
        await port.delete("/faults")
        assert await (await arm.get("/")).json() == DOCUMENT
