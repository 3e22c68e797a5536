"""Which actions a request to the storage account needs, by service, place, method and `comp`.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from local_azure.kernel.access import Action, Needs, action, data_action

_ACCOUNT = "Microsoft.Storage/storageAccounts"
_BLOBS = f"{_ACCOUNT}/blobServices"
_CONTAINERS = f"{_BLOBS}/containers"
_QUEUES = f"{_ACCOUNT}/queueServices"
_MESSAGES = f"{_QUEUES}/queues/messages"
_TABLES = f"{_ACCOUNT}/tableServices"
_ENTITIES = f"{_TABLES}/tables/entities"

_NEEDS_NOTHING_KNOWN: Needs = ()  # of what is not in the tables: no role gives it
_WRITE_BLOB = data_action(f"{_CONTAINERS}/blobs/write")
_ADD_BLOB = data_action(f"{_CONTAINERS}/blobs/add/action")
_READ_BLOB = data_action(f"{_CONTAINERS}/blobs/read")
_WRITE_ENTITY = data_action(f"{_ENTITIES}/write")
_ADD_ENTITY = data_action(f"{_ENTITIES}/add/action")
_UPDATE_ENTITY = data_action(f"{_ENTITIES}/update/action")
_UPSERT_ENTITY: Needs = (*_WRITE_ENTITY, (*_ADD_ENTITY[0], *_UPDATE_ENTITY[0]))


def _all_of(*names: str) -> Needs:
    return (tuple(Action(name, is_data=True) for name in names),)


_BLOB_OPERATIONS: Mapping[tuple[str, str, str], Needs] = {
    ("service", "GET", "list"): action(f"{_CONTAINERS}/read"),
    ("service", "GET", "properties"): action(f"{_BLOBS}/read"),
    ("service", "PUT", "properties"): action(f"{_BLOBS}/write"),
    ("service", "GET", "stats"): action(f"{_BLOBS}/read"),
    ("service", "GET", "account"): action(f"{_BLOBS}/getInfo/action"),
    ("service", "GET", "blobs"): data_action(f"{_CONTAINERS}/blobs/filter/action"),
    ("service", "POST", "userdelegationkey"): action(f"{_BLOBS}/generateUserDelegationKey/action"),
    ("container", "PUT", ""): action(f"{_CONTAINERS}/write"),
    ("container", "PUT", "metadata"): action(f"{_CONTAINERS}/write"),
    ("container", "PUT", "lease"): action(f"{_CONTAINERS}/write"),
    ("container", "PUT", "acl"): action(f"{_CONTAINERS}/setAcl/action"),
    ("container", "GET", ""): action(f"{_CONTAINERS}/read"),
    ("container", "GET", "metadata"): action(f"{_CONTAINERS}/read"),
    ("container", "GET", "acl"): action(f"{_CONTAINERS}/getAcl/action"),
    ("container", "GET", "list"): _READ_BLOB,
    ("container", "DELETE", ""): action(f"{_CONTAINERS}/delete"),
    ("blob", "GET", ""): _READ_BLOB,
    ("blob", "GET", "metadata"): _READ_BLOB,
    ("blob", "GET", "blocklist"): _READ_BLOB,
    ("blob", "GET", "pagelist"): _READ_BLOB,
    ("blob", "GET", "tags"): data_action(f"{_CONTAINERS}/blobs/tags/read"),
    ("blob", "PUT", ""): _WRITE_BLOB,
    ("blob", "PUT", "new"): (*_WRITE_BLOB, *_ADD_BLOB),
    ("blob", "PUT", "properties"): _WRITE_BLOB,
    ("blob", "PUT", "metadata"): _WRITE_BLOB,
    ("blob", "PUT", "lease"): _WRITE_BLOB,
    ("blob", "PUT", "block"): _WRITE_BLOB,
    ("blob", "PUT", "blocklist"): _WRITE_BLOB,
    ("blob", "PUT", "page"): _WRITE_BLOB,
    ("blob", "PUT", "tier"): _WRITE_BLOB,
    ("blob", "PUT", "copy"): _WRITE_BLOB,
    ("blob", "PUT", "appendblock"): (*_WRITE_BLOB, *_ADD_BLOB),
    ("blob", "PUT", "snapshot"): (*_WRITE_BLOB, *_ADD_BLOB),
    ("blob", "PUT", "tags"): data_action(f"{_CONTAINERS}/blobs/tags/write"),
    ("blob", "DELETE", ""): data_action(f"{_CONTAINERS}/blobs/delete"),
}
_QUEUE_OPERATIONS: Mapping[tuple[str, str, str], Needs] = {
    ("service", "GET", "list"): action(f"{_QUEUES}/queues/read"),
    ("service", "GET", "properties"): action(f"{_QUEUES}/read"),
    ("service", "PUT", "properties"): action(f"{_QUEUES}/write"),
    ("service", "GET", "stats"): action(f"{_QUEUES}/read"),
    ("queue", "PUT", ""): action(f"{_QUEUES}/queues/write"),
    ("queue", "PUT", "metadata"): action(f"{_QUEUES}/queues/write"),
    ("queue", "PUT", "acl"): action(f"{_QUEUES}/queues/setAcl/action"),
    ("queue", "GET", "metadata"): action(f"{_QUEUES}/queues/read"),
    ("queue", "GET", "acl"): action(f"{_QUEUES}/queues/getAcl/action"),
    ("queue", "DELETE", ""): action(f"{_QUEUES}/queues/delete"),
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
_TABLE_OPERATIONS: Mapping[tuple[str, str, str], Needs] = {
    ("service", "GET", "properties"): action(f"{_TABLES}/read"),
    ("service", "PUT", "properties"): action(f"{_TABLES}/write"),
    ("service", "GET", "stats"): action(f"{_TABLES}/read"),
    ("tables", "GET", ""): action(f"{_TABLES}/tables/read"),
    ("tables", "POST", ""): action(f"{_TABLES}/tables/write"),
    ("tables", "DELETE", ""): action(f"{_TABLES}/tables/delete"),
    ("table", "GET", ""): data_action(f"{_ENTITIES}/read"),
    ("table", "GET", "acl"): action(f"{_TABLES}/tables/getAcl/action"),
    ("table", "PUT", "acl"): action(f"{_TABLES}/tables/setAcl/action"),
    ("table", "POST", ""): (*_WRITE_ENTITY, *_ADD_ENTITY),
    ("table", "PUT", ""): _UPSERT_ENTITY,
    ("table", "PUT", "existing"): (*_WRITE_ENTITY, *_UPDATE_ENTITY),
    ("table", "DELETE", ""): data_action(f"{_ENTITIES}/delete"),
}
_TABLE = re.compile(r"(?P<name>\w+)(?:\((?P<key>.*)\))?", re.DOTALL)
_PART = re.compile(
    rb"^(?P<method>GET|POST|PUT|PATCH|MERGE|DELETE) (?P<url>\S+) HTTP/1\.1\r?\n"
    rb"(?P<headers>(?:[\w-]+: ?[^\r\n]*\r?\n)*)",
    re.MULTILINE,
)
_METHODS = {"HEAD": "GET", "PATCH": "PUT", "MERGE": "PUT"}
"""What asks for the same; a table's PUT and PATCH need the same, too."""


