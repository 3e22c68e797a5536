"""`python -m tools.verify_azure`."""

from __future__ import annotations

import sys

from tools.verify_azure.command import main

sys.exit(main())
