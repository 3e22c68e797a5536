"""An agent in a cluster whose API is served on kmock."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from firstpull_agent.convergence import Convergence
from firstpull_agent.engines.kubernetes.cluster import Cluster as Client
from firstpull_agent.engines.kubernetes.engine import ClusterEngine, cluster_engine
from firstpull_agent.engines.kubernetes.logins import Selection
from firstpull_agent.engines.kubernetes.secrets import Owner
from firstpull_agent.service import Service

from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kubernetes.cluster import Cluster, ServedCluster, serve_cluster
from local_azure.kubernetes.objects import ACCOUNTS, NAMESPACES, SECRETS, Json, Key, Refusal

from .fakes import FakeCheck, FakeHub, ManualTime

CONTENT = ".dockerconfigjson"
PATIENCE = 60.0
"""Seconds that a state may take; it is there at once, but not on a busy machine."""


@dataclass
class InCluster:
    """A cluster, and the agent that runs in it."""

    served: ServedCluster
    folder: Path
    selection: Selection
    hub: FakeHub
    check: FakeCheck = field(default_factory=lambda: FakeCheck(accepted={"delivery-1"}))
    time: ManualTime = field(default_factory=ManualTime)
    owner: Owner = field(default_factory=Owner)
    token: str = "operator"  # noqa: S105 - of a cluster that lives for one test
    engine: ClusterEngine = field(init=False)
    service: Service = field(init=False)

    @property
    def api(self) -> Cluster:
        return self.served.api

    @asynccontextmanager
    async def running(self) -> AsyncIterator[InCluster]:
        """The agent's process, from start to stop."""
        rng = random.Random(1)  # noqa: S311
        kubeconfig = self.served.kubeconfig(self.folder / f"{self.token}.kube", token=self.token)
        self.engine = cluster_engine(
            self.selection, self.owner, kubeconfig=str(kubeconfig), time=self.time, rng=rng
        )
        convergence = Convergence(self.engine.logins, check=self.check, time=self.time, rng=rng)
        self.service = Service(self.hub, convergence, time=self.time, rng=rng)
        follow = self.engine.follower.run(self.service.recheck)
        task = asyncio.create_task(self.service.run(follow))
        try:
            yield self
        finally:
            self.service.stop()
            await task

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():  # noqa: ASYNC110 - of objects in a cluster
                await asyncio.sleep(0.01)

    async def until_said(self, state: str, delivery_id: str = "delivery-1", **of: str) -> None:
        name = of.get("name", "site1")

        def is_said() -> bool:
            entry = self.hub.reported.get(name, {})
            said = (entry.get("state"), entry.get("deliveryId"), entry.get("reason"))
            return said == (state, delivery_id, of.get("reason"))

        await self.until(is_said)

    async def until_settled(self) -> None:
        """Until the agent follows the cluster, and makes no more requests for objects."""
        await self.until(self.engine.follower.is_following)
        seen = -1
        while seen != len(self.api.calls):
            seen = len(self.api.calls)
            await asyncio.sleep(0.2)

    def writes(self) -> list[tuple[str, str]]:
        """The requests so far that change something: verb and resource."""
        reads = ("get", "list", "watch")
        return [(verb, kind) for verb, kind, _ in self.api.calls if verb not in reads]

    def secret(self, namespace: str, name: str = "firstpull-site1") -> Json | None:
        try:
            return self.api.objects.get(Key(SECRETS, namespace, name))
        except Refusal:
            return None

    def holds(self, namespace: str, password: str, name: str = "firstpull-site1") -> bool:
        """Whether the pull secret in a namespace has this password."""
        return password in {login["password"] for login in self.logins(namespace, name).values()}

    def logins(self, namespace: str, name: str = "firstpull-site1") -> dict[str, Any]:
        """The logins of a pull secret, by address."""
        found = self.secret(namespace, name)
        if found is None:
            return {}
        content: dict[str, Any] = json.loads(base64.b64decode(found["data"][CONTENT]))
        auths: dict[str, Any] = content.get("auths", {})
        return auths

    def pull_secrets(self, namespace: str, account: str = "default") -> list[str]:
        found = self.api.objects.get(Key(ACCOUNTS, namespace, account))
        return [reference["name"] for reference in found.get("imagePullSecrets", [])]

    async def label_namespace(self, name: str, **labels: str) -> None:
        change = {"metadata": {"labels": labels}}
        await self.api.objects.merge(Key(NAMESPACES, None, name), change, manager="somebody")

    async def put_secret(self, namespace: str, name: str = "firstpull-site1", **more: Any) -> None:  # noqa: ANN401 - JSON
        """A Secret that somebody else makes."""
        content = {"data": {"key": base64.b64encode(b"theirs").decode()}, **more}
        await self.api.objects.create(Key(SECRETS, namespace, name), content, manager="somebody")

    async def remove(self, namespace: str, name: str = "firstpull-site1") -> None:
        await self.api.objects.delete(Key(SECRETS, namespace, name))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """The agent's own client of the cluster."""
        kubeconfig = self.served.kubeconfig(self.folder / "client.kube", token=self.token)
        async with Client.connected(str(kubeconfig)) as client:
            yield client


@asynccontextmanager
async def cluster_with(
    authority: CertificateAuthority, folder: Path, desired: dict[str, Any], selection: Selection
) -> AsyncIterator[InCluster]:
    """A cluster with the namespaces `press` and `weld`, and an agent that does not run yet."""
    async with serve_cluster(authority) as served:
        await served.api.add_namespace("press", team="a")
        await served.api.add_namespace("weld", team="a")
        yield InCluster(served, folder, selection, FakeHub(desired))


named = partial(Selection, ("press", "weld"))
selected = partial(Selection, (), "team=a")
