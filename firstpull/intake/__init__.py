"""Validates requests and events, and writes them into the devices' records."""
