"""The pictures and labels of all views of one character -> its folders of pictures and of labels for YOLO."""

from pathlib import Path

from pose_factory.export import yolo
from pose_factory.export.folders import place, remove_from_other_splits, withdraw
from pose_factory.export.views import read_views
from pose_factory.files import whole_folder
from pose_factory.job import job

with job(snakemake):
    given, made = snakemake.input, snakemake.output
    views = read_views(snakemake.wildcards.character, snakemake.params.angles, given)
    withdraw(snakemake.params.gathered)
    for path in (made.images, made.labels):
        remove_from_other_splits(Path(path))
    with whole_folder(made.images) as images, whole_folder(made.labels) as labels:
        for view, frames in zip(views, given.frames, strict=True):
            (labels / view.angle).mkdir()
            for row, (name, picture) in enumerate(view.pictures(frames)):
                place(picture, images / f"{name}.png")
                (labels / f"{name}.txt").write_text("".join(yolo.lines(view, row)))
