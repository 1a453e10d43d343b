"""What the run found, in a few lines of plain text."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = {  # heading: its value for the views (n rows of the summary) of one character
    "character": lambda views: views["character"].iloc[0],
    "views": lambda views: f"{len(views)}",
    "passed": lambda views: f"{views['passed'].sum()}",
    "frames": lambda views: f"{views['frames'].sum()}",
    "coverage": lambda views: _number(_mean(views, "coverage") * 100, "{:.3g} %"),
    "detected": lambda views: _number(_mean(views, "detected_coverage") * 100, "{:.3g} %"),
    "IDF1": lambda views: _number(_mean(views, "idf1"), "{:.2f}"),
    "PCK@0.1": lambda views: _number(_mean(views, "pck_10"), "{:.2f}"),
    "MPJPE": lambda views: _number(_mean(views, "mpjpe_mm"), "{:.0f} mm"),
    "without rig bias": lambda views: _number(_mean(views, "mpjpe_mm_without_rig_bias"), "{:.0f} mm"),
    "PA-MPJPE": lambda views: _number(_mean(views, "pa_mpjpe_mm"), "{:.0f} mm"),
}


def headline(summary: pd.DataFrame, review: str) -> str:
    """A line a character, and where to look next.

    summary has a row a view: character, camera_angle, frames, coverage, detected_coverage, idf1, pck_10, mpjpe_mm,
    mpjpe_mm_without_rig_bias, pa_mpjpe_mm, passed. The table gives their means over a character's views, weighted by
    frames; views in which nothing was tracked count for coverage, IDF1 and PCK and not for the errors. `review` is the
    folder with the pictures.
    """
    rows = [list(COLUMNS)]
    rows += [[cell(views) for cell in COLUMNS.values()] for _, views in summary.groupby("character", sort=False)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    failed = summary[~summary["passed"].astype(bool)]
    if failed.empty:
        verdict = f"All {len(summary)} views passed."
    else:
        names = [f"{view.character}/{view.camera_angle}" for view in failed.head(5).itertuples()]
        verdict = (
            f"{len(failed)} of {len(summary)} views failed: {', '.join(names)}{', ...' if len(failed) > 5 else '.'}"
        )
    return "\n".join([*lines, "", verdict, f"Look at {review}"])


def _mean(views: pd.DataFrame, column: str) -> float:
    known = views[views[column].notna() & (views["frames"] > 0)]
    return float(np.average(known[column], weights=known["frames"])) if len(known) else np.nan


def _number(value: float, wording: str) -> str:
    return "n/a" if np.isnan(value) else wording.format(value)


if __name__ == "__main__":
    table = Path(sys.argv[1])
    print(headline(pd.read_parquet(table), f"{table.parents[1] / 'review'} and {table.parents[1]}/*/*/overlay.mp4"))
