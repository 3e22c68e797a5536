"""Event Grid: the events of hub and vault, delivered late, repeatedly and in any order.

Needed by: firstpull's functions for events, through the storage queue and the webhook.
"""

from __future__ import annotations

from local_azure.event_grid.dispatcher import Dispatcher, run_dispatcher
from local_azure.event_grid.events import Event, EventSchema, Topic
from local_azure.event_grid.models import EventGrid
from local_azure.event_grid.subscriptions import EventSubscription, StorageQueue, Webhook

__all__ = [
    "Dispatcher",
    "Event",
    "EventGrid",
    "EventSchema",
    "EventSubscription",
    "StorageQueue",
    "Topic",
    "Webhook",
    "run_dispatcher",
]
