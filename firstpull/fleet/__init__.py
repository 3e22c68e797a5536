"""Compares the whole fleet with its records, and measures it."""
