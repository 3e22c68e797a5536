"""Serves a cluster's API over HTTPS, on kmock.

kmock parses requests, answers discovery, and lets a test put faults in front: `cluster["patch"] <<
429`. What it emulates of objects is too little for server-side apply, so objects are here.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import attrs
import kmock
from aiohttp import web

from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kubernetes import permissions
from local_azure.kubernetes.objects import (
    ACCOUNTS,
    KINDS,
    NAMESPACES,
    Json,
    Key,
    Kind,
    Objects,
    Refusal,
)

_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
_APPLY = "application/apply-patch+yaml"
_NAMESPACES = "/api/v1/namespaces"
_ALL_NAMESPACES = "/api/v1/all-namespaces"
"""What kmock is told instead, which takes the former for the path of a namespace without name."""
_OF_OBJECTS = re.compile(r"/(api/v1|apis/[^/]+/v1)/.+")


@dataclass(frozen=True)
class _Call:
    """A request for objects: its verb as RBAC names it."""

    verb: str
    kind: Kind
    namespace: str | None
    name: str | None

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace, self.name or "")


@attrs.define(kw_only=True)
class Cluster(kmock.KubernetesScaffold):
    """A cluster. Requests with a token of `users` need permissions; others are an operator's."""

    objects: Objects = attrs.field(factory=Objects)
    users: dict[str, str] = attrs.field(factory=dict)
    """Bearer tokens, and the user that each is of."""
    makes_accounts: bool = True
    """Whether a new namespace gets its service account `default`; a cluster takes a moment."""
    calls: list[tuple[str, str, str]] = attrs.field(factory=list)
    """Verb, resource and user of each request for objects."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for kind in KINDS:
            path = f"{kind.api_version}/{kind.plural}"
            self.resources[path] = kmock.ResourceInfo(
                kind=kind.name,
                singular=kind.name.lower(),
                namespaced=kind.namespaced,
                verbs=set(_VERBS),
            )
        self.fallback[_OF_OBJECTS] << self._serve
        # kmock's own answer names the group as "/v1", which kubectl does not take.
        self["get", re.compile(r"/api/v1/?")] << self._core_resources

    async def add_namespace(self, name: str, **labels: str) -> None:
        """Create a namespace, with its service account if the cluster makes them."""
        content: Json = {"metadata": {"name": name, "labels": labels}}
        await self.objects.create(Key(NAMESPACES, None, name), content, manager="operator")
        if self.makes_accounts:
            await self.add_account(name)

    async def add_account(self, namespace: str, name: str = "default") -> None:
        """Create a service account."""
        await self.objects.create(Key(ACCOUNTS, namespace, name), {}, manager="controller")

    async def __call__(self, raw_request: web.BaseRequest) -> web.StreamResponse:
        """Serve a request."""
        if raw_request.path.rstrip("/") == _NAMESPACES:
            url = raw_request.rel_url
            raw_request = raw_request.clone(
                rel_url=url.with_path(_ALL_NAMESPACES).with_query(url.query)
            )
        return await super().__call__(raw_request)

    async def _core_resources(self) -> Json:
        return {
            "kind": "APIResourceList",
            "groupVersion": "v1",
            "resources": [
                {
                    "name": kind.plural,
                    "singularName": kind.name.lower(),
                    "kind": kind.name,
                    "namespaced": kind.namespaced,
                    "verbs": _VERBS,
                }
                for kind in KINDS
                if not kind.group
            ],
        }

    async def _serve(self, request: kmock.Request) -> Json | AsyncIterator[Json]:
        call = _call(request)
        if call is None:
            raise kmock.KubernetesEndpointNotFoundError
        user = self._user(request)
        self.calls.append((call.verb, call.kind.plural, user or ""))
        try:
            self._check(user, call, call.verb)
            if call.verb == "watch":
                return self._watch(request, call)
            return await self._answer(request, call, user)
        except Refusal as refusal:
            raise kmock.KubernetesError(
                refusal.status, refusal.reason, refusal.message, refusal.details or {"causes": []}
            ) from None

    def _user(self, request: kmock.Request) -> str | None:
        headers = {name.lower(): text for name, text in request.headers.items()}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        return self.users.get(token)

    def _check(self, user: str | None, call: _Call, verb: str) -> None:
        if user is not None:
            permissions.check(
                self.objects, user, verb, call.kind, namespace=call.namespace, name=call.name
            )

    async def _answer(self, request: kmock.Request, call: _Call, user: str | None) -> Json:
        objects, key, manager = self.objects, call.key, _manager(request)
        content: Json = json.loads(request.body or "{}") or {}
        match call.verb:
            case "get":
                return objects.get(key)
            case "list":
                return self._list(request, call)
            case "create":
                named = Key(call.kind, call.namespace, content["metadata"]["name"])
                created = await objects.create(named, content, manager=manager)
                if call.kind is NAMESPACES and self.makes_accounts:
                    await self.add_account(named.name)
                return created
            case "update":
                return await objects.replace(key, content, manager=manager)
            case "delete":
                return await objects.delete(key, preconditions=content.get("preconditions"))
            case _:
                return await self._patch(request, call, user, content)

    async def _patch(
        self, request: kmock.Request, call: _Call, user: str | None, content: Json
    ) -> Json:
        manager = _manager(request)
        if _content_type(request) != _APPLY:
            return await self.objects.merge(call.key, content, manager=manager)
        # The name is known, so that a rule with resourceNames may allow to create it.
        if not self.objects.has(call.key):
            self._check(user, call, "create")
        force = request.params.get("force", "").lower() == "true"
        return await self.objects.apply(call.key, content, manager=manager, force=force)

    def _list(self, request: kmock.Request, call: _Call) -> Json:
        found = [
            content
            for content in self.objects.find(call.kind, call.namespace)
            if _selected(content, request)
        ]
        limit, start = int(request.params.get("limit") or 0), 0
        if token := request.params.get("continue"):
            start = int(token)
        metadata: Json = {"resourceVersion": f"{self.objects.version}"}
        if limit and start + limit < len(found):
            metadata["continue"] = f"{start + limit}"
        return {
            "apiVersion": call.kind.api_version,
            "kind": f"{call.kind.name}List",
            "metadata": metadata,
            "items": found[start : start + limit] if limit else found,
        }

    async def _watch(self, request: kmock.Request, call: _Call) -> AsyncIterator[Json]:
        yield b""  # type: ignore[misc] # the answer begins, though nothing has changed yet
        version = int(request.params.get("resourceVersion") or self.objects.version)
        selects = partial(_selected, request=request)
        while True:
            try:
                changes = self.objects.since(version)
            except Refusal as refusal:
                yield {"type": "ERROR", "object": _status(refusal)}
                return
            for change in changes:
                version = change.version
                is_here = call.namespace in (None, change.key.namespace)
                if change.key.kind != call.kind or not is_here:
                    continue
                if event := change.event(selects):
                    yield event
            async with self.objects.changed:
                if self.objects.version == version:
                    await self.objects.changed.wait()


def _call(request: kmock.Request) -> _Call | None:
    path = request.url.path.replace(_ALL_NAMESPACES, _NAMESPACES)
    parts = path.strip("/").split("/")
    group = ""
    match parts:
        case ["api", version, *rest]:
            pass
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    namespace = None
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        _, namespace, *rest = rest
    if not rest or len(rest) > 2:
        return None
    kind = next(
        (k for k in KINDS if (k.group, k.version, k.plural) == (group, version, rest[0])), None
    )
    name = rest[1] if len(rest) > 1 else None
    verb = _verb(request, name)
    return None if kind is None or verb is None else _Call(verb, kind, namespace, name)


def _verb(request: kmock.Request, name: str | None) -> str | None:
    method = request.method.value.upper()
    if method == "GET":
        is_watch = request.params.get("watch", "").lower() in ("true", "1")
        return "watch" if is_watch else "get" if name else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method)


def _selected(content: Json, request: kmock.Request) -> bool:
    metadata = content["metadata"]
    labels = metadata.get("labels") or {}
    for term in filter(None, request.params.get("labelSelector", "").split(",")):
        name, _, value = term.replace("==", "=").partition("=")
        if labels.get(name) != value if "=" in term else name not in labels:
            return False
    for term in filter(None, request.params.get("fieldSelector", "").split(",")):
        name, _, value = term.partition("=")
        if metadata.get(name.removeprefix("metadata.")) != value:
            return False
    return True


def _manager(request: kmock.Request) -> str:
    agent = request.headers.get("User-Agent", "unknown")
    return request.params.get("fieldManager") or agent.partition("/")[0]


def _content_type(request: kmock.Request) -> str:
    headers = {name.lower(): text for name, text in request.headers.items()}
    return headers.get("content-type", "").partition(";")[0]


def _status(refusal: Refusal) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": refusal.reason,
        "details": refusal.details,
        "code": refusal.status,
    }


@dataclass(frozen=True)
class ServedCluster:
    """A cluster that listens, at `url`."""

    api: Cluster
    url: str
    ca_pem: str

    def kubeconfig(self, path: Path, *, token: str = "operator") -> Path:  # noqa: S107 - no password
        """Write a kubeconfig for a bearer token."""
        ca = path.with_suffix(".ca.pem")
        ca.write_text(self.ca_pem)
        name = "local"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": name, "cluster": {"server": self.url, "certificate-authority": str(ca)}}
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
        path.write_text(json.dumps(content))
        return path


@asynccontextmanager
async def serve_cluster(
    certificates: CertificateAuthority, *, address: str = "127.0.0.1"
) -> AsyncIterator[ServedCluster]:
    """An empty cluster that listens on a free port, until the end of the context."""
    async with Cluster() as cluster:
        # A watch ends when its client goes, and does not hold up the end.
        server = web.Server(cluster, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0)
        await runner.setup()
        try:
            context = certificates.server_context()
            await web.TCPSite(runner, address, 0, ssl_context=context).start()
            port = runner.addresses[0][1]
            yield ServedCluster(cluster, f"https://{address}:{port}", certificates.ca_pem)
        finally:
            await runner.cleanup()
