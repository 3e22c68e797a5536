"""Whatever happens to devices, the promises hold, and in the end everything is as it has to be."""

from __future__ import annotations

from tests.lifetime.course import EVERY_DAY
from tests.lifetime.machine import Lifetime

TestLifetime = Lifetime.TestCase
TestLifetime.settings = EVERY_DAY
