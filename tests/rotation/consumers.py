"""Who takes the deliveries in a model: the delivery kinds, and what is different with each."""

from __future__ import annotations

from dataclasses import dataclass

from firstpull.model.delivery_kinds import DeliveryKind, kind_named


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """A delivery kind with its options.

    `logs_in`: the consumer logs in before it reports; edgeAgent reports what it takes, and its
    report counts once the connected registry has synced since.
    """

    says: str
    delivery: str
    options: tuple[str, ...] = ()
    logs_in: bool = True

    @property
    def kind(self) -> DeliveryKind:
        """firstpull's own rules."""
        return kind_named(self.delivery)

    @property
    def keeps_old(self) -> bool:
        """Whether the old password may be in use where no twin reaches, until it expires."""
        return not self.kind.frees_old_slot(self.options)


TWIN = Consumer(says="twin", delivery="twin")
KUBERNETES = Consumer(says="kubernetes", delivery="kubernetes")
EDGE_AGENT = Consumer(
    says="edgeAgent, its image from elsewhere",
    delivery="edgeAgent",
    options=("agentImageElsewhere",),
    logs_in=False,
)
EDGE_AGENT_PRIVATE = Consumer(
    says="edgeAgent, its image private", delivery="edgeAgent", logs_in=False
)
ALL = (TWIN, EDGE_AGENT, EDGE_AGENT_PRIVATE)
"""Each has states of its own. `KUBERNETES` has those of `TWIN`, which a test holds."""
