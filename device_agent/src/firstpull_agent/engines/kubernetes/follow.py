"""Follows the cluster, so that new namespaces get their Secrets and lost ones come back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from firstpull_agent.backoff import delay_seconds
from firstpull_agent.engines.choice import UnusableSettings
from firstpull_agent.engines.kubernetes.cluster import (
    Cluster,
    Event,
    Expired,
    Gone,
    Listing,
    found_secret,
)
from firstpull_agent.engines.kubernetes.logins import ClusterLogins, Connect, Selection
from firstpull_agent.engines.kubernetes.secrets import Found, Owner
from firstpull_agent.reports import Failure, defect
from firstpull_agent.times import Time

_log = logging.getLogger(__name__)

_CAP_SECONDS = 30.0
_LEAST_SECONDS = 1.0
"""Between two watches, where the cluster ends them at once."""


@dataclass(frozen=True)
class _Source:
    """Something to list and then to watch. `listed` and `seen` take in what it brings."""

    what: str
    list: Callable[[Cluster], Awaitable[Listing]]
    watch: Callable[[Cluster, str], AsyncIterator[Event]]
    listed: Callable[[Listing], None]
    seen: Callable[[Event], None]


class Follower:
    """Watches the selected namespaces and the agent's Secrets; calls `changed` after a change."""

    def __init__(
        self,
        connect: Connect,
        logins: ClusterLogins,
        selection: Selection,
        owner: Owner,
        *,
        time: Time,
        rng: random.Random,
    ) -> None:
        self._connect = connect
        self._logins = logins
        self._selection = selection
        self._owner = owner
        self._time = time
        self._rng = rng
        self._own: dict[str | None, dict[tuple[str, str], Found]] = {}
        self._following: set[str] = set()
        self._changed: Callable[[], None] = lambda: None

    def is_following(self) -> bool:
        """Whether everything was listed and is being watched."""
        return len(self._following) == len(self._sources())

    async def run(self, changed: Callable[[], None]) -> None:
        """Follow until cancelled."""
        self._changed = changed
        async with asyncio.TaskGroup() as group:
            for source in self._sources():
                group.create_task(self._follow(source))

    def _sources(self) -> list[_Source]:
        sources = [self._secrets(scope) for scope in self._selection.scopes]
        if (selector := self._selection.selector) is not None:
            namespaces = _Source(
                "namespaces",
                lambda cluster: cluster.namespaces(selector),
                lambda cluster, version: cluster.watch_namespaces(selector, version),
                lambda _: None,
                lambda _: None,
            )
            sources.append(namespaces)
        return sources

    def _secrets(self, scope: str | None) -> _Source:
        selector = self._owner.selector
        return _Source(
            f"Secrets in {scope or 'all namespaces'}",
            lambda cluster: cluster.secrets(scope, label_selector=selector),
            lambda cluster, version: cluster.watch_secrets(scope, selector, version),
            lambda listing: self._note(scope, [found_secret(item) for item in listing.items]),
            lambda event: self._note_one(scope, event),
        )

    def _note(self, scope: str | None, found: list[Found]) -> None:
        self._own[scope] = {(secret.namespace, secret.name): secret for secret in found}
        self._logins.note(scope, self._own[scope].values())

    def _note_one(self, scope: str | None, event: Event) -> None:
        secret, own = found_secret(event.object), self._own[scope]
        if event.kind == "DELETED":
            own.pop((secret.namespace, secret.name), None)
        else:
            own[secret.namespace, secret.name] = secret
        self._logins.note(scope, own.values())

    async def _follow(self, source: _Source) -> None:
        failures = 0
        while True:
            wait = 0.0
            try:
                async with self._connect() as cluster:
                    async for _ in self._events(cluster, source):
                        failures = 0
            except Expired:
                _log.info("the watch of %s has expired; listing again", source.what)
            except Exception as error:  # a defect must not end the agent
                failures += 1
                wait = delay_seconds(failures, cap_seconds=_CAP_SECONDS, rng=self._rng)
                if isinstance(error, Failure):
                    wait = max(wait, error.retry_after)
                known = isinstance(error, Failure | Gone | UnusableSettings)
                why = error if known else defect(error)
                _log.warning("%s: %s; trying again in %.0f s", source.what, why, wait)
            finally:
                self._following.discard(source.what)
            if wait:
                await self._time.wait(asyncio.Event(), wait)

    async def _events(self, cluster: Cluster, source: _Source) -> AsyncIterator[None]:
        """List, then watch for as long as the cluster lets it; yields at each sign of life."""
        listing = await source.list(cluster)
        source.listed(listing)
        self._changed()
        version = listing.version
        while True:
            began = self._time.monotonic()
            async for event in source.watch(cluster, version):
                self._following.add(source.what)
                yield
                version = event.version or version
                if not event.is_bookmark:
                    source.seen(event)
                    self._changed()
            if self._time.monotonic() - began < _LEAST_SECONDS:
                await self._time.wait(asyncio.Event(), _LEAST_SECONDS)
