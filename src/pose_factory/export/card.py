"""The dataset card: what is in the dataset, where it comes from and how to load it, as Hugging Face wants it."""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pose_factory.export.splits import SPLITS
from pose_factory.export.terms import UNKNOWN, background_of, in_words
from pose_factory.export.views import View
from pose_factory.skeleton import JOINTS

VERSION = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["version"]
BINS = 5
"""Of a phenotype's values from 0 to 1."""
SIZES = {1e3: "n<1K", 1e4: "1K<n<10K", 1e5: "10K<n<100K", 1e6: "100K<n<1M", 1e7: "1M<n<10M"}
"""What Hugging Face calls datasets of fewer samples than these."""
FORMATS = {
    "coco": (
        "COCO keypoints",
        """
from pycocotools.coco import COCO
coco = COCO("coco/annotations/person_keypoints_{split}.json")
image = coco.loadImgs(coco.getImgIds())[0]
people = coco.loadAnns(coco.getAnnIds(image["id"]))
print("coco/images/{split}/" + image["file_name"], [person["keypoints"] for person in people])
""",
    ),
    "yolo": (
        "YOLO pose",
        """
from pathlib import Path
label = min(Path("yolo/labels/{split}").rglob("*.txt"))
people = [line.split() for line in label.read_text().splitlines()]
print(label, [person[5:] for person in people])
""",
    ),
    "webdataset": (
        "WebDataset",
        """
import glob, webdataset
shards = sorted(glob.glob("webdataset/{split}/*/*.tar"))
dataset = webdataset.WebDataset(shards, shardshuffle=100).shuffle(1000).decode("pil").to_tuple("png", "json")
for image, labels in dataset:
    print(image.size, [person["keypoints"] for person in labels["people"]])
""",
    ),
    "arrays": (
        "3D arrays",
        """
import glob, numpy
view = numpy.load(min(glob.glob("arrays/{split}/*/*.npz")))
inside_camera = view["joints_world"] @ view["R"].T + view["t"]
pixels = inside_camera @ view["K"].T / inside_camera[..., 2:]
print(view["joints_world"].shape, pixels[..., :2])
""",
    ),
}
"""By its name in the config: what a form of the dataset is called, and how to load it in five lines."""
MOTIONS = "Motions, for other programs (docs/biomechanics.md of Pose Factory)"


def facts(
    character: dict,
    views: Iterable[View],
    renders: Iterable[dict],
    bodies: Mapping[str, dict | None],
    terms: Mapping[str, Any],
) -> dict:
    """What the card tells of a character: counts by camera angle, and where each person of character.json is from.

    `renders` are its views' render.json; `bodies` has the description of the Anny body of each person that is one;
    `terms` are those of its people and backgrounds (export.terms).
    """
    by_angle, backgrounds = {}, set()
    for view, render in zip(views, renders, strict=True):
        present = view.present
        states = Counter(view.visibility[present].ravel().tolist())
        by_angle[view.angle] = {
            "size": [view.camera.width, view.camera.height],
            "images": len(view.frames),
            "empty": int((~present.any(-1)).sum()),
            "poses": present.sum(0).tolist(),
            "visibility": [states[state] for state in range(3)],
            "licence": in_words(render, terms),
        }
        if background := background_of(render, terms):
            backgrounds.add(background)
    people = []
    for person in character["people"]:
        anny, told = bodies.get(person["name"]), terms["people"][person["name"]]
        own = anny["motion"] if anny else person["action"]
        people.append(
            {
                "name": person["name"],
                "source": told["source"] or UNKNOWN,
                "licence": told["licence"] or UNKNOWN,
                "motion": (told["motion"]["file"] if told["motion"] else own) or "none",
                "motion_licence": (told["motion"]["licence"] or UNKNOWN) if told["motion"] else None,
                "phenotype": anny["phenotype"] if anny else None,
            }
        )
    return {
        "people": people,
        "angles": by_angle,
        "backgrounds": [list(background) for background in sorted(backgrounds)],
    }


