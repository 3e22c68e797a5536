"""The CA files of private registries, where engines read them."""

from __future__ import annotations

from pathlib import Path

from firstpull_agent.files import remove_unfinished, replace_file


class CaFiles:
    """`<base>/HOST:PORT/ca.crt`, as docker, podman and skopeo read it."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def folder(self, address: str) -> Path:
        """The folder of a registry."""
        return self.base / address

    def read(self, address: str) -> str | None:
        """The content of the CA file, None if there is no file."""
        try:
            return self._file(address).read_text(errors="replace")
        except FileNotFoundError:
            return None

    def write(self, address: str, pem: str) -> None:
        """Trust `pem` and nothing else for `address`. Raises OSError."""
        if self.read(address) != pem:
            replace_file(self._file(address), pem.encode(), mode=0o644)

    def remove(self, address: str) -> None:
        """Remove the CA file for `address`, and its folder if that is empty. Raises OSError."""
        remove_unfinished(self._file(address))
        self._file(address).unlink(missing_ok=True)
        folder = self.folder(address)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def _file(self, address: str) -> Path:
        return self.folder(address) / "ca.crt"
