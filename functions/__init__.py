"""Triggers and endpoints, a module for each kind: they decode, call firstpull, and encode."""
