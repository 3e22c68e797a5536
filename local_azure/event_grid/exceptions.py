"""What Event Grid refuses."""

from __future__ import annotations


class SubscriptionExists(Exception):
    """There is a subscription of this name."""


class SubscriptionNotFound(Exception):
    """There is no subscription of this name."""


class EventNotFound(Exception):
    """The subscription was not given this event, or so long ago that it is forgotten."""


class EndpointNotValidated(Exception):
    """A webhook did not show that it wants events. The text holds no URL."""
