"""The management port's route for the lengths of ARM's asynchronous operations."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from local_azure.container_registry.models import CloudSettings, OperationLengths
from local_azure.stack.management_routes import OperationRoutes


async def test_the_lengths_of_operations_are_shown_and_set() -> None:
    settings, application = CloudSettings(), web.Application()
    application.router.add_routes(OperationRoutes(settings).table())
    wanted = {
        "change": {"leastSeconds": 1.0, "mostSeconds": 2.0},
        "deletion": {"leastSeconds": 0.0, "mostSeconds": 0.0},
    }
    async with TestClient(TestServer(application)) as client:
        async with client.put("/operationLengths", json=wanted) as answer:
            assert (answer.status, await answer.json()) == (200, wanted)
        async with client.get("/operationLengths") as answer:
            assert await answer.json() == wanted
    assert settings.operation_lengths == OperationLengths(change=(1.0, 2.0), deletion=(0.0, 0.0))
