"""An agent in a cluster, from the first request to the revoke: pods pull with what it keeps."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from firstpull.model.device_record import State
from firstpull.model.password_slots import SYNC_MARGIN
from local_azure.commands.processes import inherited
from local_azure.commands.processes import running as running_process
from local_azure.kubernetes.cluster import ServedCluster, serve_cluster
from local_azure.kubernetes.objects import ACCOUNTS, ROLE_BINDINGS, ROLES, SECRETS, Key, Refusal
from local_azure.stack import Stack
from tests.device_agent.chart import USER, manifests

from .agents import Agent, agent_with_key
from .cloud import cloud_registry, entry_of, eventually, pull_answers, site_of
from .deployments import Deployment, deployed
from .engines import skopeo

FIRST, SECOND = "plant27", "plant28"
NAMESPACES = ("press", "weld")
KINDS = {kind.name: kind for kind in (ROLES, ROLE_BINDINGS)}


@pytest.fixture(scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Deployment]:
    async with deployed(stack, "cluster", FIRST, SECOND) as it:
        yield it


@dataclass(frozen=True)
class ClusterAgent:
    """An agent's process, with the permissions of its chart, and the pods that use its Secrets."""

    agent: Agent
    served: ServedCluster

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[str]]:
        kubeconfig = self.served.kubeconfig(self.agent.folder / "kubeconfig", token="agent")  # noqa: S106 - of a test
        lines: list[str] = []
        async with running_process(
            *(sys.executable, "-m", "firstpull_agent", "run", "--engine", "kubernetes"),
            *("--kubeconfig", str(kubeconfig), "--namespaces", ",".join(NAMESPACES)),
            *("--service-accounts", "default", *self.agent.identity),
            environment={**inherited("PATH"), "PYTHONUNBUFFERED": "1"},
            on_line=lines.append,
        ):
            yield lines

    def login(self, plant: str, namespace: str = "press") -> dict[str, Any] | None:
        """What kubelet finds in a pod's pull secret, as an entry; None without the Secret."""
        try:
            found = self.served.api.objects.get(Key(SECRETS, namespace, f"firstpull-{plant}"))
        except Refusal:
            return None
        content = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))
        ((address, login),) = content["auths"].items()
        return {"address": address, **login}

    def pull_secrets(self, namespace: str = "press") -> list[str]:
        found = self.served.api.objects.get(Key(ACCOUNTS, namespace, "default"))
        return [reference["name"] for reference in found.get("imagePullSecrets", [])]

    async def pulls(self, plant: str, namespace: str = "press") -> int:
        """The status of a pod's pull: kubelet reads the Secret for each."""
        login = self.login(plant, namespace)
        return 0 if login is None else await pull_answers(self.agent.stack, login)


@asynccontextmanager
async def agent_in_a_cluster(
    stack: Stack, ca_file: Path, folder: Path, device_id: str
) -> AsyncIterator[ClusterAgent]:
    agent = agent_with_key(stack, ca_file, folder, device_id)
    async with serve_cluster(stack.kernel.certificates) as served:
        for namespace in NAMESPACES:
            await served.api.add_namespace(namespace)
        for manifest in copy.deepcopy(manifests("named")):
            if (kind := KINDS.get(manifest["kind"])) is not None:
                metadata = manifest["metadata"]
                key = Key(kind, metadata["namespace"], metadata["name"])
                await served.api.objects.create(key, manifest, manager="helm")
        served.api.users["agent"] = USER
        yield ClusterAgent(agent, served)


@dataclass
class Pods:
    """Pods that pull again and again, in both namespaces, with their pull secrets."""

    cluster: ClusterAgent
    plants: tuple[str, ...]
    refused: list[str] = field(default_factory=list)
    rounds: int = 0

    @asynccontextmanager
    async def pulling(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._pull())
        try:
            yield
            enough = self.rounds + 2
            await eventually(lambda: self.rounds >= enough or task.done())
        finally:
            task.cancel()

    async def _pull(self) -> None:
        while True:
            for namespace in NAMESPACES:
                answers = [await self.cluster.pulls(plant, namespace) for plant in self.plants]
                if 200 not in answers:
                    self.refused.append(f"{namespace}: {answers}")
            self.rounds += 1


async def come_to_ready(deployment: Deployment, cluster: ClusterAgent, plant: str) -> None:
    device_id, stack = cluster.agent.device_id, deployment.stack
    await deployment.come_to_rest(device_id)
    site_of(stack, plant).backend.sync()
    await cluster.agent.reports(plant, "LoggedIn")
    record = await deployment.come_to_rest(device_id)
    assert record.status.condition.state is State.READY, record.status.condition


