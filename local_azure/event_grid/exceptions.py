"""The refusals of Event Grid."""

from __future__ import annotations


class SubscriptionExists(Exception):
    """There is a subscription of this name."""


class SubscriptionNotFound(Exception):
    """There is no subscription of this name."""


class EventNotFound(Exception):
    """The subscription never got this event, or too long ago."""


class EndpointNotValidated(Exception):
    """A webhook failed the handshake. The text contains no URL."""
