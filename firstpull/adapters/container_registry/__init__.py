"""Implements `ContainerRegistries` with Azure Resource Manager."""

from __future__ import annotations

from firstpull.adapters.container_registry.adapter import ContainerRegistryAdapter
from firstpull.adapters.container_registry.clients import Paces, client_factory

__all__ = ["ContainerRegistryAdapter", "Paces", "client_factory"]
