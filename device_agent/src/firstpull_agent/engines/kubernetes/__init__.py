"""Keeps pull secrets in a cluster: the engine of an agent that runs there."""

from __future__ import annotations
