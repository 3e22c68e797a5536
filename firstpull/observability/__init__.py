"""Log events, traces and metrics."""
