"""All folders of pictures and labels -> the file that tells YOLO of them."""

from pathlib import Path

from pose_factory.export import yolo
from pose_factory.export.splits import SPLITS
from pose_factory.files import atomic
from pose_factory.job import job

with job(snakemake):
    path = Path(snakemake.output[0])
    for split in SPLITS:  # one that is empty must be there, too
        (path.parent / "images" / split).mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(yolo.data_file())
