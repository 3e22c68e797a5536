"""Holds infra/ against the code. What a Bicep compiler finds is left to the compiler."""
