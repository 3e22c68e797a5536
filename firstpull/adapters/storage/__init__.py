"""The app's storage account: records in a table, hints in queues, ledgers and locks in blobs."""

from __future__ import annotations

from firstpull.adapters.storage.account import StorageServices
from firstpull.adapters.storage.membership import BlobLedgers, BlobLocks
from firstpull.adapters.storage.queues import PoisonStorage, QueueWork
from firstpull.adapters.storage.records import TableRecords

__all__ = [
    "BlobLedgers",
    "BlobLocks",
    "PoisonStorage",
    "QueueWork",
    "StorageServices",
    "TableRecords",
]