async def rotate(deployment: Deployment, cluster: ClusterAgent, plant: str) -> None:
    """One rotation, to its acknowledgement: then the token has one password."""
    device_id, firstpull = cluster.agent.device_id, deployment.firstpull
    before = entry_of(deployment.stack, device_id, plant)
    firstpull.clock.keep_azures_time()
    await deployment.application.rotating.rotate(
        firstpull.device(device_id), immediately=False, requested_by="a test"
    )
    waiting = await deployment.come_to_rest(device_id)
    assert waiting.status.condition.state is State.WAITING, waiting.status.condition
    deployment.stack.kernel.clock.advance(SYNC_MARGIN)
    site_of(deployment.stack, plant).backend.sync()
    await deployment.come_to_rest(device_id)
    after = entry_of(deployment.stack, device_id, plant)
    assert after["password"] != before["password"]
    await cluster.agent.reports(plant, "LoggedIn")
    for namespace in NAMESPACES:
        login = cluster.login(plant, namespace)
        assert login is not None
        assert login["password"] == after["password"]
    record = await deployment.come_to_rest(device_id)
    assert record.status.condition.state is State.READY, record.status.condition
    assert len(cloud_registry(deployment.stack).token(after["username"]).passwords) == 1
    site_of(deployment.stack, plant).backend.sync()
    assert await pull_answers(deployment.stack, before) == 401


@pytest.mark.parametrize("rotations", [2, pytest.param(10, marks=pytest.mark.slow)])
async def test_pods_pull_through_rotations_and_a_move_until_the_revoke(
    deployment: Deployment, ca_file: Path, tmp_path: Path, rotations: int
) -> None:
    stack, device_id = deployment.stack, f"cluster-{rotations}"
    async with (
        agent_in_a_cluster(stack, ca_file, tmp_path, device_id) as cluster,
        cluster.running() as lines,
    ):
        await deployment.ask(device_id)
        await come_to_ready(deployment, cluster, FIRST)
        assert await cluster.pulls(FIRST) == 200
        assert cluster.pull_secrets() == [f"firstpull-{FIRST}"]
        passwords = [entry_of(stack, device_id, FIRST)["password"]]

        pods = Pods(cluster, (FIRST,))
        async with pods.pulling():
            for _ in range(rotations):
                await rotate(deployment, cluster, FIRST)
                passwords.append(entry_of(stack, device_id, FIRST)["password"])
        assert pods.refused == []
        assert len(set(passwords)) == rotations + 1

        pods = Pods(cluster, (FIRST, SECOND))
        async with pods.pulling():
            await deployment.at(SECOND).ask(device_id)
            await come_to_ready(deployment.at(SECOND), cluster, SECOND)
            await eventually(lambda: cluster.login(FIRST) is None, "the old Secret stays")
        assert pods.refused == []
        assert cluster.pull_secrets() == [f"firstpull-{SECOND}"]

        last = cluster.login(SECOND)
        assert last is not None
        await deployment.at(SECOND).revoke(device_id)
        await eventually(lambda: cluster.login(SECOND) is None, "the Secret stays")
        await eventually(lambda: cluster.pull_secrets() == [], "the service account names it")
        site_of(stack, SECOND).backend.sync()
        assert await pull_answers(stack, last) == 401
    for password in passwords:
        assert not [line for line in lines if password in line]


async def test_a_client_of_others_pulls_with_the_pull_secret_as_it_is(
    deployment: Deployment, ca_file: Path, tmp_path: Path
) -> None:
    stack, device_id = deployment.stack, "cluster-skopeo"
    async with agent_in_a_cluster(stack, ca_file, tmp_path, device_id) as cluster:
        async with cluster.running():
            await deployment.ask(device_id)
            await come_to_ready(deployment, cluster, FIRST)
            key = Key(SECRETS, "weld", f"firstpull-{FIRST}")
            secret = cluster.served.api.objects.get(key)
            entry = entry_of(stack, device_id, FIRST)
            async with skopeo(entry, tmp_path) as engine:
                content = base64.b64decode(secret["data"][".dockerconfigjson"])
                (tmp_path / "auth.json").write_bytes(content)
                pulled = await engine.pull("hello-world")
                assert pulled.succeeded, pulled.output
                refused = await engine.pull("sensor-gateway")
                assert refused.refused("denied"), refused.output
        await deployment.revoke(device_id)
