"""Azure Resource Manager's Microsoft.ContainerRegistry, and the sync of connected registries.

Needed by: firstpull (azure-mgmt-containerregistry), `az acr`, and the tests' scenarios.
"""
