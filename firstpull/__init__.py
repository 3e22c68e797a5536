"""Gives every new device the credentials for its first image pull from a connected registry."""
