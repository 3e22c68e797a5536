"""Azure Resource Manager: the checks of every request, subscriptions, and the list of resources.

Needed by: firstpull through container_registry, and `az`, which looks up subscription and registry.
"""
