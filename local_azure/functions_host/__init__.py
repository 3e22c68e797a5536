"""Runs a Python function app (v2 model) as Azure Functions does, on loopback.

Microsoft's own Python worker indexes and invokes the app. This package is the host around it:
HTTP routes and keys, queue listeners, timers, Event Grid deliveries, output bindings, the
administrator's endpoints. It reads app settings from the environment, as on Azure.
"""
