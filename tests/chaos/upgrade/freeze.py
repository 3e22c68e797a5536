"""`python -m tests.chaos.upgrade.freeze FOLDER`: each moment as JSON, written by this release."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.chaos.upgrade.moments import MOMENTS, file_of, new_world
from tests.chaos.upgrade.snapshots import dump


def freeze(folder: Path) -> None:
    """Write one file for each moment."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MOMENTS:
        text = json.dumps(asyncio.run(_world(name)), indent=1, sort_keys=True)
        (folder / f"{file_of(name)}.json").write_text(text + "\n")


async def _world(name: str) -> dict[str, Any]:
    harness = new_world()
    await MOMENTS[name].reach(harness)
    return dump(harness)


if __name__ == "__main__":
    freeze(Path(sys.argv[1]))
