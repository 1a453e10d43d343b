"""The dataset's formats, from synthetic people: each read back by the library that its users use."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import synthetic_person as person
import webdataset
import yaml
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pose_factory import passes
from pose_factory.config import load
from pose_factory.errors import PoseFactoryError
from pose_factory.export import coco, folders, streaming, terms, yolo
from pose_factory.export.arrays import arrays
from pose_factory.export.card import card, facts
from pose_factory.export.splits import SPLITS, assign, split_of
from pose_factory.export.views import BOX, View, dense
from pose_factory.files import whole_folder
from pose_factory.frames import image
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import EDGES, INDEX, JOINTS, PAIRS

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
WIDTH, HEIGHT = 160, 240
LICENCES = {"front": "CC0", "left": "CC0; unknown"}
FRAMES = [3, 5, 7, 9]


# Splits


def test_characters_fall_to_splits_in_about_the_shares_asked_for():
    drawn = Counter(split_of(f"body_{number}", 0, SHARES) for number in range(5000))
    for split, share in SHARES.items():
        assert drawn[split] == pytest.approx(5000 * share, abs=4 * np.sqrt(5000 * share * (1 - share)))


def test_the_seed_and_the_name_alone_decide():
    assert [split_of(name, 0, SHARES) for name in ("ada", "ben", "cleo")] == ["train", "test", "train"]
    other = [split_of(f"body_{number}", 1, SHARES) for number in range(200)]
    assert other != [split_of(f"body_{number}", 0, SHARES) for number in range(200)]


@pytest.mark.parametrize("only", SPLITS)
def test_a_share_of_nothing_gets_nobody(only):
    shares = {split: float(split == only) for split in SPLITS}
    assert {split_of(f"body_{number}", 3, shares) for number in range(200)} == {only}


def test_shares_whose_sum_is_rounded_down_give_everybody_a_split():
    shares = {"train": 0.0, "val": 0.0, "test": 1 - 1e-7}
    assert {split_of(f"body_{number}", 0, shares) for number in range(200)} == {"test"}
    assert split_of("ada", 0, {"train": 1e-12, "val": 1e-12, "test": 0.0}) == "val"


def body(height: float, **other) -> dict:
    return {"file": None, "anny": {"phenotype": {"height": height}, **other}}


def test_added_characters_change_nobodys_split():
    some = {f"body_{number}": body(number / 1000) for number in range(200)}
    more = {**some, **{f"later_{number}": body(0.5 + number / 1000) for number in range(200)}}
    drawn = assign(more, 0, SHARES)
    assert assign(some, 0, SHARES).items() <= drawn.items()
    assert drawn == {name: split_of(name, 0, SHARES) for name in more}


def test_who_shares_a_person_shares_a_split_with_the_first_of_them():
    characters = {
        **{f"alone_{number}": body(number / 100) for number in range(30)},
        "zoe": body(0.9, motion="walk", look={"skin": "#000000"}),
        "zoe_waves": body(0.9, motion="wave", frames=9, fps=3),
        "file": {"file": "/a b/x.fbx", "action": "one"},
        "same_file": {"file": "/a b/x.fbx", "action": "two"},
        "remote": {"file": "results/remote/source/x.fbx", "remote": "x.fbx"},
        "same_remote": {"file": "results/same_remote/source/x.fbx", "remote": "x.fbx"},
        "scene": {"people": [{"character": "remote"}, {"character": "file"}]},
    }
    for seed in range(20):
        drawn = assign(characters, seed, SHARES)
        assert drawn["zoe_waves"] == drawn["zoe"] == split_of("zoe", seed, SHARES)
        together = {drawn[name] for name in ("file", "same_file", "remote", "same_remote", "scene")}
        assert together == {split_of("file", seed, SHARES)}
        assert all(drawn[name] == split_of(name, seed, SHARES) for name in characters if "alone" in name)


def test_a_scene_before_its_people_takes_them_along():
    characters = {"scene": {"people": [{"character": "a"}, {"character": "b"}]}, "a": body(0.1), "b": body(0.2)}
    for seed in range(20):
        assert set(assign(characters, seed, SHARES).values()) == {split_of("scene", seed, SHARES)}


def test_the_choice_of_characters_changes_no_split():
    characters = {name: {"anny": {"phenotype": {"height": 0.1 * number}}} for number, name in enumerate("abcdef")}
    whole = load({"characters": characters}, Path())["splits"]
    assert load({"characters": characters, "only": ["c"]}, Path())["splits"] == whole
    assert whole == {name: split_of(name, 0, SHARES) for name in characters}


@pytest.mark.parametrize(
    ("export", "sentence"),
    [
        (
            {"shares": {"train": 1}},
            "export.shares adds up to 1.2 over train, val, test, but must add up to 1.",
        ),
        ({"shares": {"train": -1}}, "export.shares.train is -1, but must be at least 0 and at most 1 (a fraction)"),
        ({"formats": ["coca"]}, "export.formats[0] is 'coca'; the nearest valid one is 'coco'."),
        ({"formats": []}, "export.formats is empty; name at least one."),
        ({"shard_size": 0}, "export.shard_size is 0, but must be at least 1 and at most 1000000 (pictures in a file)."),
    ],
)
def test_a_wrong_setting_is_one_sentence(export, sentence):
    with pytest.raises(PoseFactoryError) as error:
        load({"characters": {"ada": {"anny": {}}}, "export": export}, Path())
    assert str(error.value).startswith(f"Config: {sentence}")


def test_the_name_of_the_datasets_folder_is_no_characters():
    with pytest.raises(PoseFactoryError, match=r"^Config: characters\.export is not a valid name; use at most 64"):
        load({"characters": {"export": {"anny": {}}}}, Path())


# Views


def seen(character: str = "crossing", angle: str = "front", azimuth: float = 0.0) -> View:
    """Two people in four frames of an upright picture: the second has no left ear, has gone in the third frame, and
    both have in the last; joints are occluded here and there."""
    distance = np.array([4 * np.sin(np.radians(azimuth)), -4 * np.cos(np.radians(azimuth)), 1.4])
    camera = Camera.look_at(distance, [0, 0, 0.95], 330.0, WIDTH, HEIGHT)
    people = [person.walk(4, seed=seed) * 0.9 for seed in (0, 1)]
    people[1] = people[1] + [0.5, 0.3, 0]
    people[1][:, INDEX["left_ear"]] = np.nan
    people[1][2:] += [9, 9, 0]
    people[0][3] += [9, 9, 0]
    states = np.random.default_rng(5).integers(1, 3, (2, 4, len(JOINTS)))
    labels, boxes = [], []
    for index, world in enumerate(people):
        labels.append(person.labels(world, camera, FRAMES, states[index], index))
        pixels = camera.project(world)[0]
        corners = [np.clip(edge(pixels, axis=1), 0, [WIDTH, HEIGHT]) for edge in (np.nanmin, np.nanmax)]
        columns = dict(zip(BOX, np.concatenate(corners, axis=1).T, strict=True))
        columns["area"] = 0.4 * (corners[1] - corners[0]).prod(axis=1)
        boxes.append(pd.DataFrame({"frame": FRAMES, "person": index, **columns}))
    labels, boxes = (pd.concat(tables).sort_values(["frame", "person"], kind="stable") for tables in (labels, boxes))
    return dense(character, angle, ["ada", "ben"], FRAMES, labels, boxes, camera)


def test_a_view_is_its_tables_as_arrays():
    view = seen()
    assert view.world.shape == (4, 2, 23, 3) and view.pixels.shape == (4, 2, 23, 2) and view.boxes.shape == (4, 2, 4)
    assert view.present.tolist() == [[True, True], [True, True], [True, False], [False, False]]
    assert view.names == ["front/0003", "front/0005", "front/0007", "front/0009"]
    assert np.isnan(view.world[:, 1, INDEX["left_ear"]]).all() and np.isfinite(view.world[:, 0]).all()
    assert set(view.visibility[:2, 0].ravel()) == {1, 2} and not view.visibility[3].any()
    np.testing.assert_allclose(view.time, np.array(FRAMES) / 30)


def test_labels_of_other_frames_or_people_are_refused():
    camera, world = person.camera(), person.walk(4)
    labels, boxes = person.labels(world, camera, FRAMES), person.boxes(world, camera, FRAMES)
    dense("ada", "front", ["ada"], FRAMES, labels, boxes, camera)
    wrong = [
        (["ada"], [3, 5, 7, 8], labels, boxes),
        (["ada"], FRAMES[:3], labels, boxes),
        (["ada", "ben"], FRAMES, labels, boxes),
        (["ada"], FRAMES, labels[:-1], boxes),
        (["ada"], FRAMES, labels, boxes[1:]),
        (["ada"], FRAMES, labels.iloc[::-1], boxes),
    ]
    for people, frames, *tables in wrong:
        with pytest.raises(
            PoseFactoryError, match="labels of ada/front are of other frames or people than its pictures"
        ):
            dense("ada", "front", people, frames, *tables, camera)


# COCO


@pytest.fixture
def annotated(tmp_path):
    """The COCO files of two angles of a scene and of another character, by number of keypoints."""
    lines = {}
    for name in ("crossing", "zoe"):
        views = [seen(name), seen(name, "left", 270)]
        lines[name] = {count: tmp_path / f"{name}_{count}.jsonl" for count in (0, 17, 23)}
        people = {count: lines[name][count] for count in coco.KEYPOINTS}
        coco.write_lines(coco.records(views, LICENCES), lines[name][0], people)
    files = {count: tmp_path / f"{count}.json" for count in coco.KEYPOINTS}
    for count, path in files.items():
        columns = [[of[kind] for of in lines.values()] for kind in (0, count)]
        coco.write_split(path, count, {"description": "test"}, {*LICENCES.values()}, *columns)
    return files


def precision(path: Path, count: int, moved: float = 0.0) -> tuple[float, int]:
    """AP of a file's own people, `moved` by pixels, against themselves; and how many they are."""
    truth = COCO(str(path))
    found = []
    for item in truth.anns.values():
        points = np.array(item["keypoints"], float).reshape(-1, 3) + [moved, 0, 0]
        if item["num_keypoints"]:
            found.append(
                {
                    **{key: item[key] for key in ("image_id", "category_id")},
                    "keypoints": points.ravel().tolist(),
                    "score": 1.0,
                }
            )
    judge = COCOeval(truth, truth.loadRes(found), "keypoints")
    judge.params.kpt_oks_sigmas = np.array(coco.sigmas(count))
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return judge.stats[0], len(found)


