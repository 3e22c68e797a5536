"""All services on one loopback address.

Needed by: `make up`, `make demo`, the tests and the benchmarks.
"""

from __future__ import annotations

from local_azure.stack.options import ConnectedRegistryOptions, StackOptions
from local_azure.stack.stack import Stack, start_stack

__all__ = ["ConnectedRegistryOptions", "Stack", "StackOptions", "start_stack"]
