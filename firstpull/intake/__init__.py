"""Checks what callers and events ask for, and writes it into a record."""
