"""Measurements of firstpull on the local Azure."""
