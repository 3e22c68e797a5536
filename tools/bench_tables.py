"""Tables of docs/performance.md, made of the benchmarks' own data."""

from __future__ import annotations

from benchmarks.floor import ONBOARD, longest_chain
from benchmarks.profile import Profile
from tools.docs_tables import table

_WORDS = {
    r"arm\.tokens\.createOrUpdate": "A token's PUT",
    r"arm\.connectedRegistries\.update": "A list's PATCH",
    r"arm\.registries\.generateCredentials": "A new password",
    r"arm\.scopeMaps\.createOrUpdate": "A scope map's PUT",
    r"arm\..*": "Any other call of ARM",
    r"keyVault\..*": "Key Vault",
    r"iotHub\..*": "IoT Hub",
    r"identity\..*": "The identity endpoint",
}


def latency() -> str:
    """How long calls take in `make bench`."""
    profile = Profile()
    rows = [(_WORDS[operation], f"{seconds:g} s") for operation, seconds in profile.calls]
    least, most = profile.operation_lengths.change
    rows.append(("A token's operation, from the change", f"{least:g} to {most:g} s"))
    return table(("Call", "Takes"), rows)


def floor() -> str:
    """The longest chain of an onboarding, with the mean of a token's operation."""
    chain = longest_chain(ONBOARD, operation_seconds=Profile().mean_operation_seconds)
    return f"\n{' → '.join(chain.steps)}: **{chain.seconds:.2f} s** on average.\n\n"
