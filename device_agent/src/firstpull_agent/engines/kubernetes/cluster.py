"""The calls to the cluster's API that the agent makes, and what their errors mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.config.config_exception import ConfigException

from firstpull_agent.engines.choice import UnusableSettings
from firstpull_agent.engines.kubernetes.secrets import FIELD_MANAGER, KEY, Apply, Found
from firstpull_agent.reports import Failure, Reason

REQUEST_SECONDS = 15.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PAGE = 200
"""Objects in one answer of a list."""
_BOOKMARK = "BOOKMARK"
_WATCH_SECONDS = 300
"""A watch ends after this, so that one whose connection has died is noticed."""


class Conflict(Exception):
    """Somebody else has changed the object in between: look again."""


class Gone(Exception):
    """The object, or its namespace, is not there or about to go."""


class Expired(Exception):
    """The cluster no longer knows the version to watch from (410): list again."""


@dataclass(frozen=True)
class Listing:
    """All objects of a kind, and the version of the cluster at which that was so."""

    items: tuple[Mapping[str, Any], ...]
    version: str


@dataclass(frozen=True)
class Event:
    """A change that a watch has seen. A bookmark is none: the first says that the watch began."""

    kind: str
    object: Mapping[str, Any]

    @property
    def is_bookmark(self) -> bool:
        """Whether nothing has changed."""
        return self.kind == _BOOKMARK

    @property
    def version(self) -> str:
        """The version of the cluster to watch on from."""
        return str(self.object["metadata"].get("resourceVersion", ""))


_Call = Callable[..., Awaitable[Any]]


async def configured(kubeconfig: str | None) -> client.Configuration:
    """How to reach the cluster: by a kubeconfig file, else as a pod in it.

    Raises UnusableSettings.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(kubeconfig, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise UnusableSettings(f"no cluster to talk to: {error}") from None
    # The agent has a backoff of its own, and obeys Retry-After.
    configuration.retries = 0
    return configuration


class Cluster:
    """A connection to the cluster's API. Each method raises Failure, and what it names."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._core = client.CoreV1Api(api)

    @staticmethod
    @asynccontextmanager
    async def connected(kubeconfig: str | None) -> AsyncIterator[Cluster]:
        """A connection, closed at the end. Raises UnusableSettings."""
        async with client.ApiClient(await configured(kubeconfig)) as api:
            yield Cluster(api)

    async def namespaces(self, selector: str) -> Listing:
        """The namespaces that a label selector names."""
        return await self._list(self._core.list_namespace, label_selector=selector)

    async def secrets(self, namespace: str | None, **selectors: str) -> Listing:
        """The Secrets of a namespace, or of all; by `label_selector` or `field_selector`."""
        return await self._list(self._secrets(namespace), **selectors)

    async def apply(self, change: Apply) -> None:
        """Write a Secret by server-side apply. Raises Conflict, and Gone without its namespace."""
        manifest = dict(change.manifest)
        if change.version is not None:
            metadata = {**manifest["metadata"], "resourceVersion": change.version}
            manifest["metadata"] = metadata
        # What replaces the agent's own Secret takes back what somebody edited; a new one must
        # take nothing from a Secret that somebody made in between.
        force = change.version is not None
        with _errors(f"Secret {change.namespace}/{change.name}"):
            await self._core.patch_namespaced_secret(
                change.name,
                change.namespace,
                manifest,
                field_manager=FIELD_MANAGER,
                force=force,
                **_content(_APPLY),
                _request_timeout=REQUEST_SECONDS,
            )

    async def delete(self, found: Found) -> None:
        """Remove a Secret that is still this one. Raises Conflict, and Gone if there is none."""
        preconditions = client.V1Preconditions(uid=found.uid, resource_version=found.version)
        with _errors(f"Secret {found.namespace}/{found.name}"):
            await self._core.delete_namespaced_secret(
                found.name,
                found.namespace,
                body=client.V1DeleteOptions(preconditions=preconditions),
                _request_timeout=REQUEST_SECONDS,
            )

    async def pull_secrets(self, namespace: str, account: str) -> tuple[list[str], str]:
        """The names in a service account's imagePullSecrets, and its version. Raises Gone."""
        with _errors(f"ServiceAccount {namespace}/{account}"):
            found = await self._core.read_namespaced_service_account(
                account, namespace, _request_timeout=REQUEST_SECONDS
            )
        names = [reference.name for reference in found.image_pull_secrets or ()]
        return names, found.metadata.resource_version

    async def set_pull_secrets(
        self, namespace: str, account: str, names: list[str], *, version: str
    ) -> None:
        """Replace a service account's imagePullSecrets. Raises Conflict and Gone.

        The list is atomic for server-side apply, so it is merged here, under its version.
        """
        body = {
            "metadata": {"resourceVersion": version},
            "imagePullSecrets": [{"name": name} for name in names],
        }
        with _errors(f"ServiceAccount {namespace}/{account}"):
            await self._core.patch_namespaced_service_account(
                account,
                namespace,
                body,
                field_manager=FIELD_MANAGER,
                **_content(_MERGE),
                _request_timeout=REQUEST_SECONDS,
            )

    def watch_namespaces(self, selector: str, version: str) -> AsyncIterator[Event]:
        """The changes of the selected namespaces, for some minutes. Raises Expired."""
        return self._watch(self._core.list_namespace, selector, version)

    def watch_secrets(
        self, namespace: str | None, selector: str, version: str
    ) -> AsyncIterator[Event]:
        """The changes of a namespace's Secrets, or of all, for some minutes. Raises Expired."""
        return self._watch(self._secrets(namespace), selector, version)

    def _secrets(self, namespace: str | None) -> _Call:
        if namespace is None:
            return self._core.list_secret_for_all_namespaces
        return partial(self._core.list_namespaced_secret, namespace)

    async def _list(self, call: _Call, **selectors: str) -> Listing:
        items: list[Mapping[str, Any]] = []
        page: dict[str, str] = {}
        with _errors("a list"):
            while True:
                async with await call(
                    **selectors,
                    **page,
                    limit=_PAGE,
                    _request_timeout=REQUEST_SECONDS,
                    _preload_content=False,
                ) as answer:
                    content = json.loads(await _body(answer))
                items += content.get("items") or []
                metadata = content.get("metadata") or {}
                if not metadata.get("continue"):
                    return Listing(tuple(items), metadata.get("resourceVersion") or "")
                page = {"_continue": metadata["continue"]}

    async def _watch(self, call: _Call, selector: str, version: str) -> AsyncIterator[Event]:
        timeout = aiohttp.ClientTimeout(
            total=_WATCH_SECONDS + REQUEST_SECONDS, sock_connect=REQUEST_SECONDS
        )
        with _errors("a watch"):
            async with await call(
                watch=True,
                label_selector=selector,
                resource_version=version,
                allow_watch_bookmarks=True,
                timeout_seconds=_WATCH_SECONDS,
                _request_timeout=timeout,
                _preload_content=False,
            ) as answer:
                if answer.status != 200:
                    await _body(answer)
                yield Event(_BOOKMARK, {"metadata": {}})
                async for line in answer.content:
                    if line.strip():
                        yield _event(json.loads(line))


def _content(media_type: str) -> dict[str, Any]:
    """The argument that says of which type a patch is; the client's types do not have it."""
    return {"_content_type": media_type}


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = await answer.read()
    if answer.status != 200:
        raise _failed(answer.url.path, answer.status, body, answer.headers)
    return body


def _event(content: Mapping[str, Any]) -> Event:
    if content["type"] == "ERROR":
        status = content["object"]
        raise _error("a watch", status.get("code"), status, {})
    return Event(content["type"], content["object"])


def found_secret(item: Mapping[str, Any]) -> Found:
    """A Secret of a listing or an event."""
    metadata = item["metadata"]
    return Found(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        version=metadata.get("resourceVersion", ""),
        type=item.get("type", ""),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        data=(item.get("data") or {}).get(KEY),
    )


def is_going(namespace: Mapping[str, Any]) -> bool:
    """Whether a namespace is being deleted: it takes nothing new."""
    phase = (namespace.get("status") or {}).get("phase")
    return phase == "Terminating" or "deletionTimestamp" in namespace["metadata"]


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Raises what the errors of a call mean."""
    try:
        yield
    except ApiException as error:
        raise _failed(what, error.status, error.body, error.headers or {}) from None
    except TimeoutError:
        raise _unreachable("the cluster's API does not answer in time") from None
    except (aiohttp.ClientError, OSError) as error:
        detail = f"the cluster's API cannot be reached ({type(error).__name__})"
        raise _unreachable(detail) from None
    except ValueError:
        raise _unreachable(f"the cluster's API does not answer in JSON about {what}") from None


def _failed(
    what: str, status: int | None, body: str | bytes | None, headers: Mapping[str, str]
) -> Exception:
    try:
        content = json.loads(body or "{}")
    except ValueError:
        content = {}
    return _error(what, status, content if isinstance(content, dict) else {}, headers)


def _error(
    what: str, status: int | None, content: Mapping[str, Any], headers: Mapping[str, str]
) -> Exception:
    """The exception for an answer; the messages of Kubernetes name objects and no content."""
    message = " ".join(str(content.get("message") or "").split())[:300]
    if status == 404 or _is_of_going_namespace(content):
        return Gone(f"{what}: {message or 'not there'}")
    if status == 409:
        return Conflict(f"{what}: {message}")
    if status == 410:
        return Expired(message)
    if status in {401, 403}:
        return Failure(Reason.CLUSTER_FORBIDS, f"{what}: {message or status}")
    if status == 429 or status is None or status >= 500:
        return _unreachable(
            f"the cluster's API answered {status} about {what}",
            retry_after=_seconds(headers.get("Retry-After")),
        )
    return Failure(Reason.CLUSTER_REFUSES, f"{what}: {status} {message}")


def _is_of_going_namespace(content: Mapping[str, Any]) -> bool:
    causes = (content.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def _seconds(header: str | None) -> float:
    return float(header) if header is not None and header.isdecimal() else 0.0


def _unreachable(detail: str, *, retry_after: float = 0.0) -> Failure:
    return Failure(Reason.CLUSTER_UNREACHABLE, detail, retry_after=retry_after)
