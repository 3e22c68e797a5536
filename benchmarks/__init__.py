"""Measurements of firstpull on the local Azure. docs/performance.md says how to read them.

`python -m benchmarks FIGURE` measures one figure, in a process that trusts its own local Azure;
`make bench` runs `bench`, which has each figure measured in a process of its own.
"""
