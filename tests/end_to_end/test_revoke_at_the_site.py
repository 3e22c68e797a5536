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

from .cloud import (
    Entry,
    cloud_answers,
    cloud_registry,
    entry_of,
    eventually,
    operations_end,
    pull_answers,
    register,
    site_of,
)
from .deployments import Deployment, Subject, deployed
from .end_state import check_revoked
from .engines import skopeo

PLANT = "plant12"
NOT_LOGGED_IN = ("unauthorized", "invalid username/password")
_NUMBERS = count()


@pytest.fixture(scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Deployment]:
    async with deployed(stack, "revoking", PLANT) as deployment:
        yield deployment


@pytest.fixture
async def subject(deployment: Deployment) -> AsyncIterator[Subject]:
    """A device that has logged in. It is revoked afterwards, also when a test was skipped."""
    deployment.firstpull.clock.keep_azures_time()
    subject = await deployment.ready_device(f"site-revoke-{next(_NUMBERS)}")
    yield subject
    await deployment.revoke(subject.device_id)


@pytest.fixture
def entry(stack: Stack, subject: Subject) -> Entry:
    """What its twin held before the revoke."""
    return entry_of(stack, subject.device_id, PLANT)


@pytest.fixture
def site(stack: Stack) -> ConnectedRegistryBackend:
    return site_of(stack, PLANT).backend


async def revoked(deployment: Deployment, subject: Subject) -> DeviceRecord:
    """The tombstone, right after the revoke. A sync comes later by Azure's time."""
    deployment.firstpull.clock.keep_azures_time()
    record = await deployment.revoke(subject.device_id)
    azures_time, since = deployment.stack.kernel.clock, record.status.condition.since
    await eventually(lambda: azures_time.now() > since)  # retries have moved the worker's time
    return record


async def reconciled_later(deployment: Deployment, subject: Subject) -> DeviceRecord:
    """The tombstone after its second pass."""
    deployment.firstpull.clock.advance(SECOND_LOOK)
    return await deployment.come_to_rest(subject.device_id)


async def test_skopeo_pulls_until_the_next_sync_and_is_refused_after_it(
    deployment: Deployment, subject: Subject, entry: Entry, site: ConnectedRegistryBackend
) -> None:
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        async with skopeo(entry, Path(folder)) as engine:
            assert (await engine.log_in()).succeeded
            await revoked(deployment, subject)
            assert (await engine.pull("hello-world")).succeeded

            assert site.sync()
            pulled = await engine.pull("hello-world")
            assert pulled.refused(*NOT_LOGGED_IN), pulled.output


async def test_azure_refuses_the_login_at_once_and_keeps_nothing_but_the_tombstone(
    deployment: Deployment, stack: Stack, subject: Subject, entry: Entry
) -> None:
    assert await cloud_answers(stack, entry["username"], entry["password"]) == 200
    record = await revoked(deployment, subject)
    assert await cloud_answers(stack, entry["username"], entry["password"]) == 401
    await check_revoked(deployment.firstpull, record)
    await deployment.check_that_nothing_is_left_to_do(subject.device_id)


async def test_the_tombstone_warns_until_a_site_that_was_offline_has_synced(
    deployment: Deployment,
    stack: Stack,
    subject: Subject,
    entry: Entry,
    site: ConnectedRegistryBackend,
) -> None:
    site.go_offline()
    record = await revoked(deployment, subject)
    assert not site.sync()
    for tombstone in (record, await reconciled_later(deployment, subject)):
        (warning,) = tombstone.status.warnings
        assert warning.reason is Reason.AWAITING_SYNC
        assert PLANT in warning.message
    assert await pull_answers(stack, entry) == 200

    site.go_online()
    assert site.sync()
    assert await pull_answers(stack, entry) == 401
    record = await deployment.firstpull.record(subject.device_id)
    deployment.firstpull.clock.advance_to(record.schedule.due_at)
    record = await deployment.come_to_rest(subject.device_id)
    assert record.status.warnings == ()
    assert record.schedule.due_at == NEVER


async def test_a_bearer_token_that_the_site_issued_works_until_it_expires(
    deployment: Deployment,
    stack: Stack,
    subject: Subject,
    entry: Entry,
    site: ConnectedRegistryBackend,
) -> None:
    tls = stack.kernel.certificates.client_context()
    login = {"Authorization": aiohttp.encode_basic_auth(entry["username"], entry["password"])}
    scope = {"service": "tests", "scope": "repository:hello-world:pull"}
    url = f"https://{entry['address']}"
    async with aiohttp.ClientSession() as session:
        async with session.get(
            url + CONNECTED_REGISTRY_TOKEN_PATH, params=scope, headers=login, ssl=tls
        ) as issued:
            token = (await issued.json())["access_token"]
        await revoked(deployment, subject)
        assert site.sync()
        async with session.get(
            f"{url}/v2/hello-world/manifests/latest",
            headers={"Authorization": f"Bearer {token}"},
            ssl=tls,
        ) as answer:
            assert answer.status == 200
    assert await pull_answers(stack, entry) == 401


async def test_a_device_that_is_requested_again_gets_another_password_and_pulls(
    deployment: Deployment, stack: Stack, subject: Subject, entry: Entry
) -> None:
    await revoked(deployment, subject)
    deployment.firstpull.clock.advance(timedelta(seconds=1))
    await deployment.ask(subject.device_id)
    await deployment.come_to_rest(subject.device_id)
    after = entry_of(stack, subject.device_id, PLANT)
    assert after["username"] == entry["username"]
    assert after["password"] != entry["password"]
    await deployment.log_in(subject.device_id)
    assert await pull_answers(stack, entry) == 401
    await deployment.check_that_nothing_is_left_to_do(subject.device_id)


async def test_a_scope_map_is_removed_when_nothing_has_referred_to_it_for_a_day(
    deployment: Deployment, stack: Stack, subject: Subject
) -> None:
    await deployment.revoke(subject.device_id)
    noted = await deployment.application.sweeper.run()
    assert [each.name for each in noted.scope_maps_unreferenced] == [subject.scope_map]
    (since,) = noted.scope_maps_unreferenced.values()
    deployment.firstpull.clock.advance_to(since + SCOPE_MAP_REST)
    done = await deployment.application.sweeper.run()
    assert (done.scope_maps_removed, done.scope_maps_unreferenced) == (1, {})
    await operations_end(stack)
    assert subject.scope_map not in {each.name for each in cloud_registry(stack).scope_maps()}


async def test_a_device_that_is_revoked_before_its_first_pass_gets_nothing(
    deployment: Deployment, stack: Stack
) -> None:
    register(stack, "site-revoke-early")
    await deployment.ask("site-revoke-early")
    await deployment.revoke("site-revoke-early")
    assert entry_of(stack, "site-revoke-early", PLANT) == {}
