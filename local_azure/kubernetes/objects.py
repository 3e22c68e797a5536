"""The objects of a cluster: versions, server-side apply, and what watchers see.

Rules: kubernetes.io/docs/reference/using-api (api-concepts, server-side-apply).
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

type Json = dict[str, Any]
type Path = tuple[str, ...]

DOCKER_CONFIG = "kubernetes.io/dockerconfigjson"
_UNOWNED: frozenset[Path] = frozenset(
    {
        ("apiVersion",),
        ("kind",),
        *(("metadata", name) for name in ("name", "namespace", "uid", "resourceVersion")),
        ("metadata", "creationTimestamp"),
        ("metadata", "managedFields"),
    }
)


class Refusal(Exception):
    """An answer that is no success, as a `Status` of Kubernetes."""

    def __init__(self, status: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of objects, as in a path of the API."""

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version


NAMESPACES = Kind(group="", version="v1", plural="namespaces", name="Namespace", namespaced=False)
SECRETS = Kind(group="", version="v1", plural="secrets", name="Secret")
ACCOUNTS = Kind(group="", version="v1", plural="serviceaccounts", name="ServiceAccount")
_RBAC = "rbac.authorization.k8s.io"
ROLES = Kind(group=_RBAC, version="v1", plural="roles", name="Role")
ROLE_BINDINGS = Kind(group=_RBAC, version="v1", plural="rolebindings", name="RoleBinding")
CLUSTER_ROLES = Kind(
    group=_RBAC, version="v1", plural="clusterroles", name="ClusterRole", namespaced=False
)
CLUSTER_ROLE_BINDINGS = Kind(
    group=_RBAC,
    version="v1",
    plural="clusterrolebindings",
    name="ClusterRoleBinding",
    namespaced=False,
)
DEPLOYMENTS = Kind(group="apps", version="v1", plural="deployments", name="Deployment")
KINDS = (
    NAMESPACES,
    SECRETS,
    ACCOUNTS,
    ROLES,
    ROLE_BINDINGS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
    DEPLOYMENTS,
)


@dataclass(frozen=True)
class Key:
    """An object's place. `namespace` is None for an object of the cluster."""

    kind: Kind
    namespace: str | None
    name: str

    def __str__(self) -> str:
        return f'{self.kind.plural} "{self.name}"'


@dataclass(frozen=True)
class Change:
    """A change of an object: what it is then, or last was, and what it was before."""

    version: int
    type: str
    key: Key
    object: Json
    before: Json | None

    def event(self, selects: Callable[[Json], bool]) -> Json | None:
        """The event for a watcher of the objects that it selects, None for none.

        To a watcher, an object that it selects no more is deleted, as it was before, and one that
        it selects now is new.
        """
        was = self.before is not None and selects(self.before)
        is_now = self.type != "DELETED" and selects(self.object)
        if is_now:
            return {"type": "MODIFIED" if was else "ADDED", "object": self.object}
        if self.before is None or not was:
            return None
        metadata = {**self.before["metadata"], "resourceVersion": f"{self.version}"}
        return {"type": "DELETED", "object": {**self.before, "metadata": metadata}}


@dataclass
class _Stored:
    content: Json
    owners: dict[str, set[Path]] = field(default_factory=dict)


