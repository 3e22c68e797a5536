"""The cluster as kubectl sees it, which installs the chart's manifests and looks at the Secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_azure.kernel.certificates import CertificateAuthority
from tests.device_agent.chart import NAMESPACE, RENDERED, USER
from tests.device_agent.deliveries import PASSWORD, USERNAME, desired, entry
from tests.device_agent.in_cluster import InCluster, cluster_with, named

SITE = "10.0.0.4:8080"
SECRET = "firstpull-site1"  # noqa: S105 - a name

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")


@dataclass(frozen=True)
class Kubectl:
    """kubectl, with the rights of the cluster's operator."""

    kubeconfig: Path
    folder: Path

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        code, output = await self.run(*arguments, stdin=stdin)
        assert code == 0, output
        return output

    async def create(self, *what: str) -> None:
        """Create as scripts do: kubectl's own request would be in protobuf."""
        manifest = await self("create", *what, "--dry-run=client", "--output=json")
        await self("create", "--validate=false", "--filename=-", stdin=manifest)

    async def run(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Exit code, and all that it wrote."""
        process = await asyncio.create_subprocess_exec(
            *("kubectl", f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.folder}/cache"),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(stdin.encode())
        return process.returncode or 0, output.decode()


@pytest.fixture
async def cluster(authority: CertificateAuthority, tmp_path: Path) -> AsyncIterator[InCluster]:
    selection = named(accounts=("default",))
    async with cluster_with(authority, tmp_path, desired(site1=entry(SITE)), selection) as it:
        yield it


@pytest.fixture
def kubectl(cluster: InCluster, tmp_path: Path) -> Kubectl:
    return Kubectl(cluster.served.kubeconfig(tmp_path / "operator.kube"), tmp_path)


async def test_kubectl_installs_the_chart_and_sees_what_the_agent_keeps(
    cluster: InCluster, kubectl: Kubectl
) -> None:
    await kubectl.create("namespace", NAMESPACE)
    await kubectl("apply", "--validate=false", "-f", str(RENDERED / "named.yaml"))
    cluster.api.users["agent"], cluster.token = USER, "agent"
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        text = await kubectl("get", "secret", SECRET, "--namespace=press", "--output=json")
        found = json.loads(text)
        assert found["type"] == "kubernetes.io/dockerconfigjson"
        auths = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))["auths"]
        login = f"{USERNAME}:{PASSWORD}".encode()
        assert auths[SITE]["auth"] == base64.b64encode(login).decode()
        label = "--selector=app.kubernetes.io/managed-by=firstpull-agent"
        listed = await kubectl("get", "secrets", "--all-namespaces", label, "--output=name")
        assert listed.split() == [f"secret/{SECRET}", f"secret/{SECRET}"]
        account = ("get", "serviceaccount", "default", "--namespace=press")
        named_there = await kubectl(*account, "--output=jsonpath={.imagePullSecrets[*].name}")
        assert named_there == SECRET

        cluster.hub.change(desired())
        await cluster.until(lambda: "site1" not in cluster.hub.reported)
        code, said = await kubectl.run("get", "secret", SECRET, "--namespace=press")
        assert (code, "NotFound" in said) == (1, True)


async def test_kubectl_applies_another_content_only_by_force(
    cluster: InCluster, kubectl: Kubectl
) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        theirs = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": SECRET, "namespace": "press"},
            "data": {".dockerconfigjson": base64.b64encode(b'{"auths": {}}').decode()},
        }
        apply = ("apply", "--server-side", "--validate=false", "--filename=-")
        code, said = await kubectl.run(*apply, stdin=json.dumps(theirs))
        assert code != 0
        assert 'conflict with "firstpull-agent"' in said
        await kubectl(*apply, "--force-conflicts", stdin=json.dumps(theirs))
        await cluster.until(lambda: cluster.holds("press", PASSWORD))


async def test_a_secret_that_kubectl_made_is_left_alone_until_kubectl_deletes_it(
    cluster: InCluster, kubectl: Kubectl
) -> None:
    made = ("secret", "docker-registry", SECRET, "--namespace=weld", f"--docker-server={SITE}")
    await kubectl.create(*made, "--docker-username=theirs", "--docker-password=theirs")
    async with cluster.running():
        await cluster.until_said("Failed", reason="ForeignSecret")
        assert cluster.holds("weld", "theirs")
        await kubectl("delete", "secret", SECRET, "--namespace=weld")
        await cluster.until_said("LoggedIn")
        assert cluster.holds("weld", PASSWORD)
