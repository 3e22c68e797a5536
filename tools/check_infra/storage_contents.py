"""What the template makes in the storage account."""

from __future__ import annotations

from collections.abc import Mapping

from tools.check_infra.values import Scope

_ACCOUNT = "br/public:avm/res/storage/storage-account"
_PLACES = {
    "queues": ("queueServices", "queues"),
    "tables": ("tableServices", "tables"),
    "containers": ("blobServices", "containers"),
}


def storage_contents(main: Scope) -> Mapping[str, tuple[str, ...]]:
    """Names of queues, tables and containers. Raises NotKnown."""
    found: dict[str, tuple[str, ...]] = {}
    for module in main.file.of_kind("module"):
        if module.target.startswith(_ACCOUNT):
            params = module.params
            for kind, (service, key) in _PLACES.items():
                listed = main.value_of(params[service])[key] if service in params else []
                found[kind] = tuple(item["name"] for item in listed)
    return found
