"""The options of `--engine kubernetes`, whose client is an extra that devices do not carry."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from firstpull_agent.engines.choice import UnusableSettings
from firstpull_agent.times import Time

if TYPE_CHECKING:
    from firstpull_agent.engines.kubernetes.engine import ClusterEngine


def add_cluster_options(parser: argparse.ArgumentParser, add: Callable[..., None]) -> None:
    """Add the options to a command. `add` adds one, also as an environment variable."""
    cluster = parser.add_argument_group("a cluster (--engine kubernetes)")
    names = "NAME,NAME…"
    add(
        cluster,
        "--namespaces",
        str,
        "",
        metavar=names,
        help="namespaces that get a pull secret for each connected registry",
    )
    add(
        cluster,
        "--namespace-selector",
        str,
        "",
        metavar="LABELS",
        help="the same for the namespaces with these labels, also later ones",
    )
    add(
        cluster,
        "--service-accounts",
        str,
        "",
        metavar=names,
        help="service accounts there whose imagePullSecrets name it",
    )
    add(
        cluster,
        "--secret-prefix",
        str,
        "firstpull-",
        metavar="TEXT",
        help="what a pull secret's name begins with (default firstpull-)",
    )
    add(
        cluster,
        "--instance",
        str,
        "firstpull-agent",
        metavar="NAME",
        help="what tells the Secrets of two agents in one cluster apart",
    )
    add(
        cluster,
        "--kubeconfig",
        str,
        "",
        metavar="FILE",
        help="how to reach the cluster (default: as a pod in it)",
    )


def chosen_cluster(
    arguments: argparse.Namespace, *, time: Time, rng: random.Random
) -> ClusterEngine:
    """The engine that the options describe. Raises UnusableSettings."""
    if find_spec("kubernetes_asyncio") is None:
        raise UnusableSettings("--engine kubernetes needs the extra firstpull-agent[kubernetes]")
    # Imported here: it takes half a second, and devices do not have it.
    from firstpull_agent.engines.kubernetes.engine import cluster_engine  # noqa: PLC0415
    from firstpull_agent.engines.kubernetes.logins import Selection  # noqa: PLC0415
    from firstpull_agent.engines.kubernetes.secrets import Owner  # noqa: PLC0415

    selection = Selection(
        named=_names(arguments.namespaces),
        selector=arguments.namespace_selector or None,
        accounts=_names(arguments.service_accounts),
    )
    owner = Owner(instance=arguments.instance, prefix=arguments.secret_prefix)
    kubeconfig = arguments.kubeconfig or None
    return cluster_engine(selection, owner, kubeconfig=kubeconfig, time=time, rng=rng)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
