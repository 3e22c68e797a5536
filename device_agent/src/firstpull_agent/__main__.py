"""`python -m firstpull_agent`."""

from __future__ import annotations

import sys

from firstpull_agent.cli import main

sys.exit(main())