@pytest.mark.parametrize("count", [17, 23])
def test_pycocotools_finds_that_the_ground_truth_is_itself(annotated, count):
    assert precision(annotated[count], count) == (pytest.approx(1.0), 20)
    assert precision(annotated[count], count, moved=30.0)[0] < 0.1


def test_a_coco_file_says_what_the_labels_say(annotated):
    view, truth = seen(), COCO(str(annotated[23]))
    images = {item["file_name"]: item for item in truth.imgs.values()}
    assert len(images) == 16 and len(truth.anns) == 20
    for row, name in enumerate(view.names):
        about = images[f"crossing/{name}.png"]
        assert (about["width"], about["height"], about["frame"]) == (WIDTH, HEIGHT, FRAMES[row])
        names = {item["id"]: item["name"] for item in truth.dataset["licenses"]}
        assert names[about["license"]] == LICENCES[about["camera_angle"]]
        people = truth.loadAnns(truth.getAnnIds(about["id"]))
        assert [item["person"] for item in people] == np.flatnonzero(view.present[row]).tolist()
        for item in people:
            index = item["person"]
            points = np.array(item["keypoints"]).reshape(-1, 3)
            labelled = view.visibility[row, index] > 0
            assert points[:, 2].tolist() == view.visibility[row, index].tolist()
            assert item["num_keypoints"] == labelled.sum() and (points[~labelled] == 0).all()
            # COCO's keypoints are indices of pixels: the centre of the first one is (0, 0)
            expected = np.clip(view.pixels[row, index, labelled] - 0.5, 0, [WIDTH - 1, HEIGHT - 1])
            np.testing.assert_allclose(points[labelled, :2], expected, atol=0.0051)
            left, top, right, bottom = view.boxes[row, index]
            np.testing.assert_allclose(item["bbox"], [left, top, right - left, bottom - top], atol=0.0051)
            assert item["area"] == pytest.approx(view.area[row, index], abs=0.0051)
            assert item["iscrowd"] == 0 and item["segmentation"] == [] and item["character"] == ["ada", "ben"][index]
            assert type(item["keypoints"][2]) is int


