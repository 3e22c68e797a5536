"""An agent in a cluster whose API refuses, forgets, slows down, or changes under it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import kmock
import pytest
from firstpull_agent.engines.kubernetes.cluster import Conflict, found_secret

from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kubernetes.objects import SECRETS, Json, Key
from tests.device_agent.deliveries import PASSWORD, desired, entry
from tests.device_agent.in_cluster import InCluster, cluster_with, selected

SITE = "10.0.0.4:8080"


@pytest.fixture
async def cluster(authority: CertificateAuthority, tmp_path: Path) -> AsyncIterator[InCluster]:
    wanted = desired(site1=entry(SITE))
    async with cluster_with(authority, tmp_path, wanted, selected()) as it:
        yield it


async def test_a_conflict_is_looked_at_again_at_once(cluster: InCluster) -> None:
    cluster.api["patch"][:1] << 409 << {"message": "modified"}
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        assert not [report for report in cluster.hub.reports if "Failed" in str(report)]


async def test_a_conflict_that_stays_is_reported(cluster: InCluster) -> None:
    cluster.api["patch"] << 409 << {"message": "modified"}
    async with cluster.running():
        await cluster.until_said("Failed", reason="ClusterConflict")


async def test_a_secret_that_somebody_makes_meanwhile_stays_theirs(cluster: InCluster) -> None:
    """The list did not have it yet, so the agent applies: it must not take the fields."""
    theirs: Json = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}
    await cluster.put_secret("press", **theirs)
    before = cluster.secret("press")
    empty = {"metadata": {"resourceVersion": "1"}, "items": []}
    (
        cluster.api["get", kmock.params({"fieldSelector": "metadata.name=firstpull-site1"})][:1]
        << empty
    )
    async with cluster.running():
        await cluster.until_said("Failed", reason="ForeignSecret")
        assert cluster.secret("press") == before


async def test_a_secret_that_somebody_has_put_in_its_place_is_not_deleted(
    cluster: InCluster,
) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
    seen = cluster.secret("press")
    assert seen is not None
    await cluster.remove("press")
    await cluster.put_secret("press")
    async with cluster.client() as client:
        with pytest.raises(Conflict):
            await client.delete(found_secret(seen))
    assert cluster.secret("press") is not None


@pytest.mark.parametrize("by", ["an event", "a status"])
async def test_an_expired_watch_lists_again(cluster: InCluster, by: str) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        await cluster.until_settled()
        lists = len([call for call in cluster.api.calls if call[:2] == ("list", "namespaces")])
        if by == "a status":
            gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
            cluster.api["watch"][:1] << 410 << gone
        await cluster.api.objects.forget()
        await cluster.until(
            lambda: (
                len([call for call in cluster.api.calls if call[:2] == ("list", "namespaces")])
                > lists
            )
        )
        await cluster.until_settled()
        await cluster.api.add_namespace("paint", team="a")
        await cluster.until(lambda: cluster.holds("paint", PASSWORD))


async def test_throttling_is_obeyed(cluster: InCluster) -> None:
    throttled = {"message": "too many requests"}
    cluster.api["patch"][:1] << 429 << throttled << kmock.headers({"Retry-After": "77"})
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        assert any(seconds >= 70 for seconds in cluster.time.waits)
        failed = [report["site1"]["reason"] for report in cluster.hub.reports]
        assert failed == ["ClusterUnreachable", None]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "ClusterForbids"),
        (403, "ClusterForbids"),
        (422, "ClusterRefuses"),
        (500, "ClusterUnreachable"),
        (503, "ClusterUnreachable"),
    ],
)
async def test_each_refusal_has_its_reason_and_is_tried_again(
    cluster: InCluster, status: int, reason: str
) -> None:
    cluster.api["patch"][:1] << status << {"message": "no"}
    async with cluster.running():
        await cluster.until(lambda: bool(cluster.hub.reports))
        assert cluster.hub.reports[0]["site1"]["reason"] == reason
        await cluster.until_said("LoggedIn")


async def test_a_cluster_that_does_not_listen_is_unreachable(cluster: InCluster) -> None:
    cluster.served = replace(cluster.served, url="https://127.0.0.1:1")
    async with cluster.running():
        await cluster.until_said("Failed", reason="ClusterUnreachable")
        assert not cluster.engine.follower.is_following()


async def test_lists_come_in_pages(cluster: InCluster) -> None:
    for number in range(450):
        await cluster.api.objects.create(
            Key(SECRETS, "press", f"other-{number}"), {"metadata": {}}, manager="somebody"
        )
    async with cluster.client() as client:
        listing = await client.secrets("press")
    assert len({item["metadata"]["name"] for item in listing.items}) == 450
