"""An agent in a cluster: pull secrets come, follow and go with the deliveries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from firstpull_agent.engines.kubernetes.logins import Selection
from firstpull_agent.engines.kubernetes.secrets import Owner

from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kubernetes.objects import ACCOUNTS, NAMESPACES, SECRETS, Key
from tests.device_agent.deliveries import PASSWORD, USERNAME, desired, entry
from tests.device_agent.in_cluster import InCluster, cluster_with, named, selected

SITE = "10.0.0.4:8080"
NEW = {"deliveryId": "delivery-2", "password": "new"}

MakeCluster = Callable[..., AbstractAsyncContextManager[InCluster]]


@pytest.fixture
def make(authority: CertificateAuthority, tmp_path: Path) -> MakeCluster:
    def cluster(
        selection: Selection | None = None,
        **entries: Any,  # noqa: ANN401 - deliveries
    ) -> AbstractAsyncContextManager[InCluster]:
        wanted = desired(**(entries or {"site1": entry(SITE)}))
        return cluster_with(authority, tmp_path, wanted, selection or named())

    return cluster


@pytest.fixture
async def cluster(make: MakeCluster) -> AsyncIterator[InCluster]:
    async with make() as it:
        yield it


async def test_each_named_namespace_gets_a_pull_secret_and_then_it_reports(
    cluster: InCluster,
) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
    for namespace in ("press", "weld"):
        found = cluster.secret(namespace)
        assert found is not None
        assert found["type"] == "kubernetes.io/dockerconfigjson"
        login = cluster.logins(namespace)[SITE]
        assert (login["username"], login["password"]) == (USERNAME, PASSWORD)
        assert [owner["manager"] for owner in found["metadata"]["managedFields"]] == [
            "firstpull-agent"
        ]
    assert cluster.secret("default") is None


@pytest.mark.parametrize(
    ("address", "insecure", "spelled"),
    [
        ("registry.site", False, ["registry.site", "registry.site:443"]),
        ("registry.site:443", False, ["registry.site", "registry.site:443"]),
        ("registry.site:8443", False, ["registry.site:8443"]),
        ("registry.site", True, ["registry.site"]),
    ],
)
async def test_images_find_the_login_with_and_without_the_default_port(
    make: MakeCluster, address: str, *, insecure: bool, spelled: list[str]
) -> None:
    async with make(site1=entry(address, insecure=insecure)) as it, it.running():
        await it.until_said("LoggedIn")
        assert list(it.logins("press")) == spelled


async def test_one_more_look_writes_nothing(cluster: InCluster) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        await cluster.until_settled()
        before, looks = cluster.writes(), len(cluster.api.calls)
        cluster.service.recheck()
        await cluster.until(lambda: len(cluster.api.calls) > looks)
        await cluster.until_settled()
        assert cluster.writes() == before
        assert len(cluster.check.checked) == 1  # the registry is not asked again


async def test_a_rotation_changes_the_secret_in_place(cluster: InCluster) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        before = cluster.secret("press")
        cluster.check.accepted.add("delivery-2")
        cluster.hub.change(desired(site1=entry(SITE, **NEW)))
        await cluster.until_said("LoggedIn", "delivery-2")
        assert cluster.holds("press", "new")
        assert cluster.holds("weld", "new")
        after = cluster.secret("press")
        assert before is not None
        assert after is not None
        assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_the_old_login_stays_until_the_registry_takes_the_new_one(
    cluster: InCluster,
) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        cluster.hub.change(desired(site1=entry(SITE, **NEW)))
        await cluster.until_said("Failed", "delivery-2", reason="CredentialsNotAccepted")
        assert cluster.holds("press", PASSWORD)


async def test_somebody_elses_secret_is_left_alone_and_reported(cluster: InCluster) -> None:
    await cluster.put_secret("press")
    theirs = cluster.secret("press")
    async with cluster.running():
        await cluster.until_said("Failed", reason="ForeignSecret")
        assert cluster.holds("weld", PASSWORD)
        assert cluster.secret("press") == theirs
        await cluster.remove("press")
        await cluster.until_said("LoggedIn")
        assert cluster.holds("press", PASSWORD)


async def test_a_withdrawal_removes_each_secret_and_what_names_it(make: MakeCluster) -> None:
    async with make(named(accounts=("default",))) as it:
        key = Key(ACCOUNTS, "press", "default")
        theirs = {"imagePullSecrets": [{"name": "theirs"}]}
        await it.api.objects.merge(key, theirs, manager="somebody")
        async with it.running():
            await it.until_said("LoggedIn")
            assert it.pull_secrets("press") == ["theirs", "firstpull-site1"]
            assert it.pull_secrets("weld") == ["firstpull-site1"]
            await it.put_secret("press", "unrelated")
            it.hub.change(desired())
            await it.until(lambda: "site1" not in it.hub.reported)
        assert it.secret("press") is None
        assert it.secret("weld") is None
        assert it.secret("press", "unrelated") is not None
        assert it.pull_secrets("press") == ["theirs"]
        assert it.pull_secrets("weld") == []


async def test_what_was_withdrawn_while_the_agent_was_away_goes_when_it_is_back(
    cluster: InCluster,
) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
    cluster.hub.desired, cluster.hub.reported = desired(), {}
    async with cluster.running():
        await cluster.until(lambda: cluster.secret("press") is None)
        await cluster.until(lambda: cluster.secret("weld") is None)


async def test_a_secret_that_somebody_deletes_or_edits_comes_back(cluster: InCluster) -> None:
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        await cluster.until_settled()
        await cluster.remove("press")
        await cluster.until(lambda: cluster.holds("press", PASSWORD))
        edit = {"data": {".dockerconfigjson": "e30="}}
        await cluster.api.objects.merge(
            Key(SECRETS, "weld", "firstpull-site1"), edit, manager="kubectl-edit"
        )
        await cluster.until(lambda: cluster.secret("weld") is not None)
        await cluster.until(lambda: bool(cluster.logins("weld")))
        assert cluster.holds("weld", PASSWORD)


async def test_new_namespaces_get_theirs_and_others_lose_it(make: MakeCluster) -> None:
    async with make(selected()) as it, it.running():
        await it.until_said("LoggedIn")
        await it.until_settled()
        await it.api.add_namespace("paint", team="a")
        await it.api.add_namespace("office", team="b")
        await it.until(lambda: it.holds("paint", PASSWORD))
        await it.until_settled()  # so that only the change of the label leads to what follows
        await it.label_namespace("weld", team="b")
        await it.until(lambda: it.secret("weld") is None)
        assert it.secret("office") is None
        await it.until_settled()
        await it.label_namespace("office", team="a")
        await it.until(lambda: it.holds("office", PASSWORD))
        assert it.holds("press", PASSWORD)


async def test_a_namespace_that_terminates_holds_up_nothing(make: MakeCluster) -> None:
    async with make(selected()) as it:
        await it.api.objects.delete(Key(NAMESPACES, None, "weld"))
        async with it.running():
            await it.until_said("LoggedIn")
            assert it.holds("press", PASSWORD)
            assert it.secret("weld") is None
            await it.api.objects.finish("weld")
            await it.api.add_namespace("weld", team="a")
            await it.until(lambda: it.holds("weld", PASSWORD))


async def test_a_named_namespace_that_is_not_there_is_reported_and_then_served(
    make: MakeCluster,
) -> None:
    async with make(Selection(("press", "paint"))) as it, it.running():
        await it.until_said("Failed", reason="NamespaceNotFound")
        assert it.holds("press", PASSWORD)
        await it.api.add_namespace("paint")
        await it.until_said("LoggedIn")
        assert it.holds("paint", PASSWORD)


async def test_a_service_account_that_comes_a_moment_later_is_waited_for(
    make: MakeCluster,
) -> None:
    async with make(selected(accounts=("default",))) as it:
        it.api.makes_accounts = False
        await it.api.add_namespace("paint", team="a")
        async with it.running():
            await it.until_said("Failed", reason="ServiceAccountNotFound")
            assert it.holds("paint", PASSWORD)
            await it.api.add_account("paint")
            await it.until_said("LoggedIn")
        assert it.pull_secrets("paint") == ["firstpull-site1"]


async def test_two_agents_in_one_cluster_leave_each_others_secrets_alone(
    make: MakeCluster,
) -> None:
    async with make() as it, make(site2=entry(SITE)) as other:
        other.served, other.owner = it.served, Owner(instance="other")
        async with it.running(), other.running():
            await it.until_said("LoggedIn")
            await other.until_said("LoggedIn", name="site2")
            it.hub.change(desired())
            await it.until(lambda: "site1" not in it.hub.reported)
            await other.until_settled()
            assert it.secret("press") is None
            assert other.holds("press", PASSWORD, "firstpull-site2")


async def test_a_secret_with_its_common_labels_only_is_not_the_agents(cluster: InCluster) -> None:
    labels = {
        "app.kubernetes.io/managed-by": "firstpull-agent",
        "app.kubernetes.io/instance": "firstpull-agent",
    }
    empty = {**labels, "firstpull/connected-registry": ""}
    await cluster.put_secret("press", "theirs", metadata={"labels": labels})
    await cluster.put_secret("press", "empty", metadata={"labels": empty})
    async with cluster.running():
        await cluster.until_said("LoggedIn")
        cluster.hub.change(desired())
        await cluster.until(lambda: "site1" not in cluster.hub.reported)
        await cluster.until_settled()
        assert cluster.secret("press", "theirs") is not None
        assert cluster.secret("press", "empty") is not None
        assert all(report.keys() == {"site1"} for report in cluster.hub.reports)


@pytest.mark.parametrize("name", ["Plant_01", "a" * 64, "-plant", "plänt"])
async def test_a_name_that_no_secret_can_have_is_an_invalid_delivery(
    make: MakeCluster, name: str
) -> None:
    async with make(**{name: entry(SITE)}) as it, it.running():
        await it.until_said("Failed", name=name, reason="InvalidDelivery")


async def test_names_that_differ_in_case_only_do_not_share_a_secret(make: MakeCluster) -> None:
    async with make(Site1=entry(SITE, expiresOn="2028-01-01T00:00:00Z"), site1=entry(SITE)) as it:
        async with it.running():
            await it.until(lambda: {"Site1", "site1"} <= it.hub.reported.keys())
            states = {name: it.hub.reported[name]["reason"] for name in ("Site1", "site1")}
        assert sorted(states.values(), key=str) == ["ForeignSecret", None]
