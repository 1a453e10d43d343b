"""The pictures and labels of all views of one character -> its part of COCO's files, as lines, and its pictures."""

from pathlib import Path

from pose_factory import passes
from pose_factory.export import coco
from pose_factory.export.folders import place, remove_from_other_splits, withdraw
from pose_factory.export.terms import in_words
from pose_factory.export.views import read_views
from pose_factory.files import read_json, whole_folder
from pose_factory.job import job

with job(snakemake):
    given, made, angles, terms = snakemake.input, snakemake.output, snakemake.params.angles, snakemake.params.terms
    views = list(read_views(snakemake.wildcards.character, angles, given))
    folders = dict(zip(angles, given.masks, strict=False))  # or none
    found = coco.records(
        views,
        {angle: in_words(read_json(file), terms) for angle, file in zip(angles, given.rendered, strict=True)},
        (lambda angle, frame: passes.read_instances(passes.file(folders[angle], "instances", frame)))
        if folders
        else None,
    )
    withdraw(snakemake.params.gathered)
    coco.write_lines(found, Path(made.images), dict(zip(coco.KEYPOINTS, map(Path, made.people), strict=True)))
    remove_from_other_splits(Path(made.folder))
    with whole_folder(made.folder) as folder:
        for view, frames in zip(views, given.frames, strict=True):
            for name, picture in view.pictures(frames):
                place(picture, folder / f"{name}.png")
