"""Reconciles one device: observe, plan, apply, and write the status."""
