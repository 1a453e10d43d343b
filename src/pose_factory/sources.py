"""The files that a character comes from."""

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

SUFFIXES = (".fbx", ".glb", ".gltf", ".blend")
MOTION_SUFFIXES = (*SUFFIXES, ".bvh")


def motion_of(character: Mapping) -> dict | None:
    """{file, action} of the motion that a character of the config takes over from a file, if it does."""
    motion = character.get("motion") or (character.get("anny") or {}).get("motion")
    return motion if isinstance(motion, dict) else None


def files_of(character: str | Path) -> list[str]:
    """The character's file and, for .gltf, the buffers and images beside it that it names; those of them that exist."""
    path = Path(character)
    files = [str(path), *(str(path.parent / part) for part in parts_of(path))]
    return [file for file in files if Path(file).exists()]


def parts_of(path: Path) -> list[str]:
    """The buffers and images that a .gltf file names, as paths from its folder; none for other files."""
    if path.suffix.lower() != ".gltf":
        return []
    try:
        document = json.loads(path.read_text())
        parts = [part for kind in ("buffers", "images") for part in document.get(kind, []) if "uri" in part]
        return [unquote(part["uri"]) for part in parts if not part["uri"].startswith("data:")]
    except (ValueError, AttributeError, TypeError, OSError):
        return []  # damaged or missing: the job that reads it says so, and the other characters go on