class Objects:
    """All objects of a cluster. Methods raise `Refusal`."""

    def __init__(self) -> None:
        self._stored: dict[Key, _Stored] = {}
        self._version = 1
        self._changes: list[Change] = []
        self._shown: dict[Key, Json] = {}
        self._oldest = 0
        self.changed = asyncio.Condition()

    @property
    def version(self) -> int:
        """The version of the last change."""
        return self._version

    def get(self, key: Key) -> Json:
        """An object. 404 if there is none."""
        if (found := self._stored.get(key)) is None:
            raise Refusal(404, "NotFound", f"{key} not found")
        return deepcopy(found.content)

    def has(self, key: Key) -> bool:
        """Whether there is an object."""
        return key in self._stored

    def find(self, kind: Kind, namespace: str | None = None) -> list[Json]:
        """The objects of a kind, of all namespaces without one."""
        return [
            deepcopy(stored.content)
            for key, stored in sorted(self._stored.items(), key=_place)
            if key.kind == kind and namespace in (None, key.namespace)
        ]

    async def create(self, key: Key, content: Json, *, manager: str) -> Json:
        """Create an object. 409 if there is one, 404 or 403 as the namespace is."""
        if key in self._stored:
            raise Refusal(409, "AlreadyExists", f"{key} already exists")
        self._check_namespace(key)
        stored = _Stored(deepcopy(content))
        stored.content["metadata"] = {
            **content.get("metadata", {}),
            "name": key.name,
            **({"namespace": key.namespace} if key.namespace else {}),
            "uid": str(uuid.uuid4()),
            "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        stored.content |= {"apiVersion": key.kind.api_version, "kind": key.kind.name}
        _complete(key, stored.content)
        stored.owners[manager] = set(dict(_leaves(stored.content)))
        return await self._write(key, stored, "ADDED")

    async def replace(self, key: Key, content: Json, *, manager: str) -> Json:
        """Write an object whole."""
        before = self._at(key)
        _check_version(key, before.content, content)
        after = deepcopy(content)
        after["metadata"] = {**before.content["metadata"], **after.get("metadata", {})}
        return await self._update(key, before, after, manager)

    async def merge(self, key: Key, patch: Json, *, manager: str) -> Json:
        """Merge a JSON merge patch (RFC 7386) into an object."""
        before = self._at(key)
        _check_version(key, before.content, patch)
        return await self._update(key, before, _merged(before.content, patch), manager)

    async def apply(self, key: Key, config: Json, *, manager: str, force: bool) -> Json:
        """Server-side apply: creates the object, or takes the fields that `config` has."""
        fields = dict(_leaves(config))
        if (before := self._stored.get(key)) is None:
            if config.get("metadata", {}).get("resourceVersion"):
                raise Refusal(409, "Conflict", f"{key}: the object has been deleted")
            return await self.create(key, config, manager=manager)
        _check_version(key, before.content, config)
        conflicts = [
            f'conflict with "{other}": .{".".join(path)}'
            for other, owned in before.owners.items()
            for path in sorted(owned & fields.keys())
            if other != manager and _value(before.content, path) != fields[path]
        ]
        if conflicts and not force:
            text = f"Apply failed with {len(conflicts)} conflict(s): {'; '.join(conflicts)}"
            raise Refusal(409, "Conflict", text)
        after = deepcopy(before.content)
        owners = {name: set(owned) for name, owned in before.owners.items()}
        others: set[Path] = set().union(*(o for name, o in owners.items() if name != manager))
        for path in owners.get(manager, set()) - fields.keys() - others:
            _remove(after, path)
        for path, value in fields.items():
            if force and _value(before.content, path) != value:
                for owned in owners.values():
                    owned.discard(path)
            _put(after, path, value)
        owners[manager] = set(fields)
        _validate(key, after, before.content)
        return await self._write(key, _Stored(after, owners), "MODIFIED")

    async def delete(self, key: Key, *, preconditions: Mapping[str, str] | None = None) -> Json:
        """Remove an object that meets the preconditions. A namespace goes on to terminate."""
        found = self._at(key)
        metadata = found.content["metadata"]
        for name, wanted in (preconditions or {}).items():
            if metadata.get(name) != wanted:
                raise Refusal(409, "Conflict", f"{key}: the {name} in the precondition differs")
        if key.kind is NAMESPACES:
            found.content["status"] = {"phase": "Terminating"}
            metadata["deletionTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return await self._write(key, found, "MODIFIED")
        del self._stored[key]
        return await self._changed(key, found.content, "DELETED")

    async def finish(self, namespace: str) -> None:
        """End a terminating namespace, with all that is in it."""
        for key in [key for key in self._stored if key.namespace == namespace]:
            await self.delete(key)
        key = Key(NAMESPACES, None, namespace)
        content = self._stored.pop(key).content
        await self._changed(key, content, "DELETED")

    def since(self, version: int) -> list[Change]:
        """The changes after a version. 410 where they are not kept."""
        if version < self._oldest:
            message = f"too old resource version: {version} ({self._oldest})"
            raise Refusal(410, "Expired", message)
        return [change for change in self._changes if change.version > version]

    async def forget(self) -> None:
        """Forget all changes: each watch expires, and a later one from before as well."""
        self._version += 1
        self._oldest, self._changes = self._version, []
        async with self.changed:
            self.changed.notify_all()

    async def _update(self, key: Key, before: _Stored, after: Json, manager: str) -> Json:
        _validate(key, after, before.content)
        fields = dict(_leaves(after))
        changed = {p for p, value in fields.items() if _value(before.content, p) != value}
        if not changed and fields.keys() == dict(_leaves(before.content)).keys():
            return deepcopy(before.content)
        owners = {name: (o & fields.keys()) - changed for name, o in before.owners.items()}
        owners[manager] = owners.get(manager, set()) | changed
        return await self._write(key, _Stored(after, owners), "MODIFIED")

    async def _write(self, key: Key, stored: _Stored, change: str) -> Json:
        before = self._stored.get(key)
        if before is not None and change == "MODIFIED" and before is not stored:
            same = {**before.content, "metadata": _without(before.content["metadata"])}
            if same == {**stored.content, "metadata": _without(stored.content["metadata"])}:
                before.owners = stored.owners
                return deepcopy(before.content)
        _validate(key, stored.content, None)
        self._stored[key] = stored
        return await self._changed(key, stored.content, change)

    async def _changed(self, key: Key, content: Json, change: str) -> Json:
        self._version += 1
        content["metadata"]["resourceVersion"] = f"{self._version}"
        if (stored := self._stored.get(key)) is not None:
            content["metadata"]["managedFields"] = [
                {"manager": name, "fieldsType": "FieldsV1", "fieldsV1": _fields_v1(owned)}
                for name, owned in sorted(stored.owners.items())
                if owned
            ]
        now = deepcopy(content)
        self._changes.append(Change(self._version, change, key, now, self._shown.pop(key, None)))
        if change != "DELETED":
            self._shown[key] = now
        async with self.changed:
            self.changed.notify_all()
        return deepcopy(content)

    def _at(self, key: Key) -> _Stored:
        self.get(key)
        return self._stored[key]

    def _check_namespace(self, key: Key) -> None:
        if key.namespace is None:
            return
        namespace = self.get(Key(NAMESPACES, None, key.namespace))
        if namespace.get("status", {}).get("phase") == "Terminating":
            cause = {"reason": "NamespaceTerminating", "message": "it is being terminated"}
            raise Refusal(
                403,
                "Forbidden",
                f"{key} is forbidden: unable to create new content in namespace {key.namespace}"
                " because it is being terminated",
                {"causes": [cause]},
            )


def _place(item: tuple[Key, _Stored]) -> tuple[str, str]:
    return item[0].namespace or "", item[0].name


def _complete(key: Key, content: Json) -> None:
    """Fill in what the API fills in."""
    if key.kind is NAMESPACES:
        content.setdefault("status", {"phase": "Active"})
        labels = content["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = key.name
    if key.kind is SECRETS:
        content.setdefault("type", "Opaque")
        for name, text in content.pop("stringData", {}).items():
            encoded = base64.b64encode(text.encode()).decode()
            content.setdefault("data", {})[name] = encoded


def _validate(key: Key, content: Json, before: Json | None) -> None:
    if key.kind is not SECRETS:
        return
    if before is not None and content.get("type") != before.get("type"):
        raise Refusal(422, "Invalid", f"{key} is invalid: type: field is immutable")
    if content.get("type") == DOCKER_CONFIG:
        encoded = content.get("data", {}).get(".dockerconfigjson")
        try:
            json.loads(base64.b64decode(encoded or "", validate=True))
        except ValueError:
            text = f"{key} is invalid: data[.dockerconfigjson]: Invalid value"
            raise Refusal(422, "Invalid", text) from None


def _check_version(key: Key, before: Json, given: Json) -> None:
    version = given.get("metadata", {}).get("resourceVersion")
    if version not in (None, "", before["metadata"]["resourceVersion"]):
        raise Refusal(
            409,
            "Conflict",
            f"Operation cannot be fulfilled on {key}: the object has been modified;"
            " please apply your changes to the latest version and try again",
        )


def _leaves(content: Mapping[str, Any], at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The fields with an owner. A list is one field: those of these kinds are atomic."""
    for name, value in content.items():
        path = (*at, name)
        if path in _UNOWNED:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def _value(content: Mapping[str, Any], path: Path) -> Any:  # noqa: ANN401 - JSON
    found: Any = content
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _put(content: Json, path: Path, value: Any) -> None:  # noqa: ANN401 - JSON
    for name in path[:-1]:
        content = content.setdefault(name, {})
    content[path[-1]] = deepcopy(value)


def _remove(content: Json, path: Path) -> None:
    parent = _value(content, path[:-1]) if path[:-1] else content
    if isinstance(parent, dict):
        parent.pop(path[-1], None)


def _merged(before: Json, patch: Mapping[str, Any]) -> Json:
    after = deepcopy(before)
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(after.get(name), dict):
            after[name] = _merged(after[name], value)
        elif isinstance(value, Mapping):
            after[name] = _merged({}, value)
        else:
            after[name] = deepcopy(value)
    return after


def _without(metadata: Json) -> Json:
    return {k: v for k, v in metadata.items() if k not in ("resourceVersion", "managedFields")}


def _fields_v1(owned: set[Path]) -> Json:
    fields: Json = {}
    for path in sorted(owned):
        at = fields
        for name in path:
            at = at.setdefault(f"f:{name}", {})
    return fields
