"""The labels of all views of one character -> its folder of 3D joints and cameras, a .npz for each view."""

from pathlib import Path

import numpy as np

from pose_factory.export.arrays import arrays
from pose_factory.export.folders import remove_from_other_splits, withdraw
from pose_factory.export.views import read_views
from pose_factory.files import read_json, whole_folder
from pose_factory.job import job

with job(snakemake):
    given = snakemake.input
    fps = read_json(given.character)["fps"]
    withdraw(snakemake.params.gathered)
    remove_from_other_splits(Path(snakemake.output[0]))
    with whole_folder(snakemake.output[0]) as folder:
        for view in read_views(snakemake.wildcards.character, snakemake.params.angles, given):
            np.savez_compressed(folder / f"{view.angle}.npz", **arrays(view, fps))
