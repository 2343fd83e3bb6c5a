"""The two packages that the recipe learns from, fetched through npm, verified, and unpacked as far as needed."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from tools.pollen.errors import RecipeError
from tools.pollen.things import read_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tools.pollen.settings import Settings

# npm packs everything below this folder.
ROOT = "package"


@dataclass(frozen=True)
class Package:
    """One npm package at one version.

    Attributes:
        name: Its name on the registry.
        version: Its exact version.
        tarball: The file name that `npm pack` gives it.
        integrity: `sha512-` and the base64 of the tarball's SHA-512, as npm writes it.
    """

    name: str
    version: str
    tarball: str
    integrity: str


FLUENT = Package(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    tarball="lobehub-fluent-emoji-3d-1.1.0.tgz",
    integrity="sha512-Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
)
EMOJIBASE = Package(
    name="emojibase-data",
    version="17.0.0",
    tarball="emojibase-data-17.0.0.tgz",
    integrity="sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
)


def run(settings: Settings) -> dict[str, Any]:
    """Leave the chosen pictures in `raw/assets` and the annotations in `raw/en/data.json`.

    Raises:
        RecipeError: npm is missing or fails, a tarball is not the pinned one, or it lacks a file.
    """
    settings.tarballs.mkdir(parents=True, exist_ok=True)
    assets = {f"assets/{thing.hexcode}.webp" for thing in read_choice()}
    figures: dict[str, Any] = {}
    for package, wanted in ((FLUENT, assets), (EMOJIBASE, {"en/data.json", "LICENSE"})):
        tarball = fetch(package, settings.tarballs)
        got = extract(tarball, settings.raw, wanted.__contains__)
        require_all(package, wanted, got)
        figures[f"{package.name}@{package.version}"] = {"files": len(got), "integrity": package.integrity}
    return figures


def fetch(package: Package, into: Path, npm: Callable[[Package, Path], None] | None = None) -> Path:
    """Return the package's verified tarball, asking npm only where it is not yet there.

    Args:
        package: Which one.
        into: Folder of the tarballs; a tarball put there by hand is used as well.
        npm: What brings the tarball into the folder; `npm pack` unless given.

    Raises:
        RecipeError: The tarball could not be had or is not the pinned one.
    """
    tarball = into / package.tarball
    if not tarball.is_file():
        (npm or npm_pack)(package, into)
    if not tarball.is_file():
        raise RecipeError(f"npm pack {package.name}@{package.version} did not write {tarball}")
    given = integrity(tarball)
    if given != package.integrity:
        raise RecipeError(
            f"{tarball}: its integrity is {given}, allowed is {package.integrity}; remove it and try again"
        )
    return tarball


def npm_pack(package: Package, into: Path) -> None:
    """Have npm fetch the tarball from the registry that it is configured with."""
    program = shutil.which("npm")
    if program is None:
        raise RecipeError(
            f"npm is not on PATH: install Node.js, or put {package.tarball} of "
            f"{package.name}@{package.version} into {into} by hand"
        )
    # Run inside the folder: a package.json or .npmrc of the caller's folder must not decide what is fetched.
    command = [program, "pack", f"{package.name}@{package.version}", "--silent"]
    done = subprocess.run(command, cwd=into, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RecipeError(f"npm pack {package.name}@{package.version} failed: {done.stderr.strip() or done.stdout}")


def integrity(path: Path) -> str:
    """Return `sha512-` and the base64 of the file's SHA-512."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    return "sha512-" + base64.b64encode(digest).decode("ascii")


def extract(tarball: Path, into: Path, wants: Callable[[str], bool]) -> list[str]:
    """Unpack the wanted regular files of an npm tarball, without its top folder.

    Every path of the archive is judged before anything is written, wanted or not.

    Args:
        tarball: A gzip-compressed tar.
        into: Folder to unpack into; made where missing.
        wants: Says for a path below the top folder, with forward slashes, whether to unpack it.

    Returns:
        The paths that were unpacked, sorted.

    Raises:
        RecipeError: A path would leave the folder, or a wanted one is not a regular file.
    """
    with tarfile.open(tarball, "r:gz") as archive:
        wanted = []
        for member in archive.getmembers():
            path = inside(member.name, tarball)
            if member.isdir() or not wants(path):
                continue
            if not member.isreg():
                raise RecipeError(f"{tarball}: {member.name} is not a regular file")
            wanted.append((path, member))
        for path, member in wanted:
            source = archive.extractfile(member)
            if source is None:
                raise RecipeError(f"{tarball}: {member.name} has no contents")
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
    return sorted(path for path, _ in wanted)


def inside(name: str, tarball: Path) -> str:
    """Return an archive path without its top folder, if it stays inside on every platform.

    Raises:
        RecipeError: The path is absolute, has a drive, a backslash or a `..`.
    """
    path = PurePosixPath(name)
    if "\\" in name or path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts:
        raise RecipeError(f"{tarball}: the path {name!r} leaves the folder it is unpacked into")
    parts = path.parts[1:] if path.parts[:1] == (ROOT,) else path.parts
    return "/".join(parts)


def require_all(package: Package, wanted: Collection[str], got: Collection[str]) -> None:
    """Raise `RecipeError` naming what the package should hold and does not."""
    missing = sorted(set(wanted) - set(got))
    if missing:
        raise RecipeError(f"{package.name}@{package.version} lacks {len(missing)} files, first of them {missing[0]}")
