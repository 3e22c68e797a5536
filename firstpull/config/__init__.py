"""The settings, and the policy in them."""
