"""The commands behind `make up` and `make demo`.

Needed by: people who try firstpull; the tests and benchmarks start the function app with them.
"""
