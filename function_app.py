"""The function app: all triggers and endpoints."""

from __future__ import annotations

import gc

import azure.functions as func

from functions import (
    audit,
    device_events,
    devices,
    doctor,
    fleet,
    fleet_page,
    health,
    onboarding_queue,
    openapi,
    poison,
    provisioning,
    revokes,
    schedule,
    sites,
    sweep,
    webhooks,
    work,
)

app = func.FunctionApp()
app.register_functions(devices.blueprint)
app.register_functions(fleet.blueprint)
app.register_functions(fleet_page.blueprint)
app.register_functions(webhooks.blueprint)
app.register_functions(provisioning.blueprint)
app.register_functions(onboarding_queue.blueprint)
app.register_functions(device_events.blueprint)
app.register_functions(work.blueprint)
app.register_functions(schedule.blueprint)
app.register_functions(sites.blueprint)
app.register_functions(sweep.blueprint)
app.register_functions(revokes.blueprint)
app.register_functions(poison.blueprint)
app.register_functions(doctor.blueprint)
app.register_functions(audit.blueprint)
app.register_functions(health.blueprint)
app.register_functions(openapi.blueprint)

# What is loaded by now stays: no collection has to look at it. While a fleet's records are read,
# that halves the time of collections, which is up to a third of the whole.
gc.freeze()
