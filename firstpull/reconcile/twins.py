"""Reads a device's twin together with those of its modules that hold deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

from firstpull.model.azure_resources import Twin
from firstpull.model.delivery_kinds import KINDS, modules_of
from firstpull.model.device_key import DeviceKey
from firstpull.model.ports import Hubs


async def read_twin(hubs: Hubs, device: DeviceKey, *, kinds: Collection[str]) -> Twin | None:
    """The twin, with the modules' twins that have entries of these kinds. Raises what `hubs` do."""
    modules = sorted(modules_of(kinds))
    if not modules:
        return await hubs.twin(device)
    twin, *found = await asyncio.gather(
        hubs.twin(device), *(hubs.module_twin(device, module) for module in modules)
    )
    return replace(twin, modules=dict(zip(modules, found, strict=True))) if twin else None


def modules_at(twin: Twin) -> frozenset[str]:
    """The modules whose twins can have a delivery to the device of a twin."""
    return modules_of(kind.name for kind in KINDS.values() if kind.may_be_at(twin))


async def read_every_twin(hubs: Hubs, device: DeviceKey) -> Twin | None:
    """The twin, with all modules' twins that can have a delivery. Raises what `hubs` do."""
    twin = await hubs.twin(device)
    if twin is None:
        return None
    modules = sorted(modules_at(twin))
    found = await asyncio.gather(*(hubs.module_twin(device, module) for module in modules))
    return replace(twin, modules=dict(zip(modules, found, strict=True)))