def test_the_first_seventeen_are_cocos_own(annotated):
    few, all_ = COCO(str(annotated[17])), COCO(str(annotated[23]))
    assert few.imgs == all_.imgs and list(few.anns) == list(all_.anns)
    for number, item in few.anns.items():
        assert item["keypoints"] == all_.anns[number]["keypoints"][: 17 * 3]
        assert item["num_keypoints"] == sum(state > 0 for state in item["keypoints"][2::3])
    names = few.cats[1]["keypoints"]
    assert names == JOINTS[:17] and all_.cats[1]["keypoints"] == JOINTS
    ours = {frozenset(edge) for edge in EDGES if set(edge) <= set(names)} - {frozenset(("nose", "neck"))}
    drawn = {frozenset(names[place - 1] for place in pair) for pair in few.cats[1]["skeleton"]}
    assert ours <= drawn and len(drawn) == 19 and frozenset(("left_shoulder", "right_shoulder")) in drawn
    assert {frozenset(JOINTS[place - 1] for place in pair) for pair in all_.cats[1]["skeleton"]} == set(
        map(frozenset, EDGES)
    )
    assert few.cats[1]["sigmas"] == pytest.approx(COCOeval(iouType="keypoints").params.kpt_oks_sigmas)
    assert len(all_.cats[1]["sigmas"]) == 23 and min(all_.cats[1]["sigmas"]) > 0


