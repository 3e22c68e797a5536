"""What `make up` and `make demo` run."""
