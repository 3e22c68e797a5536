"""Brings deliveries into the cluster's namespaces, and takes them away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

from firstpull_agent.applied import Applied
from firstpull_agent.deliveries import Delivery
from firstpull_agent.engines.kubernetes.cluster import (
    Cluster,
    Conflict,
    Gone,
    found_secret,
    is_going,
)
from firstpull_agent.engines.kubernetes.secrets import (
    Delete,
    Found,
    Owner,
    address_of,
    changes_for,
    connected_registry_of,
    foreign,
)
from firstpull_agent.planning import Keep, LogIn, Refuse, Step, Withdraw
from firstpull_agent.reports import Failure, Reason

_log = logging.getLogger(__name__)

Connect = Callable[[], AbstractAsyncContextManager[Cluster]]
_TRIES = 3
"""How often a pass looks again after a conflict before it counts as failed."""


@dataclass(frozen=True)
class Selection:
    """Which namespaces get pull secrets: those named, and those that a label selector names.

    Their `accounts` name the Secret in imagePullSecrets. Without a selector, the agent needs
    permissions in the named namespaces only.
    """

    named: tuple[str, ...] = ()
    selector: str | None = None
    accounts: tuple[str, ...] = ()

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """Where to look for Secrets: in all namespaces (None), or in each named one."""
        return self.named if self.selector is None else (None,)


class ClusterLogins:
    """Implements `convergence.Logins`: a delivery is a Secret in each of the namespaces.

    The cluster has all state. `note` says which Secrets of the agent there are.
    """

    def __init__(self, connect: Connect, selection: Selection, owner: Owner) -> None:
        self._connect = connect
        self._selection = selection
        self._owner = owner
        self._noted: dict[str | None, tuple[Found, ...]] = {}

    def applied(self) -> tuple[Applied, ...]:
        """Every Secret of the agent that was noted."""
        return tuple(_applied(found) for part in self._noted.values() for found in part)

    def note(self, scope: str | None, found: Collection[Found]) -> None:
        """Note the agent's own Secrets in a scope of the selection."""
        self._noted[scope] = tuple(secret for secret in found if connected_registry_of(secret))

    async def look(self) -> None:
        """Note all Secrets of the agent. Raises Failure."""
        async with self._connect() as cluster:
            for scope in self._selection.scopes:
                listing = await cluster.secrets(scope, label_selector=self._owner.selector)
                self.note(scope, [found_secret(item) for item in listing.items])

    def in_place(self, delivery: Delivery) -> bool:  # noqa: ARG002 - a step finds out by itself
        """False: a step compares each Secret anyway, and writes nothing where all are right."""
        return False

    def carry_out(self, step: Step) -> None:
        """Carry out a step, in an event loop of its own. Raises Failure."""
        match step:
            case Refuse(rejected):
                raise Failure(rejected.reason, rejected.detail)
            case Withdraw(name):
                asyncio.run(self._again(lambda cluster: self._withdraw(cluster, name)))
            case Keep(delivery) | LogIn(delivery):
                # Each connected registry has its Secret: kubelet tries all for one address.
                asyncio.run(self._again(lambda cluster: self._bring(cluster, delivery)))

    async def _again(self, attempt: Callable[[Cluster], Awaitable[list[Failure]]]) -> None:
        """Make an attempt, again after a conflict, and raise the first of its failures."""
        async with self._connect() as cluster:
            for tries_left in reversed(range(_TRIES)):
                try:
                    failures = await attempt(cluster)
                except Conflict as conflict:
                    if tries_left:
                        continue
                    raise Failure(Reason.CLUSTER_CONFLICT, str(conflict)) from None
                for failure in failures[1:]:
                    _log.warning("%s", failure)
                if failures:
                    raise failures[0]
                return

    async def _bring(self, cluster: Cluster, delivery: Delivery) -> list[Failure]:
        """Give each namespace its Secret; one namespace's failure does not stop the others."""
        name = self._owner.secret_name(delivery.name)
        namespaces = await self._namespaces(cluster)
        found = await self._found(cluster, field_selector=f"metadata.name={name}")
        barred = foreign(delivery, owner=self._owner, namespaces=namespaces, found=found)
        failures = [_foreign(secret) for secret in barred]
        left_out = {secret.namespace for secret in barred}
        for change in changes_for(delivery, owner=self._owner, namespaces=namespaces, found=found):
            if isinstance(change, Delete):
                await self._remove(cluster, change.found)
                continue
            try:
                await cluster.apply(change)
            except Gone as gone:
                left_out.add(change.namespace)
                if change.namespace in self._selection.named:
                    failures.append(Failure(Reason.NAMESPACE_NOT_FOUND, str(gone)))
                else:  # it has just been deleted, and its pods with it
                    _log.info("%s", gone)
        for namespace in sorted(namespaces - left_out):
            failures += await self._name_in_accounts(cluster, namespace, name)
        return failures

    async def _name_in_accounts(
        self, cluster: Cluster, namespace: str, secret: str
    ) -> list[Failure]:
        failures = []
        for account in self._selection.accounts:
            try:
                names, version = await cluster.pull_secrets(namespace, account)
                if secret not in names:
                    wanted = [*names, secret]
                    await cluster.set_pull_secrets(namespace, account, wanted, version=version)
            except Gone as gone:
                failures.append(Failure(Reason.SERVICE_ACCOUNT_NOT_FOUND, str(gone)))
        return failures

    async def _withdraw(self, cluster: Cluster, name: str) -> list[Failure]:
        """Remove every Secret of a connected registry."""
        for secret in await self._found(cluster, label_selector=self._owner.selector):
            if connected_registry_of(secret) == name:
                await self._remove(cluster, secret)
        return []

    async def _remove(self, cluster: Cluster, secret: Found) -> None:
        """Remove a Secret, and before it the service accounts' references to it."""
        for account in self._selection.accounts:
            with suppress(Gone):
                names, version = await cluster.pull_secrets(secret.namespace, account)
                if secret.name in names:
                    left = [name for name in names if name != secret.name]
                    await cluster.set_pull_secrets(secret.namespace, account, left, version=version)
        with suppress(Gone):
            await cluster.delete(secret)

    async def _namespaces(self, cluster: Cluster) -> frozenset[str]:
        named = frozenset(self._selection.named)
        if self._selection.selector is None:
            return named
        listing = await cluster.namespaces(self._selection.selector)
        selected = (item["metadata"]["name"] for item in listing.items if not is_going(item))
        return named | frozenset(selected)

    async def _found(self, cluster: Cluster, **selectors: str) -> list[Found]:
        found: list[Found] = []
        for scope in self._selection.scopes:
            with suppress(Gone):  # the namespace is not there; writing to it says so
                listing = await cluster.secrets(scope, **selectors)
                found += [found_secret(item) for item in listing.items]
        return found


def _foreign(secret: Found) -> Failure:
    detail = f"Secret {secret.namespace}/{secret.name} is somebody else's; the agent leaves it"
    return Failure(Reason.FOREIGN_SECRET, detail)


def _applied(found: Found) -> Applied:
    return Applied(
        name=connected_registry_of(found),
        delivery_id="",
        address=address_of(found),
        username="",
        repositories=(),
        insecure=False,
        auth_file=f"{found.namespace}/{found.name}",
        certs_dir=None,
    )
