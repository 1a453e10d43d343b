"""The pictures and labels of all views of one character -> its part of COCO's files, as lines, and its pictures."""

from pathlib import Path

from pose_factory.export import coco
from pose_factory.export.card import licence_of
from pose_factory.export.folders import place
from pose_factory.export.views import read_views
from pose_factory.files import read_json, whole_folder
from pose_factory.frames import image
from pose_factory.job import job

with job(snakemake):
    given, made, angles = snakemake.input, snakemake.output, snakemake.params.angles
    views = list(read_views(snakemake.wildcards.character, angles, given))
    masks = {angle: Path(passes) / "instances" for angle, passes in zip(angles, given.masks, strict=False)}  # or none
    found = coco.records(
        views,
        licence_of(read_json(given.character)),
        (lambda angle, frame: coco.read_mask(image(masks[angle], frame))) if masks else None,
    )
    coco.write_lines(found, Path(made.images), dict(zip(coco.KEYPOINTS, map(Path, made.people), strict=True)))
    with whole_folder(made.folder) as folder:
        for view, frames in zip(views, given.frames, strict=True):
            for name, picture in view.pictures(frames):
                place(picture, folder / f"{name}.png")
