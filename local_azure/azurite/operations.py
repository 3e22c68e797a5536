"""The permissions that a request to the storage account needs.

It lists the operations of firstpull, its tests and the Functions host; no role allows others.
https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from local_azure.kernel.access import Action, Needs, action, data_action

_ACCOUNT = "Microsoft.Storage/storageAccounts"
_CONTAINERS = f"{_ACCOUNT}/blobServices/containers"
_QUEUES = f"{_ACCOUNT}/queueServices/queues"
_MESSAGES = f"{_QUEUES}/messages"
_TABLES = f"{_ACCOUNT}/tableServices/tables"
_ENTITIES = f"{_TABLES}/entities"
_METHODS = {"HEAD": "GET", "PATCH": "PUT", "MERGE": "PUT"}  # need the same permissions

type _Operations = Mapping[tuple[str, str, str], Needs]  # by kind of resource, method and detail


def _all_of(*names: str) -> Needs:
    return (tuple(Action(name, is_data=True) for name in names),)


_WRITE_BLOB = data_action(f"{_CONTAINERS}/blobs/write")
_WRITE_ENTITY = data_action(f"{_ENTITIES}/write")
_BLOB_OPERATIONS: _Operations = {
    ("container", "PUT", ""): action(f"{_CONTAINERS}/write"),
    ("blob", "GET", ""): data_action(f"{_CONTAINERS}/blobs/read"),
    ("blob", "PUT", ""): _WRITE_BLOB,
    ("blob", "PUT", "new"): (*_WRITE_BLOB, *data_action(f"{_CONTAINERS}/blobs/add/action")),
    ("blob", "PUT", "lease"): _WRITE_BLOB,
    ("blob", "DELETE", ""): data_action(f"{_CONTAINERS}/blobs/delete"),
}
_QUEUE_OPERATIONS: _Operations = {
    ("queue", "PUT", ""): action(f"{_QUEUES}/write"),
    ("queue", "GET", "metadata"): action(f"{_QUEUES}/read"),
    ("messages", "POST", ""): (*_all_of(f"{_MESSAGES}/write"), *_all_of(f"{_MESSAGES}/add/action")),
    ("messages", "GET", ""): (
        *_all_of(f"{_MESSAGES}/process/action"),
        *_all_of(f"{_MESSAGES}/delete", f"{_MESSAGES}/read"),
    ),
    ("messages", "GET", "peek"): data_action(f"{_MESSAGES}/read"),
    ("messages", "DELETE", ""): data_action(f"{_MESSAGES}/delete"),
    ("message", "PUT", ""): data_action(f"{_MESSAGES}/write"),
    ("message", "DELETE", ""): (
        *_all_of(f"{_MESSAGES}/process/action"),
        *_all_of(f"{_MESSAGES}/delete"),
    ),
}
_TABLE_OPERATIONS: _Operations = {
    ("tables", "POST", ""): action(f"{_TABLES}/write"),
    ("table", "GET", ""): data_action(f"{_ENTITIES}/read"),
    ("table", "POST", ""): (*_WRITE_ENTITY, *data_action(f"{_ENTITIES}/add/action")),
    ("table", "PUT", "existing"): (*_WRITE_ENTITY, *data_action(f"{_ENTITIES}/update/action")),
    ("table", "DELETE", ""): data_action(f"{_ENTITIES}/delete"),
}
_TABLE = re.compile(r"(?P<name>\w+)(?:\(.*\))?", re.DOTALL)


class Service(StrEnum):
    """One of the storage account's services."""

    BLOB = "blob"
    QUEUE = "queue"
    TABLE = "table"


@dataclass(frozen=True)
class StorageRequest:
    """`path` is raw and begins with the account; `query` and `headers` have names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Required:
    """The permissions that a request needs on a resource below the storage account's id."""

    needs: Needs
    scope: str


def required_by(service: Service, request: StorageRequest) -> Required:
    """The permissions that a request needs. Empty needs are met by no role."""
    method = _METHODS.get(request.method, request.method)
    path = unquote(request.path.lstrip("/").partition("/")[2]).rstrip("/")
    detail = request.query.get("comp", "")
    name, _, rest = path.partition("/")
    if service is Service.BLOB:
        is_container = request.query.get("restype") == "container"
        kind = "blob" if rest else "container" if is_container else "service"
        if kind == "blob" and method == "PUT" and request.headers.get("if-none-match") == "*":
            detail = detail or "new"
        if "x-ms-copy-source" in request.headers:
            detail = "copy"
        operations, scope = _BLOB_OPERATIONS, f"/blobServices/default/containers/{name}"
    elif service is Service.QUEUE:
        kind = "queue" if not rest else "messages" if rest == "messages" else "message"
        if kind == "messages" and request.query.get("peekonly", "").lower() == "true":
            detail = "peek"
        operations, scope = _QUEUE_OPERATIONS, f"/queueServices/default/queues/{name}"
    else:
        match = _TABLE.fullmatch(path)
        name = match["name"] if match else ""
        kind = "tables" if name == "Tables" else "table" if name else "service"
        if method == "PUT" and "if-match" in request.headers:
            detail = detail or "existing"
        scope = f"/tableServices/default/tables/{name}" if kind == "table" else ""
        operations = _TABLE_OPERATIONS
    return Required(operations.get((kind, method, detail), ()), scope if name else "")
