"""The benchmarks' own rules; no test has a time."""
