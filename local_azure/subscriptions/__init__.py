"""Resource groups, and the resources that a caller makes in them and removes with them.

Needed by: `make verify-azure`, which makes what it verifies in a resource group of its own.
"""
