"""The canonical joints that every table uses: COCO-17 plus pelvis, spine, neck, head top and feet (data:
skeleton.json).

`left_foot` and `right_foot` are the balls of the feet (the base of the toes); `spine` is mid-spine, between pelvis and
neck; left and right are the person's own.
"""

import json
from pathlib import Path

_DATA = json.loads(Path(__file__).with_name("skeleton.json").read_text())

JOINTS: list[str] = [joint["name"] for joint in _DATA["joints"]]
INDEX: dict[str, int] = {name: index for index, name in enumerate(JOINTS)}
COCO: list[str] = JOINTS[:17]
SIGMAS: dict[str, float] = {joint["name"]: joint["sigma"] for joint in _DATA["joints"] if joint["sigma"] is not None}
EDGES: list[tuple[str, str]] = [tuple(edge) for edge in _DATA["edges"]]
PAIRS: list[tuple[str, str]] = [(name, name.replace("left_", "right_")) for name in JOINTS if name.startswith("left_")]
