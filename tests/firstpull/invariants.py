"""Promises that hold after every single write, whatever failed before it."""

from __future__ import annotations

from tests.firstpull.fakes import PASSWORD_MARK, FakeCloud, name_in


def broken_promises(cloud: FakeCloud) -> list[str]:
    """Violations of P1 and P6. The fakes check P2 and P4 where they make a change."""
    return [*_unnamed(cloud), *_shown_passwords(cloud)]


def _unnamed(cloud: FakeCloud) -> list[str]:
    """P1: our tokens, secrets and clients that no record names."""
    records = cloud.all_records()
    names = [grant.names for record in records for grant in record.grants]
    retired = {name for record in records for name in record.status.retired_secrets}
    tokens, secrets = {n.token for n in names}, {n.secret for n in names} | retired
    listed = {name_in(t) for found in cloud.connected.values() for t in found.clients}
    ours = cloud.tokens_made & {*cloud.tokens, *listed}
    unnamed = sorted((ours - tokens) | (set(cloud.secrets) - secrets))
    return [f"P1: no record names {name}" for name in unnamed]


def _shown_passwords(cloud: FakeCloud) -> list[str]:
    """P6: passwords outside of Key Vault and twins."""
    texts = {
        "records": "".join(text for text, _ in cloud.records.values()),
        "ledgers": b"".join(text for text, _ in cloud.ledgers.values()).decode(),
        "queue": repr(cloud.queue),
    }
    return [f"P6: a password is in the {name}" for name, t in texts.items() if PASSWORD_MARK in t]
