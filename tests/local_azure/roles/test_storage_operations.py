from __future__ import annotations

import pytest

from local_azure.azurite.operations import Service, StorageRequest, wanted_by
from local_azure.kernel.access import Access, Assignment, Caller, Permission, RoleDefinition

ACCOUNT = "/accounts/one"
APP = Caller("app")


def needed(
    service: Service,
    method: str,
    path: str,
    *,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> list[tuple[list[list[str]], str]]:
    """The alternatives with the last parts of their actions, and the scope."""
    request = StorageRequest(method, f"/account/{path}", query or {}, headers or {}, body)
    return [
        (
            [
                [each.name.split("Services/")[1] + " data" * each.is_data for each in alternative]
                for alternative in wanted.needs
            ],
            wanted.scope,
        )
        for wanted in wanted_by(service, request)
    ]


BOX = "/blobServices/default/containers/box"
WRITE, ADD = ["containers/blobs/write data"], ["containers/blobs/add/action data"]


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "alternatives", "scope"),
    [
        ("GET", "", {"comp": "list"}, {}, [["containers/read"]], ""),
        ("PUT", "box", {"restype": "container"}, {}, [["containers/write"]], BOX),
        ("DELETE", "box", {"restype": "container"}, {}, [["containers/delete"]], BOX),
        ("HEAD", "box", {"restype": "container"}, {}, [["containers/read"]], BOX),
        (
            "GET",
            "box",
            {"restype": "container", "comp": "list"},
            {},
            [["containers/blobs/read data"]],
            BOX,
        ),
        ("GET", "box/a%2Fb/c", {}, {}, [["containers/blobs/read data"]], BOX),
        ("HEAD", "box/a", {}, {}, [["containers/blobs/read data"]], BOX),
        ("PUT", "box/a", {}, {}, [WRITE], BOX),
        ("PUT", "box/a", {}, {"if-none-match": "*"}, [WRITE, ADD], BOX),
        ("PUT", "box/a", {}, {"x-ms-copy-source": "…"}, [WRITE], BOX),
        ("PUT", "box/a", {"comp": "lease"}, {}, [WRITE], BOX),
        ("PUT", "box/a", {"comp": "appendblock"}, {}, [WRITE, ADD], BOX),
        ("DELETE", "box/a", {}, {}, [["containers/blobs/delete data"]], BOX),
        ("PUT", "box/a", {"comp": "what Azure makes tomorrow"}, {}, [], BOX),
        ("POST", "", {"comp": "batch"}, {}, [], ""),
    ],
)
def test_blobs(
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    alternatives: list[list[str]],
    scope: str,
) -> None:
    found = needed(Service.BLOB, method, path, query=query, headers=headers)
    assert found == [(alternatives, scope)]


WORK = "/queueServices/default/queues/work"
PROCESS = ["queues/messages/process/action data"]
DELETE, READ = "queues/messages/delete data", "queues/messages/read data"


@pytest.mark.parametrize(
    ("method", "path", "query", "alternatives", "scope"),
    [
        ("GET", "", {"comp": "list"}, [["queues/read"]], ""),
        ("PUT", "work", {}, [["queues/write"]], WORK),
        ("GET", "work", {"comp": "metadata"}, [["queues/read"]], WORK),
        ("DELETE", "work", {}, [["queues/delete"]], WORK),
        (
            "POST",
            "work/messages",
            {},
            [["queues/messages/write data"], ["queues/messages/add/action data"]],
            WORK,
        ),
        ("GET", "work/messages", {}, [PROCESS, [DELETE, READ]], WORK),
        ("GET", "work/messages", {"peekonly": "true"}, [[READ]], WORK),
        ("DELETE", "work/messages", {}, [[DELETE]], WORK),
        ("PUT", "work/messages/17", {}, [["queues/messages/write data"]], WORK),
        ("DELETE", "work/messages/17", {}, [PROCESS, [DELETE]], WORK),
        ("POST", "work", {}, [], WORK),
    ],
)
def test_queues(
    method: str, path: str, query: dict[str, str], alternatives: list[list[str]], scope: str
) -> None:
    assert needed(Service.QUEUE, method, path, query=query) == [(alternatives, scope)]


DEVICES = "/tableServices/default/tables/devices"
W, A, U = (f"tables/entities/{verb} data" for verb in ("write", "add/action", "update/action"))


@pytest.mark.parametrize(
    ("method", "path", "headers", "alternatives", "scope"),
    [
        ("GET", "Tables", {}, [["tables/read"]], ""),
        ("POST", "Tables", {}, [["tables/write"]], ""),
        ("DELETE", "Tables('devices')", {}, [["tables/delete"]], ""),
        ("GET", "devices()", {}, [["tables/entities/read data"]], DEVICES),
        (
            "GET",
            "devices(PartitionKey='a',RowKey='b/c')",
            {},
            [["tables/entities/read data"]],
            DEVICES,
        ),
        ("POST", "devices", {}, [[W], [A]], DEVICES),
        ("PATCH", "devices(PartitionKey='a',RowKey='b')", {}, [[W], [A, U]], DEVICES),
        ("PUT", "devices(PartitionKey='a',RowKey='b')", {"if-match": "*"}, [[W], [U]], DEVICES),
        (
            "DELETE",
            "devices(PartitionKey='a',RowKey='b')",
            {},
            [["tables/entities/delete data"]],
            DEVICES,
        ),
        ("GET", "", {}, [], ""),
    ],
)
def test_tables(
    method: str, path: str, headers: dict[str, str], alternatives: list[list[str]], scope: str
) -> None:
    assert needed(Service.TABLE, method, path, headers=headers) == [(alternatives, scope)]


def test_a_transaction_needs_what_each_of_its_operations_needs() -> None:
    body = (
        b"--batch\r\nContent-Type: multipart/mixed; boundary=changeset\r\n\r\n--changeset\r\n"
        b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"POST https://host/account/devices HTTP/1.1\r\nContent-Type: application/json\r\n\r\n"
        b'{"PartitionKey": "DELETE https://host/account/devices HTTP/1.1"}\r\n--changeset\r\n\r\n'
        b"PATCH https://host/account/devices(PartitionKey='a',RowKey='b') HTTP/1.1\r\n"
        b"If-Match: *\r\n\r\n{}\r\n"
        b"DELETE https://host/account/devices(PartitionKey='a',RowKey='c') HTTP/1.1\r\n\r\n"
    )
    found = needed(Service.TABLE, "POST", "$batch", body=body)
    assert [alternatives for alternatives, _ in found] == [
        [[W], [A]],
        [[W], [U]],
        [["tables/entities/delete data"]],
    ]


def test_a_role_on_one_container_is_for_no_other() -> None:
    access = Access()
    access.define(RoleDefinition("all blobs", (Permission(data_actions=("*",)),)))
    access.assign(APP.principal_id, [Assignment("all blobs", ACCOUNT + BOX)])

    def may_read(path: str) -> bool:
        (wanted,) = wanted_by(Service.BLOB, StorageRequest("GET", f"/account/{path}", {}, {}, b""))
        return access.allows(APP, wanted.needs, scope=ACCOUNT + wanted.scope)

    assert may_read("box/a")
    assert not may_read("boxes/a")
