"""What a revoke ends, and when: in Azure at once, at the site with its next sync."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import aiohttp
import pytest

from firstpull.fleet.orphans import SCOPE_MAP_REST
from firstpull.model.device_record import DeviceRecord
from firstpull.model.reasons import Reason
from firstpull.model.schedule import NEVER, SECOND_LOOK
from local_azure.container_registry.backends import ConnectedRegistryBackend
from local_azure.registry.authentication import CONNECTED_REGISTRY_TOKEN_PATH
from local_azure.stack import Stack

from .agents import agent_with_key
from .cloud import (
    Entry,
    cloud_answers,
    cloud_registry,
    entry_of,
    eventually,
    forget_devices,
    pull_answers,
    register,
    site_of,
)
from .deployments import settings_of
from .drift_rows import Case, Subject
from .end_state import check_revoked
from .engines import skopeo
from .in_process import Firstpull, connected

PLANT = "plant12"
NOT_LOGGED_IN = ("unauthorized", "invalid username/password")
_NUMBERS = count()


@pytest.fixture(scope="module")
async def firstpull(stack: Stack) -> AsyncIterator[Firstpull]:
    async with connected(stack, settings_of(stack, "revoking", PLANT)) as firstpull:
        yield firstpull
    await forget_devices(stack)


@pytest.fixture(scope="module")
def case(firstpull: Firstpull) -> Case:
    return Case(firstpull, firstpull.application(), PLANT)


@pytest.fixture
async def subject(case: Case) -> Subject:
    """A device that has logged in."""
    return await case.ready_device(f"site-revoke-{next(_NUMBERS)}")


@pytest.fixture
def entry(stack: Stack, subject: Subject) -> Entry:
    """What its twin held before the revoke."""
    return entry_of(stack, subject.device_id, PLANT)


@pytest.fixture
def site(stack: Stack) -> ConnectedRegistryBackend:
    return site_of(stack, PLANT).backend


async def revoked(case: Case, subject: Subject) -> DeviceRecord:
    """The tombstone, right after the revoke."""
    case.firstpull.clock.keep_azures_time()
    await case.revoke(subject.device_id)
    return await case.firstpull.record(subject.device_id)


async def looked_at_later(case: Case, subject: Subject) -> DeviceRecord:
    """The tombstone after its next look."""
    case.firstpull.clock.advance(SECOND_LOOK)
    return await case.comes_to_rest(subject.device_id)


async def test_skopeo_pulls_until_the_next_sync_and_is_refused_after_it(
    case: Case, subject: Subject, entry: Entry, site: ConnectedRegistryBackend
) -> None:
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        async with skopeo(entry, Path(folder)) as engine:
            assert (await engine.log_in()).succeeded
            assert (await engine.pull("hello-world")).succeeded

            await revoked(case, subject)
            assert (await engine.pull("hello-world")).succeeded

            assert site.sync()
            pulled = await engine.pull("hello-world")
            assert pulled.refused(*NOT_LOGGED_IN), pulled.output
            answer = await engine.log_in()
            assert answer.refused(*NOT_LOGGED_IN), answer.output


async def test_azure_refuses_the_login_at_once_and_keeps_nothing_but_the_tombstone(
    case: Case, stack: Stack, subject: Subject, entry: Entry
) -> None:
    assert await cloud_answers(stack, entry["username"], entry["password"]) == 200
    record = await revoked(case, subject)
    assert await cloud_answers(stack, entry["username"], entry["password"]) == 401
    await check_revoked(case.firstpull, record)
    assert record.status.condition.reason is Reason.REVOKED
    await case.nothing_is_left_to_do(subject.device_id)


async def test_the_tombstone_warns_until_the_site_has_synced(
    case: Case, stack: Stack, subject: Subject, entry: Entry, site: ConnectedRegistryBackend
) -> None:
    record = await revoked(case, subject)
    assert [warning.reason for warning in record.status.warnings] == [Reason.AWAITING_SYNC]
    assert await pull_answers(stack, entry) == 200

    assert site.sync()
    assert await pull_answers(stack, entry) == 401
    record = await looked_at_later(case, subject)
    assert record.status.warnings == ()
    assert record.schedule.due_at == NEVER


async def test_a_site_that_is_offline_lets_the_device_pull_and_the_tombstone_says_so(
    case: Case, stack: Stack, subject: Subject, entry: Entry, site: ConnectedRegistryBackend
) -> None:
    site.go_offline()
    await revoked(case, subject)
    for _ in range(2):
        assert not site.sync()
        record = await looked_at_later(case, subject)
        (warning,) = record.status.warnings
        assert warning.reason is Reason.AWAITING_SYNC
        assert PLANT in warning.message
        assert await pull_answers(stack, entry) == 200

    site.go_online()
    assert site.sync()
    assert await pull_answers(stack, entry) == 401
    case.firstpull.clock.advance_to(record.schedule.due_at)
    record = await case.comes_to_rest(subject.device_id)
    assert record.status.warnings == ()


async def test_a_bearer_token_that_the_site_issued_works_until_it_ends_by_itself(
    case: Case, stack: Stack, subject: Subject, entry: Entry, site: ConnectedRegistryBackend
) -> None:
    tls = stack.kernel.certificates.client_context()
    login = {"Authorization": aiohttp.encode_basic_auth(entry["username"], entry["password"])}
    asked = {"service": "tests", "scope": "repository:hello-world:pull"}
    url = f"https://{entry['address']}"
    async with aiohttp.ClientSession() as session:
        async with session.get(
            url + CONNECTED_REGISTRY_TOKEN_PATH, params=asked, headers=login, ssl=tls
        ) as issued:
            token = (await issued.json())["access_token"]
        await revoked(case, subject)
        assert site.sync()
        async with session.get(
            f"{url}/v2/hello-world/manifests/latest",
            headers={"Authorization": f"Bearer {token}"},
            ssl=tls,
        ) as answer:
            assert answer.status == 200
    assert await pull_answers(stack, entry) == 401


async def test_the_agent_logs_out_when_it_hears_of_the_revoke_and_is_refused_when_it_does_not(
    case: Case, stack: Stack, ca_file: Path, tmp_path: Path, site: ConnectedRegistryBackend
) -> None:
    agent = agent_with_key(stack, ca_file, tmp_path, "site-revoke-agent")
    await case.firstpull.ask(case.application, agent.device_id, PLANT)
    await case.comes_to_rest(agent.device_id)
    assert site.sync()
    async with agent.following_its_twin():
        await eventually(lambda: agent.said(PLANT).get("state") == "LoggedIn")
    assert (await agent.pull("hello-world", PLANT))[0] == 0

    case.firstpull.clock.keep_azures_time()
    await case.revoke(agent.device_id)
    assert (await agent.pull("hello-world", PLANT))[0] == 0  # it has not looked into its twin
    assert site.sync()
    assert (await agent.pull("hello-world", PLANT))[0] == 1

    async with agent.following_its_twin():
        await eventually(lambda: agent.said(PLANT) == {}, what="the agent did not log out")


async def test_a_device_that_is_asked_for_again_gets_another_password_and_pulls(
    case: Case, stack: Stack, subject: Subject, entry: Entry
) -> None:
    await revoked(case, subject)
    case.firstpull.clock.advance(timedelta(seconds=1))
    await case.firstpull.ask(case.application, subject.device_id, PLANT)
    await case.comes_to_rest(subject.device_id)
    after = entry_of(stack, subject.device_id, PLANT)
    assert after["username"] == entry["username"]
    assert after["password"] != entry["password"]
    await case.logs_in(subject.device_id)
    assert await pull_answers(stack, entry) == 401
    await case.nothing_is_left_to_do(subject.device_id)
    await case.revoke(subject.device_id)


async def test_the_scope_map_goes_when_nothing_has_referred_to_it_for_a_day(
    case: Case, stack: Stack, subject: Subject
) -> None:
    await case.revoke(subject.device_id)
    noted = await case.application.sweeper.run()
    assert [str(each) for each in noted.scope_maps_unreferenced] == [
        f"{stack.registry_id}/scopeMaps/{subject.scope_map}"
    ], noted
    (since,) = noted.scope_maps_unreferenced.values()
    case.firstpull.clock.advance_to(since + SCOPE_MAP_REST)
    done = await case.application.sweeper.run()
    assert (done.scope_maps_removed, done.scope_maps_unreferenced) == (1, {})
    assert subject.scope_map not in {each.name for each in cloud_registry(stack).scope_maps()}


async def test_a_device_that_is_revoked_before_it_was_given_anything_gets_nothing(
    case: Case, stack: Stack
) -> None:
    register(stack, "site-revoke-early")
    await case.firstpull.ask(case.application, "site-revoke-early", PLANT)
    await case.revoke("site-revoke-early")
    assert entry_of(stack, "site-revoke-early", PLANT) == {}
