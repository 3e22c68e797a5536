from __future__ import annotations

import json
from pathlib import Path

import pytest

from local_azure.kernel.access import (
    Access,
    Action,
    Assignment,
    Caller,
    Permission,
    RoleDefinition,
    UnknownRole,
    action,
    data_action,
)
from local_azure.roles import InvalidRole, assign_roles, built_in_roles, parse_role, read_role

REGISTRIES = "Microsoft.ContainerRegistry/registries"
APP = Caller("app")
VAULT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"
SENDER = "Storage Queue Data Message Sender"


def role(**permission: tuple[str, ...]) -> RoleDefinition:
    return RoleDefinition("role", (Permission(**permission),))


def access_with(*roles: RoleDefinition) -> Access:
    access = Access()
    access.define(*roles)
    access.assign(APP.principal_id, [Assignment(each.name, VAULT) for each in roles])
    return access


@pytest.mark.parametrize(
    ("pattern", "name", "granted"),
    [
        (f"{REGISTRIES}/tokens/read", f"{REGISTRIES.upper()}/TOKENS/READ", True),
        (f"{REGISTRIES}/tokens/read", f"{REGISTRIES}/tokens/readAll", False),
        (f"{REGISTRIES}/tokens/read", f"{REGISTRIES}/tokens/operationStatuses/read", False),
        (f"{REGISTRIES}/*", f"{REGISTRIES}/tokens/operationStatuses/read", True),
        ("*/read", f"{REGISTRIES}/tokens/operationStatuses/read", True),
        ("*/read", f"{REGISTRIES}/tokens/write", False),
        ("Microsoft.*/tokens/*", f"{REGISTRIES}/tokens/write", True),
        ("Microsoft.ContainerRegistry/registries.tokens/read", f"{REGISTRIES}/tokens/read", False),
    ],
)
def test_a_permission_matches_actions_by_name_and_by_wildcards(
    pattern: str, name: str, *, granted: bool
) -> None:
    assert role(actions=(pattern,)).grants(Action(name)) is granted


def test_data_actions_and_management_actions_do_not_grant_each_other() -> None:
    assert not role(actions=("*",)).grants(Action("A/b/read", is_data=True))
    assert not role(data_actions=("*",)).grants(Action("A/b/read"))


def test_another_role_may_grant_an_excluded_action() -> None:
    limited = role(actions=("*",), not_actions=("*/Delete",))
    deleter = RoleDefinition("deleter", (Permission(actions=("A/b/delete",)),))
    assert limited.grants(Action("A/b/write"))
    assert not limited.grants(Action("A/b/delete"))
    assert access_with(limited, deleter).allows(APP, action("A/b/delete"), scope=VAULT)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (VAULT, True),
        (f"{VAULT.upper()}/SECRETS/NAME", True),
        (f"{VAULT}2", False),
        (VAULT.rpartition("/")[0], False),
        ("/", False),
    ],
)
def test_a_role_applies_to_its_scope_and_below(scope: str, *, covered: bool) -> None:
    access = access_with(role(data_actions=("*",)))
    assert access.allows(APP, data_action("A/b/read"), scope=scope) is covered


def test_one_of_the_alternatives_must_be_granted_completely() -> None:
    one, two, three = (Action(name, is_data=True) for name in ("A/one", "A/two", "A/three"))
    needs = ((one,), (two, three))
    assert access_with(role(data_actions=("A/one",))).allows(APP, needs, scope=VAULT)
    assert access_with(role(data_actions=("A/two", "A/three"))).allows(APP, needs, scope=VAULT)
    assert not access_with(role(data_actions=("A/two",))).allows(APP, needs, scope=VAULT)
    assert not access_with(role(data_actions=("*",))).allows(APP, (), scope=VAULT)


def test_a_principal_without_roles_may_do_nothing_once_roles_are_assigned() -> None:
    anything = action("A/b/read")
    access = Access()
    assert access.allows(Caller("anybody"), anything, scope=VAULT)

    access = access_with(role(actions=("*",)))
    access.assign(APP.principal_id, [])
    access.own_everything("operator")
    assert not access.allows(APP, anything, scope=VAULT)
    assert not access.allows(Caller("stranger"), anything, scope=VAULT)
    assert access.allows(Caller("operator"), (), scope=VAULT)


def test_a_changed_definition_applies_to_existing_assignments() -> None:
    access = access_with(role(actions=("A/b/read",)))
    access.define(role(actions=("A/b/write",)))
    assert not access.allows(APP, action("A/b/read"), scope=VAULT)
    assert access.allows(APP, action("A/b/write"), scope=VAULT)


def test_a_decision_names_the_actions_that_allowed_it_or_were_missing() -> None:
    access = access_with(role(actions=("A/b/read",)))
    for principal in (APP.principal_id, "stranger"):
        access.allows(Caller(principal), action("A/b/read"), scope=VAULT)
    assert [(d.principal_id, d.actions[0].name, d.allowed) for d in access.decisions] == [
        ("app", "A/b/read", True),
        ("stranger", "A/b/read", False),
    ]


def test_an_undefined_role_cannot_be_assigned() -> None:
    with pytest.raises(UnknownRole, match="'role'"):
        Access().assign("app", [Assignment("role", VAULT)])


def test_the_built_in_roles_are_read() -> None:
    add = Action(
        "Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action", is_data=True
    )
    assert [each.name for each in built_in_roles() if each.grants(add)] == [SENDER]


def test_a_role_is_read_in_the_format_of_azure_cli_and_of_the_documentation() -> None:
    permission = {"Actions": ["A/b/read"], "NotDataActions": ["A/c"], "dataActions": ["A/*"]}
    wanted = RoleDefinition(
        "mine",
        (Permission(actions=("A/b/read",), data_actions=("A/*",), not_data_actions=("A/c",)),),
    )
    assert parse_role({"Name": "mine", "IsCustom": True, **permission}) == wanted
    assert parse_role({"roleName": "mine", "name": "id", "permissions": [permission]}) == wanted


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"Name": "x", "Actions": "A/b"}', "{}"])
def test_a_file_without_a_role_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "role.json"
    file.write_text(content)
    with pytest.raises(InvalidRole):
        read_role(file)


def test_the_app_gets_the_roles_that_a_file_lists(tmp_path: Path) -> None:
    (tmp_path / "custom.json").write_text('{"Name": "custom", "Actions": ["A/b/read"]}')
    listed = {
        "one": {"name": SENDER, "to": "app", "on": "vault", "why": "…"},
        "two": {"name": "whatever", "file": "custom.json", "to": "app", "on": "vault"},
        "three": {"name": SENDER, "to": "deployer", "on": "vault"},
        "four": {"name": SENDER, "to": "app", "on": "the moon"},
    }
    file = tmp_path / "roles.json"
    file.write_text(json.dumps(listed))
    access = Access()
    assign_roles(access, file, principal_id="app", scopes={"vault": VAULT})
    assert access.assignments("app") == (Assignment(SENDER, VAULT), Assignment("custom", VAULT))
    file.write_text('{"one": {"name": "without to and on"}}')
    with pytest.raises(InvalidRole):
        assign_roles(access, file, principal_id="app", scopes={})
