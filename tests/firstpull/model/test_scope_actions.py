from __future__ import annotations

import pytest

from firstpull.model.scope_actions import covers, problem_with, scope_actions, uncovered


@pytest.mark.parametrize(
    "name", ["a", "hello-world", "plant/app", "a.b", "a_b", "a__b", "a---b", "*", "plant/*", "0/1"]
)
def test_a_legal_repository_name_or_wildcard_has_no_problem(name: str) -> None:
    assert problem_with(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is not a repository name"),
        ("/a", "is not a repository name"),
        ("a/", "is not a repository name"),
        ("a//b", "is not a repository name"),
        ("-a", "is not a repository name"),
        ("a..b", "is not a repository name"),
        ("a___b", "is not a repository name"),
        ("a b", "is not a repository name"),
        ("a:latest", "is not a repository name"),
        ("a\n", "is not a repository name"),
        ("plänt", "is not a repository name"),
        ("Plant/App", "lower case"),
        ("PLANT/*", "lower case"),
        ("sample/*/teamA", "wildcard"),
        ("sample/team*", "wildcard"),
        ("*/a", "wildcard"),
        ("**", "wildcard"),
        ("a" * 257, "longer than 256"),
    ],
)
def test_an_illegal_name_is_explained(name: str, problem: str) -> None:
    assert problem in (problem_with(name) or "")


@pytest.mark.parametrize(
    ("pattern", "repository", "covered"),
    [
        ("*", "anything/at/all", True),
        ("*", "plant/*", True),
        ("plant/*", "plant/app", True),
        ("plant/*", "plant/app/deep", True),
        ("plant/*", "plant/*", True),
        ("plant/*", "plant/line/*", True),
        ("plant/*", "plant", False),
        ("plant/*", "planta/app", False),
        ("plant/*", "*", False),
        ("plant/app", "plant/app", True),
        ("plant/app", "plant/app2", False),
        ("plant/app", "plant/*", False),
    ],
)
def test_a_wildcard_covers_what_is_below_it(
    pattern: str,
    repository: str,
    covered: bool,  # noqa: FBT001 - a table
) -> None:
    assert covers(pattern, repository) is covered


def test_scope_actions_are_every_pair() -> None:
    assert scope_actions(["a", "b/c"], ["content/read", "metadata/read"]) == {
        "repositories/a/content/read",
        "repositories/a/metadata/read",
        "repositories/b/c/content/read",
        "repositories/b/c/metadata/read",
    }


def test_uncovered_compares_repository_and_action() -> None:
    wanted = scope_actions(["plant/app", "other"], ["content/read", "content/write"])
    granted = frozenset({"repositories/plant/*/content/read", "gateway/plantone/config/read"})
    assert uncovered(wanted, granted) == (
        "repositories/other/content/read",
        "repositories/other/content/write",
        "repositories/plant/app/content/write",
    )
