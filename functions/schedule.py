"""Timers: requeue overdue devices, sweep, and measure the fleet."""

from __future__ import annotations

import azure.functions as func

from functions.runtime import runtime
from functions.timers import timer_run

blueprint = func.Blueprint()


@blueprint.function_name("requeue_overdue")
@blueprint.timer_trigger(schedule="*/30 * * * * *", arg_name="timer", run_on_startup=False)
async def requeue_overdue(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """Send a reconcile request for every overdue device."""
    async with timer_run("requeue_overdue"):
        application = await runtime.application()
        await application.requeue_overdue()


@blueprint.function_name("sweep")
@blueprint.timer_trigger(schedule="0 17 * * * *", arg_name="timer", run_on_startup=False)
async def sweep(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """Compare everything in Azure with the records, and repair what differs."""
    async with timer_run("sweep"):
        application = await runtime.application()
        await application.sweeper.run()


@blueprint.function_name("measure")
@blueprint.timer_trigger(schedule="0 */5 * * * *", arg_name="timer", run_on_startup=False)
async def measure(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """Set the gauges."""
    async with timer_run("measure"):
        application = await runtime.application()
        await application.gauges.measure()
