"""Composes the function app: registers the doors, nothing else."""

from __future__ import annotations

import azure.functions as func

from functions import devices, health, schedule, work

app = func.FunctionApp()
app.register_functions(devices.blueprint)
app.register_functions(work.blueprint)
app.register_functions(schedule.blueprint)
app.register_functions(health.blueprint)
