"""The chart's permissions are enough for all that the agent does, and each of them is needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kubernetes.objects import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    Key,
)
from tests.device_agent.chart import NAMESPACE, USER, VALUES, manifests
from tests.device_agent.deliveries import PASSWORD, desired, entry
from tests.device_agent.in_cluster import InCluster, cluster_with, named, selected

SITE = "10.0.0.4:8080"
NEW = {"deliveryId": "delivery-2", "password": "new"}
KINDS = {kind.name: kind for kind in (ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)}
SELECTIONS = {"named": named, "selected": selected}


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of one rendering; those of its namespaces are alike."""
    found = [one["rules"] for one in manifests(name) if one["kind"].endswith("Role")]
    assert all(each == found[0] for each in found)
    return list(found[0])


def each_permission() -> Iterator[tuple[str, str, str]]:
    """Every rendering, with one resource and one verb of its rules."""
    for name in VALUES:
        for rule in rules(name):
            for verb in rule["verbs"]:
                yield name, rule["resources"][0], verb


async def grant(cluster: InCluster, name: str, *, without: tuple[str, str] | None) -> None:
    """Make the roles of the chart, and a token of its service account."""
    for manifest in copy.deepcopy(manifests(name)):
        if (kind := KINDS.get(manifest["kind"])) is None:
            continue
        for rule in manifest.get("rules", []):
            if without is not None and rule["resources"] == [without[0]]:
                rule["verbs"].remove(without[1])
        metadata = manifest["metadata"]
        key = Key(kind, metadata.get("namespace"), metadata["name"])
        await cluster.api.objects.create(key, manifest, manager="helm")
    cluster.api.users["agent"] = USER
    cluster.token = "agent"  # noqa: S105 - of a cluster that lives for one test


async def live(cluster: InCluster, *, selects: bool) -> str | None:
    """All that an agent ever does; returns what the cluster forbade of it, None for nothing."""

    def forbidden() -> str | None:
        errors = (str(error) for error in cluster.api.errors)
        return next((error for error in errors if "is forbidden" in error), None)

    async def until(reached: Callable[[], bool]) -> None:
        await cluster.until(lambda: reached() or forbidden() is not None)

    def is_said(delivery_id: str) -> bool:
        entry = cluster.hub.reported.get("site1", {})
        return (entry.get("deliveryId"), entry.get("state")) == (delivery_id, "LoggedIn")

    cluster.check.accepted.add("delivery-2")
    async with cluster.running():
        await until(lambda: is_said("delivery-1"))
        await until(cluster.engine.follower.is_following)
        if forbidden() is None:
            if selects:
                await cluster.api.add_namespace("paint", team="a")
                await until(lambda: cluster.holds("paint", PASSWORD))
            await cluster.remove("press")
            await until(lambda: cluster.holds("press", PASSWORD))
        cluster.hub.change(desired(site1=entry(SITE, **NEW)))
        await until(lambda: is_said("delivery-2") and cluster.holds("weld", "new"))
        cluster.hub.change(desired())
        await until(lambda: "site1" not in cluster.hub.reported)
        if forbidden() is None:
            assert cluster.secret("press") is None
            assert cluster.pull_secrets("press") == []
    return forbidden()


@pytest.mark.parametrize("name", sorted(VALUES))
async def test_the_charts_permissions_are_enough(
    authority: CertificateAuthority, tmp_path: Path, name: str
) -> None:
    selection = SELECTIONS[name](accounts=("default",))
    async with cluster_with(authority, tmp_path, desired(site1=entry(SITE)), selection) as it:
        await grant(it, name, without=None)
        assert await live(it, selects=name == "selected") is None
        assert {user for *_, user in it.api.calls} == {USER}


@pytest.mark.parametrize(("name", "resource", "verb"), list(each_permission()))
async def test_without_any_one_of_them_the_cluster_forbids_something(
    authority: CertificateAuthority, tmp_path: Path, name: str, resource: str, verb: str
) -> None:
    selection = SELECTIONS[name](accounts=("default",))
    async with cluster_with(authority, tmp_path, desired(site1=entry(SITE)), selection) as it:
        await grant(it, name, without=(resource, verb))
        refused = await live(it, selects=name == "selected")
    assert refused is not None
    assert f'cannot {verb} resource "{resource}"' in refused


def test_no_permission_reaches_beyond_what_the_values_name() -> None:
    kinds = {one["kind"] for one in manifests("named")}
    assert "ClusterRole" not in kinds
    roles = [one for one in manifests("named") if one["kind"] == "Role"]
    assert [one["metadata"]["namespace"] for one in roles] == VALUES["named"]["namespaces"]
    assert NAMESPACE not in {one["metadata"]["namespace"] for one in roles}
    for name in VALUES:
        for rule in rules(name):
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
        (accounts,) = (one for one in rules(name) if one["resources"] == ["serviceaccounts"])
        assert accounts["resourceNames"] == VALUES[name]["serviceAccounts"]
