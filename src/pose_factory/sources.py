"""The files that a character comes from."""

import json
from pathlib import Path
from urllib.parse import unquote

SUFFIXES = (".fbx", ".glb", ".gltf", ".blend")


def files_of(character: str | Path) -> list[str]:
    """The character's file and, for .gltf, the buffers and images beside it that it names."""
    path = Path(character)
    files = [str(path)]
    if path.suffix.lower() == ".gltf":
        try:
            document = json.loads(path.read_text())
            parts = [part for kind in ("buffers", "images") for part in document.get(kind, []) if "uri" in part]
        except (ValueError, AttributeError, TypeError):
            return files  # damaged: the job that reads it says so, and the other characters go on
        files += [str(path.parent / unquote(part["uri"])) for part in parts if not part["uri"].startswith("data:")]
    return [file for file in files if Path(file).exists()]
