"""Whatever happens to devices, the promises hold, and in the end everything is as it has to be."""

from __future__ import annotations

import pytest

from tests.lifetime.course import EVERY_DAY
from tests.lifetime.machine import Lifetime

TestLifetime = pytest.mark.timeout(600)(Lifetime.TestCase)  # half a minute on an idle machine
TestLifetime.settings = EVERY_DAY
