"""The local Azure answers what Azure is known to answer."""

from __future__ import annotations

import pytest

from contract.answers import Basis, Service, services
from contract.runner import check

from .local_services import LocalServices


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


async def test_a_difference_names_the_answer_and_what_is_wrong(azure: LocalServices) -> None:
    """So that the checks can fail."""
    service = next(one for one in services() if one.name == "containerRegistry")
    target = azure.target("containerRegistry")
    target.variables["scopeMap"] = "_repositories_pull"
    first, *_ = await check(service, target)
    assert str(first).startswith("scopeMaps.missing: status 200")
