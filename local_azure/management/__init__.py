"""The management port: the knobs and the counters of a running stack, as JSON over HTTP."""

from __future__ import annotations

from local_azure.management.application import create_management_application
from local_azure.management.bodies import Body, read_body

__all__ = ["Body", "create_management_application", "read_body"]
