"""The local Azure answers what Azure is known to answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from contract.answers import Answer, Basis, Service, services
from contract.runner import check
from local_azure.management import create_management_application
from local_azure.stack.management_routes import AzurePolicyRoutes

from .local_services import REGISTRY, LocalServices

REFUSALS = [each for service in services() for each in service.answers if each.refusal]
FORBIDDEN = [each for each in REFUSALS if each.refusal and each.refusal.status >= 400]


@pytest.fixture
async def management(azure: LocalServices) -> AsyncIterator[TestClient[Any, Any]]:
    """The management port."""
    routes = AzurePolicyRoutes(azure.cloud.settings).table()
    application = create_management_application(azure.kernel, seed=1, routes=routes)
    async with TestClient(TestServer(application)) as port:
        yield port


@pytest.mark.parametrize("service", services(), ids=lambda service: service.name)
async def test_the_local_azure_answers_what_the_contract_says(
    azure: LocalServices, service: Service
) -> None:
    assert [str(found) for found in await check(service, azure.target(service.name))] == []


def test_each_answer_has_an_id_of_its_own_and_names_its_source() -> None:
    answers = [answer for service in services() for answer in service.answers]
    assert len({answer.id for answer in answers}) == len(answers)
    for answer in answers:
        assert (answer.source == "") is (answer.basis is Basis.ASSUMED), answer.id
        assert (answer.request is None) is (answer.expected is None), answer.id
        assert not (answer.request and answer.not_local), answer.id


@pytest.mark.parametrize("answer", FORBIDDEN, ids=lambda answer: answer.id)
async def test_every_refusal_can_be_set_as_a_fault(
    azure: LocalServices, management: TestClient[Any, Any], answer: Answer
) -> None:
    assert answer.refusal is not None
    status, error = answer.refusal.status, answer.refusal.body["error"]
    inner = error.get("innererror")
    code = (inner or error)["code"]
    fault = {"operation": ".*", "kind": "status", "status": status, "code": code}
    async with management.post("/faults", json=fault) as set_fault:
        assert set_fault.status == 201
    service = "vault" if answer.id.startswith("secrets.") else "arm"
    async with azure.session.put(f"{azure.endpoints[service]}/anything") as refused:
        said = (await refused.json())["error"]
    assert (refused.status, said["code"], said.get("innererror")) == (status, error["code"], inner)


async def test_a_policy_that_disables_every_token_can_be_set(
    azure: LocalServices, management: TestClient[Any, Any]
) -> None:
    registry = azure.registry
    registry.put_scope_map("readers", actions=["repositories/hello-world/content/read"])
    scope_map = REGISTRY.child("scopeMaps", "readers")
    async with management.put("/azurePolicy", json={"disablesTokens": True}) as answer:
        assert (answer.status, await answer.json()) == (200, {"disablesTokens": True})
    assert registry.put_token("device", scope_map_id=scope_map).status == "disabled"
    assert registry.update_token("device", status="enabled").status == "disabled"
    async with management.put("/azurePolicy", json={"disablesTokens": False}) as answer:
        assert answer.status == 200
    assert registry.update_token("device", status="enabled").status == "enabled"


async def test_a_difference_names_the_answer_and_what_is_wrong(azure: LocalServices) -> None:
    """So that the checks can fail."""
    service = next(one for one in services() if one.name == "containerRegistry")
    target = azure.target("containerRegistry")
    target.variables["scopeMap"] = "_repositories_pull"
    first, *_ = await check(service, target)
    assert str(first).startswith("scopeMaps.missing: status 200")
