"""Key Vault's secrets, as the Azure SDKs see them."""

from __future__ import annotations
