"""What holds after every single write, whatever went wrong before it."""

from __future__ import annotations

from tests.firstpull.fakes import PASSWORD_MARK, FakeCloud, name_in


def broken_promises(cloud: FakeCloud) -> list[str]:
    """What breaks P1 or P6 now. P2 and P4 are checked where the fakes make the change."""
    return [*_unnamed(cloud), *_shown_passwords(cloud)]


def _unnamed(cloud: FakeCloud) -> list[str]:
    """P1: tokens, secrets and clients of ours that no record names."""
    names = [held.names for record in cloud.all_records() for held in record.grants]
    spent = {name for record in cloud.all_records() for name in record.status.retired_secrets}
    tokens, secrets = {n.token for n in names}, {n.secret for n in names} | spent
    listed = {name_in(t) for found in cloud.connected.values() for t in found.clients}
    ours = cloud.tokens_made & {*cloud.tokens, *listed}
    unnamed = sorted((ours - tokens) | (set(cloud.secrets) - secrets))
    return [f"P1: no record names {name}" for name in unnamed]


def _shown_passwords(cloud: FakeCloud) -> list[str]:
    """P6: places outside of Key Vault and twins that hold a password's text."""
    texts = {
        "records": "".join(text for text, _ in cloud.records.values()),
        "ledgers": b"".join(text for text, _ in cloud.ledgers.values()).decode(),
        "queue": repr(cloud.queue),
    }
    return [f"P6: a password is in the {name}" for name, t in texts.items() if PASSWORD_MARK in t]