def test_ids_are_the_same_beside_any_other_characters_and_no_two_alike(annotated):
    together = COCO(str(annotated[17]))
    alone = list(coco.records([seen("zoe"), seen("zoe", "left", 270)], LICENCES))
    assert {image["id"] for image, _ in alone} < set(together.imgs)
    numbers = [item["id"] for _, people in alone for item in people[17]]
    assert set(numbers) < set(together.anns) and len(set(numbers)) == len(numbers) == 10
    assert all(0 < number < 2**53 for number in [*together.imgs, *together.anns])


def test_characters_whose_ids_would_be_the_same_are_told():
    taken: dict[int, str] = {}
    pair = next(
        (taken[coco.block(name)], name)
        for name in (f"body_{number}" for number in range(2**20))
        if taken.setdefault(coco.block(name), name) != name
    )
    coco.check_blocks(["ada", pair[0], "ben"])
    with pytest.raises(PoseFactoryError, match=f"characters {pair[0]} and {pair[1]} have the same ids"):
        coco.check_blocks(["ada", *pair])


def test_more_pictures_than_ids_are_told(monkeypatch):
    assert len(list(coco.records([seen()], LICENCES))) == 4
    monkeypatch.setattr(coco, "INDEX_BITS", 2)
    with pytest.raises(PoseFactoryError, match="crossing has more than 3 pictures or people"):
        list(coco.records([seen()], LICENCES))


def test_segmentations_are_what_is_seen_of_each_person(tmp_path):
    masks = np.zeros((HEIGHT, WIDTH), np.uint8)
    masks[10:50, 20:90], masks[30:80, 60:120], masks[60:, :] = 1, 2, 255
    asked = []

    def instances(angle: str, frame: int) -> np.ndarray:
        asked.append((angle, frame))
        return masks

    found = list(coco.records([seen()], LICENCES, instances))
    assert asked == [("front", 3), ("front", 5), ("front", 7)]  # nobody is in the fourth
    for _, people in found:
        for item in people[17]:
            np.testing.assert_array_equal(rle.decode(item["segmentation"]), masks == item["person"] + 1)
    assert json.dumps([people for _, people in found])


