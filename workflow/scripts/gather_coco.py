"""The lines of all characters -> COCO's files, one for each split and number of keypoints."""

from pathlib import Path

from pose_factory.export import coco
from pose_factory.export.card import VERSION
from pose_factory.export.splits import SPLITS
from pose_factory.files import read_json
from pose_factory.job import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    names = [character for character, _ in params.splits]
    coco.check_blocks(names)
    licences = [{view["licence"] for view in read_json(facts)["angles"].values()} for facts in given.facts]
    outputs, people = iter(map(Path, snakemake.output)), iter(map(Path, given.people))
    for count in params.counts:
        lines = [next(people) for _ in names]
        for split in SPLITS:
            ours = [index for index, (_, fallen_to) in enumerate(params.splits) if fallen_to == split]
            coco.write_split(
                next(outputs),
                count,
                {"description": f"Pose Factory, {split}", "version": VERSION},
                set().union(*(licences[index] for index in ours)),
                [Path(given.images[index]) for index in ours],
                [lines[index] for index in ours],
            )
