"""The management port: settings, faults and counters of a running stack, as JSON over HTTP.

Needed by: a person at `make up`, and tests and benchmarks in other processes.
"""

from __future__ import annotations

from local_azure.management.application import Extension, create_management_application
from local_azure.management.json_input import Body, read_body

__all__ = ["Body", "Extension", "create_management_application", "read_body"]
