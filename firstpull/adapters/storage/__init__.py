"""The app's storage account: records in a table, reconcile requests in queues, blobs."""

from __future__ import annotations

from firstpull.adapters.storage.account import StorageServices
from firstpull.adapters.storage.membership import BlobLedgers, BlobLocks
from firstpull.adapters.storage.policy import BlobPolicy
from firstpull.adapters.storage.queues import PoisonStorage, QueueWork
from firstpull.adapters.storage.records import TableRecords
from firstpull.adapters.storage.sweeps import blob_page_seals, blob_revoke_counts, blob_sweeps

__all__ = [
    "BlobLedgers",
    "BlobLocks",
    "BlobPolicy",
    "PoisonStorage",
    "QueueWork",
    "StorageServices",
    "TableRecords",
    "blob_page_seals",
    "blob_revoke_counts",
    "blob_sweeps",
]
