"""The log of a host and of its worker."""

from __future__ import annotations

import logging

# They log a line for every request to storage, every token and every invocation.
_CHATTY = ("azure.core.pipeline.policies.http_logging_policy", "azure.identity", "azure.functions")


def log_to_stderr() -> None:
    """Write what this process logs to its standard error."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
