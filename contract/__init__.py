"""What Azure is known to answer, as data with its sources, and a runner that asks a service.

Needed by: the tests of `local_azure` and of firstpull's adapters, and docs/local-azure.md.
"""
