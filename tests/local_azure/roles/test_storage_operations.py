from __future__ import annotations

import pytest

from local_azure.azurite.operations import Service, StorageRequest, required_by
from local_azure.kernel.access import Access, Assignment, Caller, Permission, RoleDefinition

APP = Caller("app")
BOX = "/blobServices/default/containers/box"
WORK = "/queueServices/default/queues/work"
DEVICES = "/tableServices/default/tables/devices"
ENTITY = "devices(PartitionKey='a',RowKey='b/c')"
READ_BLOB, WRITE_BLOB = "containers/blobs/read data", "containers/blobs/write data"
PROCESS, READ, DELETE = (f"queues/messages/{n} data" for n in ("process/action", "read", "delete"))
WRITE, ADD, UPDATE = (
    f"tables/entities/{verb} data" for verb in ("write", "add/action", "update/action")
)


@pytest.mark.parametrize(
    ("method", "path", "options", "alternatives", "scope"),
    [
        ("PUT", "box", "restype=container", ["containers/write"], BOX),
        ("GET", "box/a%2Fb/c", "", [READ_BLOB], BOX),
        ("HEAD", "box/a", "", [READ_BLOB], BOX),
        ("PUT", "box/a", "", [WRITE_BLOB], BOX),
        ("PUT", "box/a", "If-None-Match", [WRITE_BLOB, "containers/blobs/add/action data"], BOX),
        ("PUT", "box/a", "comp=lease", [WRITE_BLOB], BOX),
        ("PUT", "box/a", "x-ms-copy-source", [], BOX),
        ("PUT", "box/a", "comp=anything", [], BOX),
        ("DELETE", "box/a", "", ["containers/blobs/delete data"], BOX),
        ("GET", "", "comp=list", [], ""),
        ("PUT", "work", "", ["queues/write"], WORK),
        (
            "POST",
            "work/messages",
            "",
            ["queues/messages/write data", "queues/messages/add/action data"],
            WORK,
        ),
        ("GET", "work/messages", "", [PROCESS, f"{DELETE}+{READ}"], WORK),
        ("GET", "work/messages", "peekonly=true", [READ], WORK),
        ("PUT", "work/messages/17", "", ["queues/messages/write data"], WORK),
        ("DELETE", "work/messages/17", "", [PROCESS, DELETE], WORK),
        ("DELETE", "work/messages", "", [DELETE], WORK),
        ("GET", "work", "comp=metadata", ["queues/read"], WORK),
        ("POST", "Tables", "", ["tables/write"], ""),
        ("GET", "devices()", "", ["tables/entities/read data"], DEVICES),
        ("GET", ENTITY, "", ["tables/entities/read data"], DEVICES),
        ("POST", "devices", "", [WRITE, ADD], DEVICES),
        ("PATCH", ENTITY, "If-Match", [WRITE, UPDATE], DEVICES),
        ("PUT", ENTITY, "", [], DEVICES),
        ("DELETE", ENTITY, "", ["tables/entities/delete data"], DEVICES),
        ("POST", "$batch", "", [], ""),
    ],
)
def test_a_request_needs_one_of_the_alternatives_on_its_resource(
    method: str, path: str, options: str, alternatives: list[str], scope: str
) -> None:
    services = {"work": Service.QUEUE, "box": Service.BLOB, "": Service.BLOB}
    name, is_query, value = options.partition("=")
    required = required_by(
        services.get(path.partition("/")[0], Service.TABLE),
        StorageRequest(
            method,
            f"/account/{path}",
            query={name: value} if is_query else {},
            headers={} if is_query else {name.lower(): "*"},
        ),
    )
    shown = [
        "+".join(n.name.split("Services/")[1] + " data" * n.is_data for n in alternative)
        for alternative in required.needs
    ]
    assert (shown, required.scope) == (alternatives, scope)


def test_a_role_on_one_container_does_not_apply_to_another() -> None:
    access = Access()
    access.define(RoleDefinition("all blobs", (Permission(data_actions=("*",)),)))
    access.assign(APP.principal_id, [Assignment("all blobs", f"/accounts/one{BOX}")])

    def may_read(path: str) -> bool:
        required = required_by(Service.BLOB, StorageRequest("GET", f"/account/{path}", {}, {}))
        return access.allows(APP, required.needs, scope="/accounts/one" + required.scope)

    assert may_read("box/a")
    assert not may_read("boxes/a")
