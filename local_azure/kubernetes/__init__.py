"""A cluster's API, with as much of it as an agent in the cluster and kubectl need."""

from __future__ import annotations
