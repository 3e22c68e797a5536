"""The whole local Azure, composed: one loopback address, all services, and their sites."""

from __future__ import annotations

from local_azure.stack.options import ConnectedRegistryOptions, StackOptions
from local_azure.stack.stack import Stack, start_stack

__all__ = ["ConnectedRegistryOptions", "Stack", "StackOptions", "start_stack"]
