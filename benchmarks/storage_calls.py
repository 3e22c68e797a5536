"""Counts of the requests that a process sends to its storage account."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

_REQUEST = re.compile(r"Request URL: 'https://[^/]+:(\d+)/.*\nRequest method: '([A-Z]+)'")


class StorageCalls(logging.Handler):
    """Counts the requests to the storage account: the SDKs log every one that they send."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__()
        self._services = {
            urlsplit(settings[f"AzureWebJobsStorage__{name}ServiceUri"]).port: name
            for name in ("blob", "queue", "table")
        }
        self.counts: Counter[str] = Counter()
        logger = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one request."""
        request = _REQUEST.search(record.getMessage())
        name = self._services.get(int(request[1])) if request is not None else None
        if request is not None and name is not None:
            verb = "read" if request[2] in ("GET", "HEAD") else "write"
            self.counts[f"{name}.{verb}"] += 1
