"""The terms that pictures may be used under: of the people in them, of the motions these took over, of what is behind.

They are in the config alone and reach nothing but the dataset, so that filling them in renders nothing anew.
"""

from collections.abc import Mapping
from pathlib import PurePath

UNKNOWN = "unknown"
"""The licence and source of what has none in the config."""


def background_of(render: Mapping, terms: Mapping) -> tuple[str, str] | None:
    """The name of the image behind a view (render.json) and its licence; None where there is no image."""
    file = (render.get("variation", {}).get("background") or {}).get("file")
    return (PurePath(file).name, terms["background"] or UNKNOWN) if file else None


def in_words(render: Mapping, terms: Mapping) -> str:
    """The different licences of all that is in a view's pictures, as one text.

    `terms` are {people: {name: {source, licence, motion: {file, licence} or None}}, background: the licence of
    images}, of the people in these pictures.
    """
    behind = background_of(render, terms)
    found = {behind[1]} if behind else set()
    for person in terms["people"].values():
        found |= {person["licence"] or UNKNOWN}
        found |= {person["motion"]["licence"] or UNKNOWN} if person["motion"] else set()
    return "; ".join(sorted(found))
