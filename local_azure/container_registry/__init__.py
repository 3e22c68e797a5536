"""Azure Resource Manager for Microsoft.ContainerRegistry: tokens and connected registries."""
