"""The Azure SDKs, each behind a port. Nothing else of firstpull imports them."""
