"""The secrets of a Key Vault.

Needed by: firstpull and the operators of the tests (azure-keyvault-secrets), and `az`.
"""
