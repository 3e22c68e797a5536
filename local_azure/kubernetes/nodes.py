"""What kubelet does for a pod's image: it reads the pull secrets, and pulls with what matches."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator

from local_azure.edge_agent.images import PullFailed, pull
from local_azure.edge_agent.rules import Login
from local_azure.kubernetes.cluster import Cluster
from local_azure.kubernetes.objects import ACCOUNTS, SECRETS, Key, Refusal


async def pull_for_a_pod(
    cluster: Cluster, image: str, *, namespace: str, tls: ssl.SSLContext
) -> str:
    """Pull as for a pod of the namespace's service account `default`; returns the digest.

    The Secrets are read at each pull. Raises PullFailed.
    """
    account = cluster.objects.get(Key(ACCOUNTS, namespace, "default"))
    names = [reference["name"] for reference in account.get("imagePullSecrets", [])]
    registry = image.partition("/")[0]
    failure = PullFailed(f"{image}: no pull secret in {namespace} has a login for {registry}")
    for login in _logins(cluster, namespace, names, registry):
        try:
            return await pull(image, login, tls=tls)
        except PullFailed as refused:
            failure = refused
    raise failure


def _logins(cluster: Cluster, namespace: str, names: list[str], registry: str) -> Iterator[Login]:
    for name in names:
        try:
            secret = cluster.objects.get(Key(SECRETS, namespace, name))
        except Refusal:
            continue
        content = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
        if login := content["auths"].get(registry):
            yield Login(address=registry, username=login["username"], password=login["password"])
