"""The Azure that firstpull runs on where there is none.

Real wire protocols on loopback, for unmodified SDKs and command-line tools: Azure Resource
Manager for container registries, Key Vault secrets, IoT Hub, managed identity, and the
registries' own data planes. It knows nothing of firstpull.
"""
