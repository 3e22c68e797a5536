"""What the adapter makes of the service's answers to writes, over HTTP with the real SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient

from firstpull.adapters.container_registry import ContainerRegistryAdapter, Paces, changes
from firstpull.adapters.container_registry.clients import Paced
from firstpull.model.azure_resources import NewPassword, Slot
from firstpull.model.errors import Blocked, Conflict, Transient
from firstpull.model.reasons import Reason
from tests.firstpull.harness import REGISTRY

from .test_silent_services import Token

type Answer = dict[str, Any]
type Answering = Callable[..., ContainerRegistryAdapter]
NAME = "fp-press-1"
SCOPE_MAP = REGISTRY.scope_map("fp-map")
ENDS = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture
async def answering(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Answering]:
    """An adapter whose service gives these answers in turn, the last one for ever."""
    monkeypatch.setattr(changes, "_PAUSES", (0.0,))
    application, ahead = web.Application(), list[Answer]()

    async def answer(request: web.Request) -> web.Response:
        found = ahead.pop(0) if len(ahead) > 1 else ahead[0]
        created = request.method in ("PUT", "PATCH")
        return web.json_response(found, status=201 if created else 200)

    application.router.add_route("*", "/{any:.*}", answer)
    async with TestServer(application) as server:

        def create(subscription: str) -> ContainerRegistryManagementClient:
            return ContainerRegistryManagementClient(
                Token(),
                subscription,
                base_url=str(server.make_url("")),
                authentication_policy=SansIOHTTPPolicy(),
                retry_total=0,
            )

        made = ContainerRegistryAdapter(create)

        def with_answers(*answers: Answer) -> ContainerRegistryAdapter:
            ahead[:] = answers
            return made

        yield with_answers
        await made.close()


def token(status: str, *, state: str = "Succeeded") -> Answer:
    properties = {"status": status, "scopeMapId": str(SCOPE_MAP), "provisioningState": state}
    return {"id": str(REGISTRY.token(NAME)), "name": NAME, "properties": properties}


def create(registries: ContainerRegistryAdapter) -> Awaitable[object]:
    return registries.create_token(REGISTRY, NAME, scope_map=SCOPE_MAP, deadline_seconds=9)


def enable(registries: ContainerRegistryAdapter) -> Awaitable[object]:
    return registries.update_token(REGISTRY, NAME, scope_map=SCOPE_MAP, deadline_seconds=9)


def disable(registries: ContainerRegistryAdapter) -> Awaitable[object]:
    return registries.disable_token(REGISTRY, NAME, deadline_seconds=9)


@pytest.mark.parametrize(
    ("write", "left"), [(create, "disabled"), (enable, "disabled"), (disable, "enabled")]
)
@pytest.mark.parametrize("is_told_at_once", [True, False])
async def test_a_status_that_was_not_asked_for_is_a_policys_refusal(
    answering: Answering,
    write: Callable[[ContainerRegistryAdapter], Awaitable[object]],
    left: str,
    *,
    is_told_at_once: bool,
) -> None:
    asked = "enabled" if left == "disabled" else "disabled"
    answers = [token(asked, state="Updating"), token(left)]
    with pytest.raises(Blocked, match=f"left the token {NAME} {left}") as refused:
        await write(answering(*answers[is_told_at_once:]))
    assert refused.value.reason is Reason.REFUSED_BY_POLICY
    assert "exempt" in (refused.value.remedy or "")
    await write(answering(token(asked, state="Updating"), token(asked)))


def credentials(username: str | None, **password: str) -> Answer:
    value = {"name": "password1", "creationTime": "2026-04-01T00:00:00Z", "value": "s3"}
    return {"username": username, "passwords": [value | password]}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (credentials("another"), "another token"),
        (credentials(None), "required field"),
        (credentials(""), "another token"),
        (credentials(NAME, name="password2"), "requested password"),
        (credentials(NAME, value=""), "requested password"),
        ({"username": NAME}, "requested password"),
    ],
)
async def test_a_password_of_another_token_or_slot_is_refused(
    answering: Answering, answer: Answer, says: str
) -> None:
    with pytest.raises(Transient, match=says):
        await generate(answering(answer))


@pytest.mark.parametrize("username", [NAME, NAME.upper()])
async def test_a_password_of_the_token_in_the_slot_is_taken(
    answering: Answering, username: str
) -> None:
    made = await generate(answering(credentials(username)))
    assert (made.slot, made.value.reveal()) == (Slot.ONE, "s3")


async def generate(registries: ContainerRegistryAdapter) -> NewPassword:
    return await registries.generate_password(
        REGISTRY, NAME, slot=Slot.ONE, expires_at=ENDS, deadline_seconds=9
    )


# The pace


@pytest.fixture
async def limited() -> AsyncIterator[tuple[ContainerRegistryAdapter, list[int]]]:
    """An adapter whose service answers with these statuses in turn, then with a token."""
    application, statuses = web.Application(), list[int]()

    async def answer(_: web.Request) -> web.Response:
        if statuses:
            headers = {"Retry-After": "0", "x-ms-ratelimit-remaining-subscription-writes": "0"}
            return web.json_response({}, status=statuses.pop(0), headers=headers)
        headers = {"x-ms-ratelimit-remaining-subscription-writes": "150"}
        return web.json_response(token("enabled"), status=201, headers=headers)

    application.router.add_route("*", "/{any:.*}", answer)
    async with TestServer(application) as server:

        def create(subscription: str) -> ContainerRegistryManagementClient:
            return ContainerRegistryManagementClient(
                Token(),
                subscription,
                base_url=str(server.make_url("")),
                authentication_policy=SansIOHTTPPolicy(),
                retry_total=0,
                per_call_policies=[Paced(subscription, Paces())],
            )

        made = ContainerRegistryAdapter(create)
        yield made, statuses
        await made.close()


async def test_a_request_that_is_one_too_many_goes_again(
    limited: tuple[ContainerRegistryAdapter, list[int]],
) -> None:
    adapter, statuses = limited
    statuses[:] = [429]
    await create(adapter)
    assert not statuses


@pytest.mark.parametrize("status", [409, 503])
async def test_a_request_that_may_have_had_an_effect_never_goes_again(
    limited: tuple[ContainerRegistryAdapter, list[int]], status: int
) -> None:
    adapter, statuses = limited
    statuses[:] = [status, 409]
    with pytest.raises((Transient, Conflict)):
        await create(adapter)
    assert statuses == [409]