class Service(StrEnum):
    """One of the storage account's services."""

    BLOB = "blob"
    QUEUE = "queue"
    TABLE = "table"


@dataclass(frozen=True)
class Wanted:
    """What one operation needs, on a resource below the storage account's id."""

    needs: Needs
    scope: str


@dataclass(frozen=True)
class StorageRequest:
    """`path` is raw and begins with the account; `query` and `headers` have names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def verb(self) -> str:
        """The method that it is like."""
        return _METHODS.get(self.method, self.method)

    @property
    def below_account(self) -> str:
        """The path's rest, decoded."""
        return unquote(self.path.lstrip("/").partition("/")[2])


def wanted_by(service: Service, request: StorageRequest) -> list[Wanted]:
    """The operations in a request: one, or all in a table's transaction."""
    if service is Service.BLOB:
        return [_blob(request)]
    if service is Service.QUEUE:
        return [_queue(request)]
    if request.below_account.rstrip("/") == "$batch":
        return [_table(part) for part in _parts(request.body)]
    return [_table(request)]


def _blob(request: StorageRequest) -> Wanted:
    container, _, blob = request.below_account.partition("/")
    kind = request.query.get("restype", "")
    detail = request.query.get("comp", "")
    if kind == "account":
        detail = "account"
    elif blob and not detail and "x-ms-copy-source" in request.headers:
        detail = "copy"
    elif blob and not detail and request.headers.get("if-none-match") == "*":
        detail = "new" if request.verb == "PUT" else ""
    place = "blob" if blob else "container" if kind == "container" else "service"
    scope = f"/blobServices/default/containers/{container}" if container else ""
    return _found(_BLOB_OPERATIONS, place, request.verb, detail, scope=scope)


def _queue(request: StorageRequest) -> Wanted:
    queue, _, rest = request.below_account.rstrip("/").partition("/")
    detail = request.query.get("comp", "")
    place = "queue" if queue else "service"
    if rest == "messages":
        place = "messages"
        detail = "peek" if request.query.get("peekonly", "").lower() == "true" else ""
    elif rest:
        place = "message"
    scope = f"/queueServices/default/queues/{queue}" if queue else ""
    return _found(_QUEUE_OPERATIONS, place, request.verb, detail, scope=scope)


def _table(request: StorageRequest) -> Wanted:
    named = _TABLE.fullmatch(request.below_account.rstrip("/"))
    detail = request.query.get("comp", "")
    if named is None:
        return _found(_TABLE_OPERATIONS, "service", request.verb, detail, scope="")
    if named["name"] == "Tables":
        return _found(_TABLE_OPERATIONS, "tables", request.verb, detail, scope="")
    if request.verb == "PUT" and not detail and "if-match" in request.headers:
        detail = "existing"
    scope = f"/tableServices/default/tables/{named['name']}"
    return _found(_TABLE_OPERATIONS, "table", request.verb, detail, scope=scope)


def _found(
    table: Mapping[tuple[str, str, str], Needs], place: str, verb: str, detail: str, *, scope: str
) -> Wanted:
    return Wanted(table.get((place, verb, detail), _NEEDS_NOTHING_KNOWN), scope)


def _parts(body: bytes) -> Iterator[StorageRequest]:
    """The requests in a transaction's body."""
    for part in _PART.finditer(body):
        lines = (line.partition(":") for line in part["headers"].decode().splitlines())
        yield StorageRequest(
            method=part["method"].decode(),
            path=urlsplit(part["url"].decode()).path,
            query={},
            headers={name.strip().lower(): value.strip() for name, _, value in lines},
            body=b"",
        )
