"""Whether Roles and their bindings allow a request (RBAC)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from local_azure.kubernetes.objects import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    Json,
    Key,
    Kind,
    Objects,
    Refusal,
)


def check(
    objects: Objects, user: str, verb: str, kind: Kind, *, namespace: str | None, name: str | None
) -> None:
    """Raise a `Refusal` (403) unless a rule allows `user` to do this."""
    for rule in _rules(objects, user, namespace):
        names = rule.get("resourceNames") or []
        if (
            kind.group in rule.get("apiGroups", [])
            and kind.plural in rule.get("resources", [])
            and verb in rule.get("verbs", [])
            and (not names or name in names)
        ):
            return
    where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
    what = f'{kind.plural} "{name}"' if name else kind.plural
    raise Refusal(
        403,
        "Forbidden",
        f'{what} is forbidden: User "{user}" cannot {verb} resource "{kind.plural}" in API group'
        f' "{kind.group}"{where}',
    )


def _rules(objects: Objects, user: str, namespace: str | None) -> Iterator[Json]:
    for binding in objects.find(CLUSTER_ROLE_BINDINGS):
        if _binds(binding, user):
            yield from _role(objects, binding, None)
    if namespace is not None:
        for binding in objects.find(ROLE_BINDINGS, namespace):
            if _binds(binding, user):
                yield from _role(objects, binding, namespace)


def _binds(binding: Json, user: str) -> bool:
    def names(subject: dict[str, Any]) -> str:
        return f"system:serviceaccount:{subject.get('namespace')}:{subject.get('name')}"

    return any(names(subject) == user for subject in binding.get("subjects") or ())


def _role(objects: Objects, binding: Json, namespace: str | None) -> list[Json]:
    reference = binding["roleRef"]
    is_cluster_role = reference["kind"] == CLUSTER_ROLES.name
    kind, where = (CLUSTER_ROLES, None) if is_cluster_role else (ROLES, namespace)
    try:
        rules: list[Json] = objects.get(Key(kind, where, reference["name"])).get("rules") or []
    except Refusal:
        return []
    return rules
