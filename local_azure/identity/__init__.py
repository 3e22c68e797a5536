"""The token endpoint of managed identities.

Needed by: firstpull, the Functions host and `az login --identity` (azure-identity).
"""
