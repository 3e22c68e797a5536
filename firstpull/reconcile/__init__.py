"""Brings one device nearer to what its record asks for."""