def card(
    told: Mapping[str, dict],
    splits: Mapping[str, str],
    sizes: Mapping[str, tuple[int, int]],
    settings: Mapping,
) -> str:
    """The card in Markdown, from what `facts` tells of each character, its split, files and bytes of each format, and
    `seed` and `shares` of the config."""
    views = [(name, angle, view) for name, character in told.items() for angle, view in character["angles"].items()]
    images = sum(view["images"] for _, _, view in views)
    poses = sum(sum(view["poses"]) for _, _, view in views)
    filled = [split for split in SPLITS if any(view["images"] for name, _, view in views if splits[name] == split)]
    parts = [
        _front_matter(told, sizes, images, filled),
        "# Pose dataset\n",
        f"{images:,} rendered pictures with {poses:,} labelled poses of {len(told):,} characters, made with"
        f" Pose Factory {VERSION}. The people and their pictures are synthetic and their labels exact.\n",
        _contents(splits, views, settings),
        _sizes(sizes),
        _load(sizes, filled),
        _distributions(told, views),
        _licences(told),
    ]
    return "\n".join(parts)


def _front_matter(told, sizes, images: int, filled: Sequence[str]) -> str:
    licences = {person["licence"] for character in told.values() for person in character["people"]}
    licences |= {licence for _, licence in [*_motions(told), *_backgrounds(told)]}
    size = next((name for limit, name in SIZES.items() if images < limit), "n>10M")
    lines = ["---", "pretty_name: Pose Factory", f"license: {'unknown' if UNKNOWN in licences else 'other'}"]
    lines += ["task_categories:", "- keypoint-detection", "tags:", "- human-pose-estimation", "- synthetic"]
    lines += ["size_categories:", f"- {size}"]
    if "webdataset" in sizes and filled:
        lines += ["configs:", "- config_name: default", "  data_files:"]
        for split in filled:
            lines += [f"  - split: {split}", f'    path: "webdataset/{split}/*/*.tar"']
    return "\n".join([*lines, "---", ""])


def _contents(splits: Mapping[str, str], views, settings) -> str:
    rows = []
    for split in SPLITS:
        ours = [view for name, _, view in views if splits[name] == split]
        rows.append(
            [
                f"`{split}`",
                f"{settings['shares'][split]:g}",
                sum(splits[name] == split for name in dict.fromkeys(name for name, _, _ in views)),
                sum(view["images"] for view in ours),
                sum(view["empty"] for view in ours),
                sum(sum(view["poses"]) for view in ours),
            ]
        )
    empty = [row[0] for row in rows if not row[3]]
    advice = "more characters, another `export.seed` or other shares change that"
    note = f"\nNothing fell to {' and '.join(empty)}: {advice}.\n" if empty else ""
    return (
        "## Splits\n\n"
        + _table(["split", "share asked for", "characters", "pictures", "of these without anybody", "poses"], rows)
        + note
        + f"\nBy character, drawn with the seed {settings['seed']}. Characters that share a person (scenes and those in"
        " them, one file or body with several motions) are in one split.\n"
    )


def _sizes(sizes: Mapping[str, tuple[int, int]]) -> str:
    titles = {name: title for name, (title, _) in FORMATS.items()} | {"motion": MOTIONS}
    rows = [[titles[name], f"`{name}/`", files, size] for name, (files, size) in sizes.items()]
    return (
        "## Size\n\n"
        + _table(["format", "folder", "files", "bytes"], rows)
        + "\nPictures of COCO and YOLO are hard links to the rendered ones where the disk has these, and then take no"
        " room of their own.\n"
    )


