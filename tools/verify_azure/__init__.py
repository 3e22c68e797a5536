"""`make verify-azure`: what this project knows of Azure, held against a subscription.

docs/verifying.md says what it does and costs.
"""
