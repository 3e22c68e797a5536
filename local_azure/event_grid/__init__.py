"""A local Event Grid: events of the hub and of the vault, delivered as carelessly as on Azure."""

from __future__ import annotations

from local_azure.event_grid.courier import Courier, run_courier
from local_azure.event_grid.events import Event, EventSchema, Topic
from local_azure.event_grid.models import EventGrid
from local_azure.event_grid.subscriptions import EventSubscription, StorageQueue, Webhook

__all__ = [
    "Courier",
    "Event",
    "EventGrid",
    "EventSchema",
    "EventSubscription",
    "StorageQueue",
    "Topic",
    "Webhook",
    "run_courier",
]