def test_a_mask_that_is_missing_or_of_another_size_is_told(tmp_path):
    def instances(angle: str, frame: int) -> np.ndarray:
        return passes.read_instances(tmp_path / f"{frame:04d}.png")

    with pytest.raises(PoseFactoryError, match=r"0003\.png is missing or damaged; make it again"):
        list(coco.records([seen()], LICENCES, instances))
    cv2.imwrite(str(tmp_path / "0003.png"), np.zeros((WIDTH, HEIGHT), np.uint8))
    with pytest.raises(PoseFactoryError, match="masks of crossing/front are not of its pictures' size"):
        list(coco.records([seen()], LICENCES, instances))
    cv2.imwrite(str(tmp_path / "0003.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(PoseFactoryError, match="is missing or damaged"):
        passes.read_instances(tmp_path / "0003.png")


# YOLO


def parse(text: str, data: dict) -> np.ndarray:
    """People (N, 5 + keypoints * 3) of a label file, by the rules that Ultralytics checks a file with before training
    (ultralytics.data.utils.verify_image_label)."""
    rows = np.array([line.split() for line in text.splitlines()], float).reshape(-1, 5 + np.prod(data["kpt_shape"]))
    points = rows[:, 5:].reshape(len(rows), *data["kpt_shape"])
    assert (points[..., :2] <= 1).all() and (rows >= 0).all()
    assert (rows[:, 0] % 1 == 0).all() and set(rows[:, 0]) <= set(data["names"])
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert set(points[..., 2].ravel()) <= {0, 1, 2}
    return rows


def test_yolos_lines_are_the_labels_as_fractions_of_the_picture():
    data, view = yaml.safe_load(yolo.data_file()), seen()
    size = np.array([WIDTH, HEIGHT])
    for row in range(len(FRAMES)):
        rows = parse("".join(yolo.lines(view, row)), data)
        people = np.flatnonzero(view.present[row])
        assert len(rows) == len(people)
        for numbers, index in zip(rows, people, strict=True):
            centre, extent = numbers[1:3] * size, numbers[3:5] * size
            box = np.concatenate([centre - extent / 2, centre + extent / 2])
            np.testing.assert_allclose(box, view.boxes[row, index], atol=0.001)
            points = numbers[5:].reshape(17, 3)
            labelled = view.visibility[row, index, :17] > 0
            np.testing.assert_array_equal(points[:, 2], view.visibility[row, index, :17])
            np.testing.assert_allclose(points[labelled, :2] * size, view.pixels[row, index, :17][labelled], atol=0.001)
            assert (points[~labelled] == 0).all()
    assert yolo.lines(view, 3) == []


def test_yolos_data_file_tells_what_a_mirror_exchanges():
    data = yaml.safe_load(yolo.data_file())
    assert {split: data[split] for split in SPLITS} == {split: f"images/{split}" for split in SPLITS}
    assert data["kpt_shape"] == [17, 3] and data["names"] == {0: "person"} and data["kpt_names"] == {0: JOINTS[:17]}
    flipped = [JOINTS[place] for place in data["flip_idx"]]
    swapped = dict(PAIRS) | {right: left for left, right in PAIRS}
    assert flipped == [swapped.get(joint, joint) for joint in JOINTS[:17]]


# WebDataset


@pytest.fixture
def samples(tmp_path):
    """The pictures and labels of a view, as a function that makes them anew."""
    view = seen()
    for number in FRAMES:
        cv2.imwrite(str(image(tmp_path, number)), np.full((HEIGHT, WIDTH, 3), number, np.uint8))

    def make():
        return [
            (f"crossing/{name}", picture, streaming.labels(view, row))
            for row, (name, picture) in enumerate(view.pictures(tmp_path))
        ]

    return make


def test_webdataset_reads_pictures_and_labels_together(samples, tmp_path):
    (tmp_path / "shards").mkdir()
    streaming.write_shards(tmp_path / "shards", "crossing", samples(), 3)
    files = sorted(map(str, (tmp_path / "shards").iterdir()))
    assert [Path(file).name for file in files] == ["crossing-000000.tar", "crossing-000001.tar"]
    read = list(webdataset.WebDataset(files, shardshuffle=False).decode("rgb8").to_tuple("__key__", "png", "json"))
    view = seen()
    assert [key for key, _, _ in read] == [f"crossing/{name}" for name in view.names]
    for row, (_, picture, told) in enumerate(read):
        assert picture.shape == (HEIGHT, WIDTH, 3) and (picture == FRAMES[row]).all()
        assert (told["character"], told["camera_angle"], told["frame"]) == ("crossing", "front", FRAMES[row])
        people = np.flatnonzero(view.present[row])
        assert [each["person"] for each in told["people"]] == people.tolist()
        camera = Camera.from_json(told)
        for each, index in zip(told["people"], people, strict=True):
            keypoints, world = np.array(each["keypoints"], float), np.array(each["joints_world"], float)
            np.testing.assert_allclose(keypoints, view.pixels[row, index], atol=0.0006)
            np.testing.assert_allclose(camera.project(world)[0], keypoints, atol=0.01)
            assert each["visibility"] == view.visibility[row, index].tolist()
            assert np.isnan(keypoints).any(1).tolist() == [index == 1 and joint == "left_ear" for joint in JOINTS]


def test_the_same_samples_are_the_same_bytes(samples, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        streaming.write_shards(tmp_path / name, "crossing", samples(), 10)
        time.sleep(1.1 if name == "one" else 0)  # a tar's times are whole seconds
    one, other = (tmp_path / name / "crossing-000000.tar" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_a_picture_that_is_missing_is_told(samples, tmp_path):
    image(tmp_path, 7).unlink()
    with pytest.raises(PoseFactoryError, match=r"0007\.png is missing; render its view again\."):
        streaming.write_shards(tmp_path, "crossing", samples(), 10)
    with pytest.raises(PoseFactoryError, match=r"0007\.png is missing; render its view again\."):
        folders.place(image(tmp_path, 7), tmp_path / "there" / "0007.png")


# 3D arrays


def test_arrays_project_to_their_own_pixels(tmp_path):
    view = seen(azimuth=30)
    np.savez_compressed(tmp_path / "front.npz", **arrays(view, 24.0))
    with np.load(tmp_path / "front.npz") as file:
        read = {name: file[name] for name in file}
    assert json.loads(str(read["about"]))["schema"] == "arrays/1"
    assert read["joints"].tolist() == JOINTS and read["people"].tolist() == ["ada", "ben"]
    assert read["frames"].tolist() == FRAMES and read["fps"] == 24 and read["size"].tolist() == [WIDTH, HEIGHT]
    assert read["joints_world"].shape == (4, 2, 23, 3) and read["visibility"].dtype == np.int8
    inside = read["joints_world"] @ read["R"].T + read["t"]
    np.testing.assert_allclose(inside, read["joints_camera"], atol=1e-5)
    known = inside[..., 2] > 0
    pixels = (inside @ read["K"].T)[known]
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], read["pixels"][known], atol=0.01)
    assert known.sum() > 100 and np.isnan(read["joints_world"][:, 1, INDEX["left_ear"]]).all()
    np.testing.assert_allclose(read["boxes"], view.boxes, atol=1e-4)


# What docs/export.md says of both


DOCUMENT = (Path(__file__).parents[1] / "docs" / "export.md").read_text()


def test_arrays_are_the_documented_ones():
    counts = {"F": 4, "P": 2, "J": 23}
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| \(([^)]*)\) \|", DOCUMENT, re.MULTILINE)
    documented = {
        name: (kind, tuple(counts.get(side) or int(side) for side in sides.split(", ") if side))
        for name, kind, sides in rows
    }
    found = arrays(seen(), 24.0)
    kinds = {name: "str" if array.dtype.kind == "U" else str(array.dtype) for name, array in found.items()}
    assert {name: (kinds[name], array.shape) for name, array in found.items()} == documented


def test_labels_of_a_sample_are_the_documented_ones():
    rows = re.findall(r"^\| `([\w.\[\]]+)` \| (?:\(([^)]*)\) )?\|", DOCUMENT, re.MULTILINE)
    documented = {name: tuple(map(int, sides.split(", "))) if sides else () for name, sides in rows}
    told = streaming.labels(seen(), 0)
    leaves = {**told, **{f"people[].{name}": value for name, value in told.pop("people")[0].items()}}
    leaves.pop("people")
    names = {name for name in documented if name in leaves}
    assert names == set(leaves) and {name for name in documented if name.startswith("people[]")} <= set(leaves)
    assert {name: np.shape(value) for name, value in leaves.items()} == {name: documented[name] for name in leaves}


# Folders


def test_a_picture_is_linked_where_the_disk_can_and_copied_where_it_cannot(tmp_path):
    picture = tmp_path / "picture with spaces.png"
    picture.write_bytes(b"picture")
    folders.place(picture, tmp_path / "a" / "b.png")
    assert (tmp_path / "a" / "b.png").samefile(picture)
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("NOT TESTED: there is no second disk at /dev/shm")
    target = elsewhere / f"pose-factory-{os.getpid()}.png"
    try:
        folders.place(picture, target)
        assert target.read_bytes() == b"picture" and not target.samefile(picture)
    finally:
        target.unlink(missing_ok=True)


def test_what_is_no_longer_part_of_the_dataset_is_deleted(tmp_path):
    for name in ("train/ada", "val/ada", "train/.ben-partial", "test/gone"):
        (tmp_path / name / "front").mkdir(parents=True)
    (tmp_path / "train" / "ada.cache").touch()
    gone = folders.remove_others(tmp_path, [tmp_path / "val" / "ada"])
    assert sorted(str(path.relative_to(tmp_path)) for path in gone) == ["test/gone", "train/.ben-partial", "train/ada"]
    assert (tmp_path / "val" / "ada" / "front").is_dir() and (tmp_path / "train" / "ada.cache").exists()


def test_nobody_is_in_two_splits_while_a_shard_is_made(tmp_path):
    for name in ("train/ada", "test/ada", "train/adam"):
        (tmp_path / name / "front").mkdir(parents=True)
    folders.remove_from_other_splits(tmp_path / "val" / "ada")
    folders.remove_from_other_splits(tmp_path / "train" / "adam")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")] == ["train/adam"]


def test_motions_of_those_who_are_gone_are_deleted(tmp_path):
    for name in ("ada.bvh", "ada.body.npz", "crossing.0.trc", "gone.bvh", "ada2.c3d"):
        (tmp_path / name).touch()
    gone = folders.remove_motions(tmp_path, ["ada", "crossing"])
    assert sorted(path.name for path in gone) == ["ada2.c3d", "gone.bvh"] and len(list(tmp_path.iterdir())) == 3
    assert folders.remove_motions(tmp_path / "none", ["ada"]) == []


def test_a_folder_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "shard"
    for content in ("first", "second"):
        with whole_folder(path) as folder:
            (folder / content).touch()
    assert [item.name for item in path.iterdir()] == ["second"]
    with pytest.raises(ValueError, match="no"), whole_folder(path) as folder:
        (folder / "third").touch()
        raise ValueError("no")
    assert [item.name for item in path.iterdir()] == ["second"] and [item.name for item in tmp_path.iterdir()] == [
        "shard"
    ]


def test_a_full_disk_in_the_middle_of_a_shard_is_told_and_leaves_nothing(samples, disk):
    folder = disk(200)
    path = folder / "train" / "crossing"
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for _, picture, _ in samples():
        cv2.imwrite(str(picture), noise)  # 110 KB
    with pytest.raises(PoseFactoryError) as error, whole_folder(path) as partial:
        streaming.write_shards(partial, "crossing", samples(), 1)
    assert str(error.value) == f"Cannot write {path}: No space left on device; free some space or fix its folder."
    assert list(path.parent.iterdir()) == []
    with pytest.raises(PoseFactoryError, match="No space left on device"), whole_folder(path) as partial:
        for _, picture, _ in samples():
            folders.place(picture, partial / picture.name)
    assert list(path.parent.iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_looks_finished(tmp_path):
    code = """
import sys, time
from pathlib import Path
from pose_factory.files import whole_folder
with whole_folder(sys.argv[1]) as folder:
    (folder / "0001.png").write_bytes(b"1")
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))
"""
    path = tmp_path / "shard"
    command = [sys.executable, "-c", code, str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path(folders.__file__).parents[2])}
    with subprocess.Popen([*command, "60"], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    subprocess.run([*command, "0"], check=True, stdout=subprocess.DEVNULL, env=environment)
    assert [item.name for item in tmp_path.iterdir()] == ["shard"]


# The card


TERMS = {"source": "", "licence": "", "motion": None}


def test_pictures_are_under_the_terms_of_all_that_is_in_them():
    motion = {"file": "jump.bvh", "licence": "CC BY 4.0"}
    alone = {"people": {"ada": {**TERMS, "licence": "CC0"}}, "background": ""}
    dancing = {"people": {"ada": {**TERMS, "licence": "CC0", "motion": motion}, "ben": TERMS}, "background": "CC0"}
    behind = {"variation": {"background": {"file": "wood.png"}}}
    drawn = {"variation": {"background": {"file": None}}}
    assert terms.in_words({}, alone) == terms.in_words(drawn, alone) == "CC0"
    assert terms.in_words(behind, alone) == "CC0; unknown"
    assert terms.in_words(behind, dancing) == "CC BY 4.0; CC0; unknown"
    assert terms.in_words(drawn, {**alone, "people": dancing["people"]}) == "CC BY 4.0; CC0; unknown"


def test_the_card_counts_what_there_is_and_says_unknown_of_what_it_is_not_told():
    view = seen()
    described = {"motion": {"file": "/my motions/jump.bvh"}, "phenotype": {"age": 1.0, "gender": 0.25}}
    told = {
        "crossing": facts(
            {"people": [{"name": "ada", "action": "jump"}, {"name": "ben", "action": "run"}]},
            [view],
            [{"variation": {"background": {"file": "/pictures/wood.png"}}}],
            {"ada": described, "ben": None},
            {
                "people": {
                    "ada": {**TERMS, "motion": {"file": "jump.bvh", "licence": ""}},
                    "ben": {**TERMS, "source": "a | b", "licence": "CC BY 4.0"},
                },
                "background": "",
            },
        )
    }
    told = json.loads(json.dumps(told))  # as it is kept between jobs
    text = card(told, {"crossing": "val"}, {"coco": (7, 12345)}, {"seed": 3, "shares": SHARES})
    states = Counter(view.visibility[view.present].ravel().tolist())
    for line in (
        "4 rendered pictures with 5 labelled poses of 1 characters",
        "| `val` | 0.1 | 1 | 4 | 1 | 5 |",
        "| `train` | 0.8 | 0 | 0 | 0 | 0 |",
        "Nothing fell to `train` and `test`",
        "| COCO keypoints | `coco/` | 7 | 12,345 |",
        'COCO("coco/annotations/person_keypoints_val.json")',
        "| front | 5 |",
        f"| 2: visible | {states[2]} | {states[2] / (5 * 23):.1%} |",
        "| jump.bvh | 3 |",
        "| run | 2 |",
        "| age | 0 | 0 | 0 | 0 | 3 |",
        "| gender | 0 | 3 | 0 | 0 | 0 |",
        "The phenotype of 2 poses is unknown",
        "| ada | unknown | unknown |",
        "| ben | a \\| b | CC BY 4.0 |",
        "| jump.bvh | unknown |",
        "| wood.png | unknown |",
        "drawn with the seed 3",
        "license: unknown",
    ):
        assert line in text, line


def test_a_dataset_without_anything_has_a_card():
    text = card({}, {}, {"coco": (0, 0)}, {"seed": 0, "shares": SHARES})
    assert "0 rendered pictures" in text and "```" not in text
