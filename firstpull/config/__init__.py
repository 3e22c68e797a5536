"""Settings and the policy."""
