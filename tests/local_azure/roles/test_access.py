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


def role(**permission: tuple[str, ...]) -> RoleDefinition:
    return RoleDefinition("role", (Permission(**permission),))


def held_to(*roles: RoleDefinition, scope: str = VAULT) -> Access:
    access = Access()
    access.define(*roles)
    access.assign(APP.principal_id, [Assignment(each.name, scope) for each in roles])
    return access


@pytest.mark.parametrize(
    ("pattern", "name", "given"),
    [
        (f"{REGISTRIES}/tokens/read", f"{REGISTRIES}/tokens/read", True),
        (f"{REGISTRIES}/tokens/read", f"{REGISTRIES.upper()}/TOKENS/READ", True),
        (f"{REGISTRIES}/tokens/read", f"{REGISTRIES}/tokens/readAll", False),
        (f"{REGISTRIES}/tokens/read", f"{REGISTRIES}/tokens/operationStatuses/read", False),
        (f"{REGISTRIES}/*", f"{REGISTRIES}/tokens/operationStatuses/read", True),
        ("*/read", f"{REGISTRIES}/tokens/operationStatuses/read", True),
        ("*/read", f"{REGISTRIES}/tokens/write", False),
        ("Microsoft.*/tokens/*", f"{REGISTRIES}/tokens/write", True),
        ("*", "Anything/at/all", True),
        ("Microsoft.ContainerRegistry/registries.tokens/read", f"{REGISTRIES}/tokens/read", False),
    ],
)
def test_an_action_is_given_by_its_name_or_by_wildcards(
    pattern: str, name: str, *, given: bool
) -> None:
    assert role(actions=(pattern,)).gives(Action(name)) is given


def test_data_actions_and_management_actions_do_not_give_each_other() -> None:
    everything_managed, all_data = role(actions=("*",)), role(data_actions=("*",))
    assert not everything_managed.gives(Action("A/b/read", is_data=True))
    assert not all_data.gives(Action("A/b/read"))


def test_what_is_left_out_is_not_given_but_another_role_may_give_it() -> None:
    limited = role(actions=("*",), not_actions=("*/Delete",))
    deleter = RoleDefinition("deleter", (Permission(actions=("A/b/delete",)),))
    assert limited.gives(Action("A/b/write"))
    assert not limited.gives(Action("A/b/delete"))
    assert held_to(limited, deleter).allows(APP, action("A/b/delete"), scope=VAULT)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (VAULT, True),
        (f"{VAULT}/secrets/name", True),
        (f"{VAULT.upper()}/SECRETS/NAME", True),
        (f"{VAULT}2", False),
        (VAULT.rpartition("/")[0], False),
        ("/", False),
    ],
)
def test_a_role_is_for_its_scope_and_what_is_below(scope: str, *, covered: bool) -> None:
    access = held_to(role(data_actions=("*",)))
    assert access.allows(APP, data_action("A/b/read"), scope=scope) is covered


def test_of_alternatives_one_has_to_be_given_whole() -> None:
    one, two, three = (Action(name, is_data=True) for name in ("A/one", "A/two", "A/three"))
    needs = ((one,), (two, three))
    assert held_to(role(data_actions=("A/one",))).allows(APP, needs, scope=VAULT)
    assert held_to(role(data_actions=("A/two", "A/three"))).allows(APP, needs, scope=VAULT)
    assert not held_to(role(data_actions=("A/two",))).allows(APP, needs, scope=VAULT)


def test_what_needs_something_unknown_is_never_given() -> None:
    assert not held_to(role(actions=("*",), data_actions=("*",))).allows(APP, (), scope=VAULT)


def test_who_has_lost_all_roles_may_do_nothing_and_who_never_had_any_neither() -> None:
    access = held_to(role(actions=("*",)))
    access.assign(APP.principal_id, [])
    assert not access.allows(APP, action("A/b/read"), scope=VAULT)
    assert not access.allows(Caller("stranger"), action("A/b/read"), scope=VAULT)


def test_an_owner_may_do_everything_even_what_is_unknown() -> None:
    access = held_to(role())
    access.own_everything("operator")
    for needs in (action("A/b/read"), data_action("A/b/read"), ()):
        assert access.allows(Caller("operator"), needs, scope=VAULT)


def test_nobody_is_held_to_roles_where_there_are_none() -> None:
    assert Access().allows(Caller("anybody"), action("A/b/read"), scope=VAULT)


def test_a_changed_definition_holds_where_the_role_is_assigned() -> None:
    access = held_to(role(actions=("A/b/read",)))
    access.define(role(actions=("A/b/write",)))
    assert not access.allows(APP, action("A/b/read"), scope=VAULT)
    assert access.allows(APP, action("A/b/write"), scope=VAULT)


def test_decisions_tell_what_let_a_request_pass_and_what_was_missing() -> None:
    access = held_to(role(actions=("A/b/read",)))
    access.own_everything("operator")
    for principal in (APP.principal_id, "stranger", "operator"):
        access.allows(Caller(principal), action("A/b/read"), scope=VAULT)
        access.allows(Caller(principal), action("A/b/write"), scope=VAULT)
    assert [(d.principal_id, d.actions[0].name, d.allowed) for d in access.decisions] == [
        ("app", "A/b/read", True),
        ("app", "A/b/write", False),
        ("stranger", "A/b/read", False),
        ("stranger", "A/b/write", False),
        ("operator", "A/b/read", True),
        ("operator", "A/b/write", True),
    ]


def test_a_role_that_is_not_defined_cannot_be_assigned() -> None:
    with pytest.raises(UnknownRole, match="'role'"):
        Access().assign("app", [Assignment("role", VAULT)])


def test_azures_own_roles_are_read() -> None:
    roles = {each.name: each for each in built_in_roles()}
    secret = Action("Microsoft.KeyVault/vaults/secrets/getSecret/action", is_data=True)
    assert roles["Key Vault Secrets User"].gives(secret)
    assert not roles["Owner"].gives(secret)
    add = Action(
        "Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action", is_data=True
    )
    assert [name for name, each in roles.items() if each.gives(add)] == [
        "Storage Queue Data Message Sender"
    ]


def test_a_role_is_read_as_azure_cli_takes_it_and_as_azure_publishes_it() -> None:
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


def test_roles_are_assigned_as_a_file_lists_them(tmp_path: Path) -> None:
    (tmp_path / "custom.json").write_text('{"Name": "custom", "Actions": ["A/b/read"]}')
    listed = {
        "one": {"name": "Key Vault Secrets User", "to": "app", "on": "vault", "why": "…"},
        "two": {"name": "whatever", "file": "custom.json", "to": "app", "on": "vault"},
        "three": {"name": "Owner", "to": "deployer", "on": "vault"},
        "four": {"name": "Owner", "to": "app", "on": "the moon"},
    }
    file = tmp_path / "roles.json"
    file.write_text(json.dumps(listed))
    access = Access()
    assign_roles(access, file, principal_id="app", scopes={"vault": VAULT})
    assert access.assignments("app") == (
        Assignment("Key Vault Secrets User", VAULT),
        Assignment("custom", VAULT),
    )
    file.write_text('{"one": {"name": "Owner"}}')
    with pytest.raises(InvalidRole):
        assign_roles(access, file, principal_id="app", scopes={})
