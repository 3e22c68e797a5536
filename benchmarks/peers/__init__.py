"""The same work without firstpull: scripts with Azure's SDKs, and the quickstart's `az` commands.

They keep no record, so that a crash or a second writer leaves what nobody finds again.
"""
