"""COCO's keypoint format (https://cocodataset.org/#format-data): people with 17 keypoints, and with our 23.

The records of each character are lines of JSON, so that a split is put together without reading them.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from pose_factory.errors import PoseFactoryError
from pose_factory.export.views import View
from pose_factory.files import atomic
from pose_factory.skeleton import COCO, EDGES, INDEX, JOINTS, SIGMAS

KEYPOINTS = {17: COCO, 23: JOINTS}
COCO_SKELETON = [
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
    *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
]
"""The lines that COCO itself draws, from 1."""
OTHER_SIGMAS = {
    **{"head_top": 0.026, "neck": 0.026, "pelvis": 0.066, "left_foot": 0.079, "right_foot": 0.079},  # Halpe-FullBody's
    "spine": 0.066,  # nobody has published one: the pelvis's
}
"""OKS constants of the joints that COCO does not have: those of Halpe-FullBody's evaluation (Fang et al., 2022; of its
head, neck, hip and big toes)."""
BLOCK_BITS, INDEX_BITS = 31, 22
"""Of ids: 53 bits in all, which also floating-point numbers keep."""

Instances = Callable[[str, int], np.ndarray]
"""The instance map (H, W) uint8 of a camera angle and frame: 0 is the background, i + 1 the person i."""


def sigmas(count: int) -> list[float]:
    """COCO's OKS constants of so many keypoints, for `COCOeval.params.kpt_oks_sigmas`."""
    return [(SIGMAS | OTHER_SIGMAS)[joint] for joint in KEYPOINTS[count]]


def block(name: str) -> int:
    """The number that all ids of a character begin with, from 1: a hash, so that it is the same beside any others."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % (2**BLOCK_BITS - 1) + 1


def records(
    views: Iterable[View], licences: Mapping[str, str], instances: Instances | None = None
) -> Iterator[tuple[dict, dict[int, list[dict]]]]:
    """Of each picture of a character: its `images` record, and by number of keypoints the `annotations` of its people.

    `licences` has the terms of each camera angle's pictures, in words. With `instances`, annotations have a
    segmentation: of what is seen of the person. Raises PoseFactoryError for more
    pictures or people than there are ids.
    """
    image_id = annotation_id = 0
    for view in views:
        first = block(view.character) << INDEX_BITS
        visible, present = _visible(view), view.present
        for row, name in enumerate(view.names):
            image_id += 1
            people = np.flatnonzero(present[row]).tolist()
            masks = instances(view.angle, int(view.frames[row])) if instances and people else None
            bare = [
                _person(view, row, person, first + number, first + image_id, masks)
                for number, person in enumerate(people, annotation_id + 1)
            ]
            annotation_id += len(people)
            if max(image_id, annotation_id) >> INDEX_BITS:
                raise PoseFactoryError(
                    f"{view.character} has more than {2**INDEX_BITS - 1} pictures or people, which are all the ids of a"
                    " character; set render.frames to fewer."
                )
            image = {
                "id": first + image_id,
                "file_name": f"{view.character}/{name}.png",
                "width": view.camera.width,
                "height": view.camera.height,
                "license": block(licences[view.angle]),
                "character": view.character,
                "camera_angle": view.angle,
                "frame": int(view.frames[row]),
            }
            yield (
                image,
                {
                    count: [
                        about | _keypoints(visible[row, person, :count])
                        for about, person in zip(bare, people, strict=True)
                    ]
                    for count in KEYPOINTS
                },
            )


def _keypoints(visible: np.ndarray) -> dict:
    """The two keys of an annotation that tell of its keypoints (J, 3)."""
    numbers = [number for x, y, v in visible.tolist() for number in (round(x, 2), round(y, 2), int(v))]
    return {"keypoints": numbers, "num_keypoints": int((visible[:, 2] > 0).sum())}


def _visible(view: View) -> np.ndarray:
    """(F, P, J, 3) COCO's x, y, v. Its keypoints are whole numbers of pixels, so (0, 0) is the first pixel's centre;
    boxes and segmentations begin at its corner, as ours do (as Detectron2 reads them, too)."""
    last = np.array([view.camera.width, view.camera.height]) - 1
    labelled = view.visibility > 0
    places = np.where(labelled[..., None], np.clip(view.pixels - 0.5, 0, last), 0.0)
    return np.concatenate([places, view.visibility[..., None]], axis=-1)


def _person(view: View, row: int, person: int, number: int, image: int, masks: np.ndarray | None) -> dict:
    if masks is not None and masks.shape != (view.camera.height, view.camera.width):
        raise PoseFactoryError(
            f"The masks of {view.character}/{view.angle} are not of its pictures' size; make its passes again."
        )
    left, top, right, bottom = view.boxes[row, person].tolist()
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
        "area": round(float(view.area[row, person]), 2),
        "segmentation": [] if masks is None else _run_lengths(masks == person + 1),
        "iscrowd": 0,
        "person": person,
        "character": view.people[person],
    }


def _run_lengths(mask: np.ndarray) -> dict:
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}


# Files


def write_lines(found: Iterable[tuple[dict, dict[int, list[dict]]]], images: Path, people: dict[int, Path]) -> None:
    """Write what `records` yields a line each: to `images`, and by number of keypoints to `people`."""
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(stack.enter_context(atomic(path)).open("w"))
            for name, path in {0: images, **people}.items()
        }
        for image, annotations in found:
            for name, items in {0: [image], **annotations}.items():
                files[name].writelines(json.dumps(item, separators=(",", ":")) + "\n" for item in items)


def write_split(
    path: Path, count: int, info: dict, licences: Collection[str], images: Sequence[Path], people: Sequence[Path]
) -> None:
    """Write one COCO file of people with `count` keypoints, from the lines of all its characters.

    `licences` are the different ones of its images, in words.
    """
    head = {
        "info": info,
        "licenses": [{"id": block(licence), "name": licence, "url": ""} for licence in sorted(licences)],
        "categories": [category(count)],
    }
    with atomic(path) as temporary, temporary.open("w") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1])
        for name, lines in (("images", images), ("annotations", people)):
            file.write(f',\n"{name}": [')
            first = True
            for source in lines:
                with source.open() as records_:
                    for line in records_:
                        file.write("\n" if first else ",\n")
                        file.write(line.rstrip("\n"))
                        first = False
            file.write("]")
        file.write("}\n")


def category(count: int) -> dict:
    """The one category, with its keypoints' names, and the lines between them as COCO has them, from 1."""
    names = KEYPOINTS[count]
    ours = [[INDEX[a] + 1, INDEX[b] + 1] for a, b in EDGES]
    return {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": names,
        "skeleton": [list(pair) for pair in COCO_SKELETON] if names == COCO else ours,
        "sigmas": sigmas(count),
    }


def check_blocks(characters: Iterable[str]) -> None:
    """Raise PoseFactoryError where the ids of two characters would be the same, which is as likely as it is rare."""
    taken: dict[int, str] = {}
    for name in characters:
        if (other := taken.setdefault(block(name), name)) != name:
            raise PoseFactoryError(f"The characters {other} and {name} have the same ids in COCO files; rename one.")
