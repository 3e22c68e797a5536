"""Runs firstpull as Azure Functions runs a Python app of the v2 model, on loopback.

Needed by: `make up`, the demo, and the tests that call firstpull's endpoints.

Microsoft's own Python worker indexes and invokes the app, in a process of its own. This package is
the host around it: HTTP routes and keys, queue listeners and outputs, timers, Event Grid's webhook,
running a function on request. It does as Microsoft's host was recorded to do (contract/). What
firstpull does not use is refused at start: other triggers and outputs, routes with constraints,
base64 in queues, a second storage account. Settings come from the environment.
"""
