"""Makes the engine of an agent in a cluster."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial

from firstpull_agent.engines.choice import UnusableSettings
from firstpull_agent.engines.kubernetes.cluster import Cluster
from firstpull_agent.engines.kubernetes.follow import Follower
from firstpull_agent.engines.kubernetes.logins import ClusterLogins, Selection
from firstpull_agent.engines.kubernetes.secrets import Owner
from firstpull_agent.times import Time


@dataclass(frozen=True)
class ClusterEngine:
    """What changes the Secrets of a cluster, and what sees them change."""

    logins: ClusterLogins
    follower: Follower


def cluster_engine(
    selection: Selection, owner: Owner, *, kubeconfig: str | None, time: Time, rng: random.Random
) -> ClusterEngine:
    """The engine for these namespaces. Raises UnusableSettings."""
    if not selection.named and selection.selector is None:
        raise UnusableSettings("--engine kubernetes needs --namespaces or --namespace-selector")
    if not owner.is_usable():
        raise UnusableSettings("--instance is no value of a label, or --secret-prefix no name")
    connect = partial(Cluster.connected, kubeconfig)
    logins = ClusterLogins(connect, selection, owner)
    follower = Follower(connect, logins, selection, owner, time=time, rng=rng)
    return ClusterEngine(logins, follower)
