"""`make package`: writes the deployment package, with all dependencies and bytecode.

A Function App runs it as it is (one deploy of Flex Consumption, remote build off). The same
checkout, Python and zlib give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).parents[1]
ARCHIVE = ROOT / "dist" / "firstpull.zip"
REQUIREMENTS = "requirements.txt"
SITE_PACKAGES = PurePosixPath(".python_packages/lib/site-packages")
"""Where Azure's Python worker looks for an app's dependencies (python-build-options)."""

_NO_CODE = ("host.json", REQUIREMENTS)
_PAGES = Path("functions/pages")
_APP_ON_AZURE = "/home/site/wwwroot"
# Every image on which Azure runs Python 3.13 has a newer C library.
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# Files of dependencies that a running app never reads.
_NEVER_READ = ("/bin", "tests/", "*.c", "*.h", "*.pxd", "*.pxi", "*.pyi", "*.pyx")
_EARLIEST_TIME = (1980, 1, 1, 0, 0, 0)
_FILE_OF_UNIX = 3
_READABLE = 0o100644 << 16


class NotProductionCode(Exception):
    """The checkout has files that are neither production code nor listed in `.funcignore`."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A written archive. Sizes are in bytes."""

    archive: Path
    files: int
    unpacked_size: int

    @property
    def size(self) -> int:
        """Size of the archive."""
        return self.archive.stat().st_size

    @property
    def digest(self) -> str:
        """SHA-256 of the archive in hexadecimal."""
        return hashlib.sha256(self.archive.read_bytes()).hexdigest()


def main() -> int:
    """Builds the package, prints its size and digest, and gives the exit code."""
    parser = argparse.ArgumentParser(prog="make package", description=__doc__)
    parser.add_argument("--output", type=Path, default=ARCHIVE, metavar="ZIP")
    try:
        package = build(parser.parse_args().output)
    except NotProductionCode as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    sys.stdout.write(
        f"{package.archive}: {_mebibytes(package.size)}, {package.files} files that take "
        f"{_mebibytes(package.unpacked_size)} unpacked\nsha256 {package.digest}\n"
    )
    return 0


def build(archive: Path) -> Package:
    """Writes the package. Raises NotProductionCode, or CalledProcessError if pip fails."""
    app = app_files(ROOT)
    with tempfile.TemporaryDirectory(prefix="firstpull-package-") as name:
        folder = Path(name).resolve()
        for file in app:
            copy = folder / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, copy)
        _install_dependencies(folder / SITE_PACKAGES)
        _compile(folder)
        return _pack(folder, archive)


def app_files(root: Path) -> list[Path]:
    """The files that `.funcignore` does not exclude, sorted, relative to `root`.

    Raises NotProductionCode.
    """
    ignored = GitIgnoreSpec.from_lines((root / ".funcignore").read_text().splitlines())
    left = sorted(_left(root, root, ignored))
    others = [str(f) for f in left if f.suffix != ".py" and not _is_read_by_code(f)]
    if others:
        raise NotProductionCode(
            f"Not production code: {', '.join(others)}. Remove it, or list it in .funcignore."
        )
    return left


def _is_read_by_code(file: Path) -> bool:
    return str(file) in _NO_CODE or (
        file.is_relative_to(_PAGES) and file.suffix in (".html", ".css", ".js")
    )


def _left(root: Path, folder: Path, ignored: GitIgnoreSpec) -> Iterator[Path]:
    for path in folder.iterdir():
        relative = path.relative_to(root)
        if path.is_dir():
            if not ignored.match_file(f"{relative.as_posix()}/"):
                yield from _left(root, path, ignored)
        elif not ignored.match_file(relative):
            yield relative


def _install_dependencies(folder: Path) -> None:
    platforms = (option for name in _PLATFORMS for option in ("--platform", name))
    _python(
        *("-m", "pip", "install", "-qq", "--disable-pip-version-check"),
        *("--no-deps", "--no-compile", "--only-binary", ":all:", *platforms),
        "--require-hashes",
        *("--target", str(folder), "-r", str(ROOT / REQUIREMENTS)),
    )
    never_read = GitIgnoreSpec.from_lines(_NEVER_READ)
    for file in never_read.match_tree_files(folder):
        (folder / file).unlink()


def _compile(folder: Path) -> None:
    """Writes bytecode that is valid whatever the time of its source, which unpacking changes."""
    _python(
        *("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
        *("-s", str(folder), "-p", _APP_ON_AZURE, str(folder)),
    )


def _python(*arguments: str) -> None:
    subprocess.run((sys.executable, *arguments), check=True)  # noqa: S603 - no input


def _pack(folder: Path, archive: Path) -> Package:
    """Archives everything below `folder`, sorted, with one time and one mode for all."""
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=Path.as_posix)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EARLIEST_TIME)
            entry.create_system = _FILE_OF_UNIX
            entry.external_attr = _READABLE
            entry.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(entry, file.read_bytes())
    size = sum(file.stat().st_size for file in files)
    return Package(archive=archive, files=len(files), unpacked_size=size)


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
