"""What surrounds a stack's resources in Azure: roles, locks, policies, network rules, tiers.

Needed by: `GET /api/doctor`, which reads all of it, and whoever applies a command that it printed.
"""

from __future__ import annotations

from local_azure.governance.models import Governance, OwnResource
from local_azure.governance.responses import GovernanceService

__all__ = ["Governance", "GovernanceService", "OwnResource"]
