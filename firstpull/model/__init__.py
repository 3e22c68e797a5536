"""Values, the rules for each of them, and the ports to external services."""
