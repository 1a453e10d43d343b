"""Which characters are trained on, and which are kept back: by person, never by picture.

The config reads this each time Snakemake starts, so it imports nothing heavy.
"""

import hashlib
import json
from collections.abc import Mapping
from itertools import accumulate

SPLITS = ("train", "val", "test")
NOT_THE_BODY = ("look", "motion", "frames", "fps")
"""What two Anny characters may differ in and yet be the same person."""


def split_of(character: str, seed: int, shares: Mapping[str, float]) -> str:
    """One of SPLITS, drawn by the hash of `seed` and the name alone, so that no other character changes it.

    `shares` are the chances of each, which add up to 1.
    """
    digest = hashlib.sha256(f"{seed}/{character}".encode()).digest()
    drawn = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    edges = accumulate(shares[split] for split in SPLITS)
    last = [split for split in SPLITS if shares[split] > 0][-1]  # of shares whose sum is rounded to below 1
    return next((split for split, edge in zip(SPLITS, edges, strict=True) if drawn < edge), last)


def assign(characters: Mapping[str, dict], seed: int, shares: Mapping[str, float]) -> dict[str, str]:
    """The split of each of the config's characters, scenes included.

    Characters that share a person have the split of the one that comes first in the config: a scene and those who stand
    in it, and characters made of the same file or with the same body. So characters that are added at the end change
    nobody's split, unless a new scene brings people of two splits together.
    """
    first = _first_of_group(characters)
    return {name: split_of(first[name], seed, shares) for name in characters}


def _first_of_group(characters: Mapping[str, dict]) -> dict[str, str]:
    """By name, the first character of those who are linked to it, directly or not."""
    group = {name: index for index, name in enumerate(characters)}
    owner: dict[str, str] = {}
    for name, character in characters.items():
        linked = [owner.setdefault(body, name) for body in _bodies(character)]
        linked += [person["character"] for person in character.get("people", ())]
        joined = {group[other] for other in (name, *linked)}
        if len(joined) > 1:
            group = {other: min(joined) if number in joined else number for other, number in group.items()}
    names = list(characters)
    return {name: names[number] for name, number in group.items()}


def _bodies(character: dict) -> list[str]:
    """What tells the body of a character from others'; nothing for a scene."""
    if character.get("anny") is not None:
        body = {key: value for key, value in character["anny"].items() if key not in NOT_THE_BODY}
        return [f"anny {json.dumps(body, sort_keys=True)}"]
    return [f"file {character[key]}" for key in ("remote", "file") if character.get(key)][:1]
