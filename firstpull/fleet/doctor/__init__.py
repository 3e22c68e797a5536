"""Finds what is wrong around firstpull, says why it matters, and names the command that mends it.

`reader` reads everything once, `checks` are pure rules over what was read.
"""

from __future__ import annotations

from firstpull.fleet.doctor.diagnosis import Diagnosis, Doctor
from firstpull.fleet.doctor.findings import Finding, FindingName, Severity
from firstpull.fleet.doctor.readings import AppState

__all__ = ["AppState", "Diagnosis", "Doctor", "Finding", "FindingName", "Severity"]