def _load(sizes: Mapping, filled: Sequence[str]) -> str:
    text = "## Load it\n\nFrom this folder; docs/export.md of Pose Factory says what every field is.\n"
    for name in [name for name in sizes if name in FORMATS and filled]:
        title, code = FORMATS[name]
        text += f"\n{title}:\n\n```python\n{code.strip().replace('{split}', filled[0])}\n```\n"
    if "yolo" in sizes:
        text += "\nor, with Ultralytics, `yolo pose train model=yolo11n-pose.pt data=yolo/data.yaml`.\n"
    return text + f"\nThe joints, in order: {', '.join(JOINTS)}; COCO's and YOLO's are the first 17.\n"


def _distributions(told: Mapping[str, dict], views) -> str:
    angles, states, motions, sides = Counter(), Counter(), Counter(), Counter()
    phenotypes: dict[str, Counter] = {}
    for name, angle, view in views:
        angles[angle] += sum(view["poses"])
        states.update(dict(enumerate(view["visibility"])))
        sides[" x ".join(map(str, view["size"]))] += view["images"]
        for person, poses in zip(told[name]["people"], view["poses"], strict=True):
            motions[person["motion"]] += poses
            for key, value in (person["phenotype"] or {UNKNOWN: 0.0}).items():
                phenotypes.setdefault(key, Counter())[min(int(value * BINS), BINS - 1)] += poses
    joints = states.total() or 1
    words = ("not labelled (no such joint, or outside the picture)", "occluded", "visible")
    unknown = phenotypes.pop(UNKNOWN, Counter()).total()
    edges = [f"{number / BINS:g} to {(number + 1) / BINS:g}" for number in range(BINS)]
    text = "## What is in it\n\nPoses by camera angle:\n\n"
    text += _table(["angle", "poses"], angles.items())
    text += "\nJoints by visibility:\n\n"
    rows = [[f"{state}: {word}", states[state], f"{states[state] / joints:.1%}"] for state, word in enumerate(words)]
    text += _table(["visibility", "joints", "share"], rows)
    text += "\nPoses by motion:\n\n" + _table(["motion", "poses"], sorted(motions.items()))
    text += "\nPictures by size, pixels:\n\n" + _table(["width x height", "pictures"], sorted(sides.items()))
    if phenotypes:
        text += "\nPoses by phenotype (gender: 0 male, 1 female; age: 0 baby, 0.33 child, 0.67 young adult, 1 old):\n\n"
        rows = [[key, *(found[number] for number in range(BINS))] for key, found in phenotypes.items()]
        text += _table(["phenotype", *edges], rows)
    if unknown:
        text += f"\nThe phenotype of {unknown:,} poses is unknown: their characters are from files.\n"
    return text


def _licences(told: Mapping[str, dict]) -> str:
    people = {person["name"]: person for character in told.values() for person in character["people"]}
    text = "## Sources and licences\n\nAs the config of the dataset says; what it does not say is unknown.\n\n"
    rows = [[name, person["source"], person["licence"]] for name, person in sorted(people.items())]
    text += _table(["character", "source", "licence"], rows)
    for what, rows in (("motion", _motions(told)), ("background", _backgrounds(told))):
        if rows:
            text += "\n" + _table([f"{what} from a file", "licence"], rows)
    return text


def _motions(told: Mapping[str, dict]) -> list[tuple[str, str]]:
    """The motions that came from files of their own, with their licences."""
    people = [person for character in told.values() for person in character["people"] if person["motion_licence"]]
    return sorted({(person["motion"], person["motion_licence"]) for person in people})


def _backgrounds(told: Mapping[str, dict]) -> list[tuple[str, str]]:
    """The images behind people, with their licences."""
    return sorted({tuple(found) for character in told.values() for found in character["backgrounds"]})


def _table(head: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A Markdown table; numbers are aligned to the right."""
    rows = [list(row) for row in rows]
    numbers = [bool(rows) and all(isinstance(row[column], int) for row in rows) for column in range(len(head))]
    lines = [head, ["---:" if number else "---" for number in numbers], *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _cell(value) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("|", "\\|")  # in one line
