"""Which pull secrets a delivery needs, and what to change for them: pure functions."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from firstpull_agent.deliveries import Delivery
from firstpull_agent.reports import Failure, Reason

TYPE = "kubernetes.io/dockerconfigjson"
KEY = ".dockerconfigjson"
FIELD_MANAGER = "firstpull-agent"

_MANAGED_BY = "app.kubernetes.io/managed-by"
_INSTANCE = "app.kubernetes.io/instance"
_REGISTRY = "firstpull/connected-registry"
_ADDRESS = "firstpull/address"
_DELIVERY = "firstpull/delivery-id"
# A connected registry's name is part of a Secret's name and the value of a label.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Found:
    """A Secret in the cluster. `data` is what it holds for `.dockerconfigjson`, in base64."""

    namespace: str
    name: str
    uid: str
    version: str
    type: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    data: str | None


@dataclass(frozen=True)
class Apply:
    """Write a Secret by server-side apply.

    `version` is that of the Secret which it replaces, so that another writer's change in between
    is a conflict; None for a new one, which takes no field from anybody.
    """

    namespace: str
    name: str
    manifest: Mapping[str, Any]
    version: str | None


@dataclass(frozen=True)
class Delete:
    """Remove a Secret, if it is still exactly this one."""

    found: Found


Change: TypeAlias = Apply | Delete


@dataclass(frozen=True)
class Owner:
    """Whose Secrets they are: those with the labels of this agent.

    `instance` keeps two agents in one cluster apart, `prefix` begins each Secret's name.
    """

    instance: str = "firstpull-agent"
    prefix: str = "firstpull-"

    def is_usable(self) -> bool:
        """Whether Kubernetes takes these as a label and as a part of a name."""
        return bool(_LABEL.fullmatch(self.instance)) and bool(
            re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]{0,100}[a-z0-9-])?", self.prefix)
        )

    @property
    def selector(self) -> str:
        """The label selector of all Secrets of this agent."""
        return f"{_MANAGED_BY}={FIELD_MANAGER},{_INSTANCE}={self.instance},{_REGISTRY}"

    def secret_name(self, connected_registry: str) -> str:
        """The name of a connected registry's Secrets. Raises Failure if it can have none."""
        if not _NAME.fullmatch(connected_registry):
            detail = f"{connected_registry[:80]!r} cannot be part of a Secret's name"
            raise Failure(Reason.INVALID_DELIVERY, detail)
        return f"{self.prefix}{connected_registry.lower()}"

    def labels(self, connected_registry: str) -> dict[str, str]:
        """The labels of a connected registry's Secrets."""
        return {
            _MANAGED_BY: FIELD_MANAGER,
            _INSTANCE: self.instance,
            _REGISTRY: connected_registry,
        }

    def owns(self, found: Found, connected_registry: str) -> bool:
        """Whether this agent made a Secret, for this connected registry."""
        return self.labels(connected_registry).items() <= found.labels.items()


def connected_registry_of(found: Found) -> str:
    """The connected registry of a Secret of the agent's."""
    return found.labels.get(_REGISTRY, "")


def address_of(found: Found) -> str:
    """The address of a Secret of the agent's."""
    return found.annotations.get(_ADDRESS, "")


def changes_for(
    delivery: Delivery,
    *,
    owner: Owner,
    namespaces: Collection[str],
    found: Collection[Found],
) -> Iterator[Change]:
    """What brings each namespace its Secret, and takes it from all others.

    `found` are the Secrets of that name, in any namespace. Foreign ones are skipped.
    """
    there = {secret.namespace: secret for secret in found}
    name = owner.secret_name(delivery.name)
    for namespace in sorted(namespaces):
        before, manifest = there.get(namespace), _manifest(delivery, owner, namespace)
        if before is None:
            yield Apply(namespace, name, manifest, None)
        elif not owner.owns(before, delivery.name):
            continue
        elif before.type != TYPE:  # which no update can change
            yield Delete(before)
            yield Apply(namespace, name, manifest, None)
        elif not _holds(before, manifest):
            yield Apply(namespace, name, manifest, before.version)
    for secret in found:
        if secret.namespace not in namespaces and owner.owns(secret, delivery.name):
            yield Delete(secret)


def foreign(
    delivery: Delivery, *, owner: Owner, namespaces: Collection[str], found: Collection[Found]
) -> list[Found]:
    """The Secrets of that name which the agent did not make, where it would need its own."""
    return [
        secret
        for secret in found
        if secret.namespace in namespaces and not owner.owns(secret, delivery.name)
    ]


def docker_config(delivery: Delivery) -> str:
    """The content of a pull secret.

    kubelet compares the address with the image's name literally, port and all.
    """
    username, password = delivery.username, delivery.password.reveal()
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    login = {"username": username, "password": password, "auth": auth}
    return json.dumps({"auths": dict.fromkeys(_spellings(delivery), login)})


def _spellings(delivery: Delivery) -> list[str]:
    """The address as image names may have it: with https, with and without the default port."""
    address = delivery.address
    has_port = re.search(r":\d+$", address) is not None
    return [address] if delivery.insecure or has_port else [address, f"{address}:443"]


def _manifest(delivery: Delivery, owner: Owner, namespace: str) -> dict[str, Any]:
    data = base64.b64encode(docker_config(delivery).encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": TYPE,
        "metadata": {
            "name": owner.secret_name(delivery.name),
            "namespace": namespace,
            "labels": owner.labels(delivery.name),
            "annotations": {
                _ADDRESS: delivery.address,
                _DELIVERY: delivery.delivery_id,
            },
        },
        "data": {KEY: data},
    }


def _holds(found: Found, manifest: Mapping[str, Any]) -> bool:
    metadata: Mapping[str, Mapping[str, str]] = manifest["metadata"]
    has_labels = metadata["labels"].items() <= found.labels.items()
    has_annotations = metadata["annotations"].items() <= found.annotations.items()
    return has_labels and has_annotations and found.data == manifest["data"][KEY]
