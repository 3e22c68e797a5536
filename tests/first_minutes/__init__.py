"""What somebody new meets: a machine that is not ready, and the first commands."""
