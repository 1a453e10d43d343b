"""The pictures and labels of all views of one character -> its tar files for WebDataset."""

from pathlib import Path

from pose_factory.export import streaming
from pose_factory.export.folders import remove_from_other_splits, withdraw
from pose_factory.export.views import read_views
from pose_factory.files import whole_folder
from pose_factory.job import job

with job(snakemake):
    given, character = snakemake.input, snakemake.wildcards.character
    samples = (
        (f"{character}/{name}", picture, streaming.labels(view, row))
        for view, frames in zip(read_views(character, snakemake.params.angles, given), given.frames, strict=True)
        for row, (name, picture) in enumerate(view.pictures(frames))
    )
    withdraw(snakemake.params.gathered)
    remove_from_other_splits(Path(snakemake.output[0]))
    with whole_folder(snakemake.output[0]) as folder:
        streaming.write_shards(folder, character, samples, snakemake.params.size)
