"""What a connected registry refuses, and what a device makes of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from local_azure.commands.processes import inherited, running
from local_azure.container_registry.passwords import PasswordName
from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.iot_hub.twins import JsonObject, TwinPatch
from local_azure.stack import Stack

from .agents import Agent, agent_with_certificate, agent_with_key
from .api import Api, running_app
from .cloud import (
    Entry,
    cloud_answers,
    cloud_registry,
    entry_of,
    eventually,
    register,
    report_login,
    site_answers,
    site_of,
)

PLANT, BY_HAND = "plant05", "plant06"
MANIFESTS = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
MANIFESTS += "application/vnd.docker.distribution.manifest.v2+json"

needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")


@pytest.fixture(scope="module")
async def api(stack: Stack, ca_file: Path) -> AsyncIterator[Api]:
    async with running_app(stack, ca_file) as api:
        yield api


async def test_a_pull_is_refused_until_the_connected_registry_has_synced(
    api: Api, stack: Stack
) -> None:
    entry = await _onboard(api, stack, "before-sync")
    assert await cloud_answers(stack, entry["username"], entry["password"]) == 200
    assert await _pull(stack, entry, "hello-world") == 401

    site_of(stack, PLANT).backend.sync()
    assert await _pull(stack, entry, "hello-world") == 200


async def test_a_pull_of_what_was_not_asked_for_is_refused(api: Api, stack: Stack) -> None:
    entry = await _onboard(api, stack, "other-repository")
    site_of(stack, PLANT).backend.sync()
    assert await _pull(stack, entry, "hello-world") == 200
    assert await _pull(stack, entry, "sensor-gateway") == 401


async def test_a_wrong_password_is_refused(api: Api, stack: Stack) -> None:
    entry = await _onboard(api, stack, "wrong-password")
    other = await _onboard(api, stack, "another-password")
    site_of(stack, PLANT).backend.sync()
    assert await site_answers(stack, PLANT, entry["username"], other["password"]) == 401
    assert await _pull(stack, {**entry, "password": other["password"]}, "hello-world") == 401
    assert await _pull(stack, entry, "hello-world") == 200


async def test_a_token_that_somebody_took_from_the_list_is_refused_after_the_next_sync(
    api: Api, stack: Stack
) -> None:
    entry = await _onboard(api, stack, "taken-out")
    report_login(stack, "taken-out", PLANT)
    await api.reaches("taken-out", "Ready")  # so that firstpull does not mend it at once
    site_of(stack, PLANT).backend.sync()
    _take_from_the_list(stack, entry["username"])
    assert await _pull(stack, entry, "hello-world") == 200

    site_of(stack, PLANT).backend.sync()
    assert await _pull(stack, entry, "hello-world") == 401


@needs_skopeo
async def test_skopeo_pulls_with_what_is_in_the_twin_and_nothing_else(
    api: Api, stack: Stack, ca_file: Path, tmp_path: Path
) -> None:
    entry = await _onboard(api, stack, "with-skopeo")
    assert await _skopeo(entry, "hello-world", ca_file, tmp_path) != 0

    site_of(stack, PLANT).backend.sync()
    assert await _skopeo(entry, "hello-world", ca_file, tmp_path) == 0
    assert await _skopeo(entry, "sensor-gateway", ca_file, tmp_path) != 0
    assert await _skopeo({**entry, "password": "wrong"}, "hello-world", ca_file, tmp_path) != 0


@pytest.mark.parametrize("make_agent", [agent_with_key, agent_with_certificate])
async def test_the_agent_logs_in_after_the_sync_and_the_device_becomes_ready(
    api: Api,
    stack: Stack,
    ca_file: Path,
    tmp_path: Path,
    make_agent: Callable[[Stack, Path, Path, str], Agent],
) -> None:
    agent = make_agent(stack, ca_file, tmp_path, make_agent.__name__)
    async with agent.following_its_twin() as lines:
        await _onboard(api, stack, agent.device_id)
        await eventually(lambda: agent.said(PLANT), what="the agent did not report")
        assert agent.said(PLANT)["reason"] == "CredentialsNotAccepted"
        assert (await agent.pull("hello-world", PLANT))[0] == 1

        site_of(stack, PLANT).backend.sync()
        await eventually(lambda: agent.said(PLANT)["state"] == "LoggedIn")
        assert (await api.reaches(agent.device_id, "Ready"))["delivery"]["acknowledgedAt"]
    code, digest = await agent.pull("hello-world", PLANT)
    assert code == 0, digest
    assert re.fullmatch(r"hello-world@sha256:[0-9a-f]{64}", digest)
    assert (await agent.pull("sensor-gateway", PLANT))[0] == 1
    password = entry_of(stack, agent.device_id, PLANT)["password"]
    assert not [line for line in lines if password in line]


async def test_the_agent_keeps_its_login_until_the_new_one_works_and_logs_out_when_told(
    stack: Stack, ca_file: Path, tmp_path: Path
) -> None:
    agent = agent_with_key(stack, ca_file, tmp_path, "by-hand")
    hand = _Hand(stack, agent)
    hand.make_token()
    async with agent.following_its_twin():
        hand.deliver("first", slot="password1")
        site_of(stack, BY_HAND).backend.sync()
        await eventually(lambda: hand.answer == ("first", "LoggedIn"), what=str(hand.answer))

        hand.deliver("second", slot="password2")
        await eventually(lambda: hand.answer == ("second", "Failed"), what=str(hand.answer))
        assert (await agent.pull("hello-world", BY_HAND))[0] == 0

        site_of(stack, BY_HAND).backend.sync()
        await eventually(lambda: hand.answer == ("second", "LoggedIn"), what=str(hand.answer))
        assert (await agent.pull("hello-world", BY_HAND))[0] == 0

        hand.withdraw()
        await eventually(lambda: agent.said(BY_HAND) == {}, what="the agent did not log out")
    assert (await agent.pull("hello-world", BY_HAND))[0] == 1


async def _onboard(api: Api, stack: Stack, device_id: str) -> Entry:
    if not any(known.device_id == device_id for known in stack.hub.devices()):
        register(stack, device_id)
    answer = await api.onboard(device_id, PLANT, wait=20)
    assert answer.status == 200, answer.text
    return entry_of(stack, device_id, PLANT)


def _take_from_the_list(stack: Stack, token_name: str) -> None:
    registry = cloud_registry(stack)
    listed = registry.connected_registry(PLANT).settings.client_token_ids
    kept = tuple(token_id for token_id in listed if not token_id.endswith(f"/{token_name}"))
    assert len(kept) == len(listed) - 1
    registry.update_connected_registry(PLANT, ConnectedRegistryChanges(client_token_ids=kept))


async def _pull(stack: Stack, entry: Entry, repository: str) -> int:
    """The status of a manifest's pull, by the challenge and a bearer token, as engines do it."""
    url = f"https://{entry['address']}/v2/{repository}/manifests/latest"
    tls = stack.kernel.certificates.client_context()
    async with aiohttp.ClientSession(headers={"Accept": MANIFESTS}) as session:
        async with session.get(url, ssl=tls) as challenged:
            assert challenged.status == 401
            said = dict(re.findall(r'(\w+)="([^"]*)"', challenged.headers["WWW-Authenticate"]))
        assert said["scope"] == f"repository:{repository}:pull"
        login = aiohttp.encode_basic_auth(entry["username"], entry["password"])
        asked = {"service": said["service"], "scope": said["scope"]}
        headers = {"Authorization": login}
        async with session.get(said["realm"], params=asked, headers=headers, ssl=tls) as issued:
            if issued.status != 200:
                return issued.status
            token = (await issued.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get(url, headers=headers, ssl=tls) as answer:
            return answer.status


async def _skopeo(entry: Entry, repository: str, ca_file: Path, folder: Path) -> int:
    environment = {**inherited("PATH"), "HOME": str(folder), "SSL_CERT_FILE": str(ca_file)}
    credentials = f"{entry['username']}:{entry['password']}"
    source = f"docker://{entry['address']}/{repository}"
    async with running(
        *("skopeo", "--insecure-policy", "--tmpdir", str(folder)),
        *("copy", "--src-creds", credentials, source, f"dir:{folder / repository}"),
        environment=environment,
        on_line=lambda _: None,
    ) as process:
        return await process.wait()


class _Hand:
    """Delivers to a device by hand, without firstpull, so that every step is the test's."""

    def __init__(self, stack: Stack, agent: Agent) -> None:
        self._stack = stack
        self._agent = agent
        self._registry = cloud_registry(stack)
        self._token_id = self._registry.registry_id.child("tokens", agent.device_id)

    @property
    def answer(self) -> tuple[object, object]:
        """The delivery that the agent speaks of, and how far it is with it."""
        said = self._agent.said(BY_HAND)
        return said.get("deliveryId"), said.get("state")

    def make_token(self) -> None:
        """A token that the connected registry learns of at its next sync."""
        scope_map_id = self._registry.registry_id.child("scopeMaps", "_repositories_pull")
        self._registry.put_token(self._agent.device_id, scope_map_id=scope_map_id)
        changes = ConnectedRegistryChanges(client_token_ids=(self._token_id,))
        self._registry.update_connected_registry(BY_HAND, changes)

    def deliver(self, delivery_id: str, *, slot: PasswordName) -> None:
        """A new password, into the twin."""
        made = self._registry.generate_credentials(self._token_id, name=slot)
        self._write(
            {
                "address": site_of(self._stack, BY_HAND).endpoint,
                "username": self._agent.device_id,
                "password": made.value_of(slot),
                "deliveryId": delivery_id,
                "repositories": ["hello-world"],
                "ca": [self._stack.ca_pem],
            }
        )

    def withdraw(self) -> None:
        """Null the entry."""
        self._write(None)

    def _write(self, entry: JsonObject | None) -> None:
        desired: JsonObject = {"firstpull": {"registryCredentials": {BY_HAND: entry}}}
        self._stack.hub.patch_twin(self._agent.device_id, TwinPatch(desired=desired), etag=None)
