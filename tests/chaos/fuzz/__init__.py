"""Odd input: requests, messages, events, twins, answers of Azure, records."""
