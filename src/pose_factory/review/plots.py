"""Where the tracker errs: by camera azimuth and by joint. The suffix of the path chooses SVG or PNG."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pose_factory import files
from pose_factory.errors import PoseFactoryError

LABELLED, CORRECTED = "#c2603a", "#1f77a8"
INK, FAINT = "#333a42", "#d5dade"
STYLE = {
    "svg.hashsalt": "pose_factory",  # the same plot, the same bytes
    "svg.fonttype": "none",  # text stays text: it can be searched and selected
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
}
PANELS_PER_ROW = 4
PANEL, CIRCLE = 3.5, 2.3  # inches
MAX_NAMED_AZIMUTHS = 12
SERIES = [
    ("mpjpe_mm", "as labelled", LABELLED, "-"),
    ("mpjpe_mm_without_rig_bias", "without the rig's bias", CORRECTED, "--"),
]


def error_by_azimuth(summary: pd.DataFrame, path: str | Path) -> None:
    """A polar plot per character: MPJPE against the camera's azimuth, as labelled and without the rig's bias.

    summary has a row a view: character, camera_angle, azimuth (degrees), mpjpe_mm, mpjpe_mm_without_rig_bias (NaN where
    nothing was tracked). The plots are plans seen from above: the character faces down, to azimuth 0. Raises
    PoseFactoryError when there are no views.
    """
    if summary.empty:
        raise PoseFactoryError(f"There are no views to plot in {path}; run the workflow for at least one character.")
    characters = list(dict.fromkeys(summary["character"]))
    columns = min(len(characters), PANELS_PER_ROW)
    rows = ceil(len(characters) / columns)
    limit = np.nanmax([1.0, *(1.12 * summary[column].max() for column, *_ in SERIES)])
    width, height = max(PANEL * columns, 6.0), PANEL * rows + 0.9
    with _figure(path, width, height) as figure:
        for index, character in enumerate(characters):
            row, column = divmod(index, columns)
            left = (width - PANEL * columns) / 2 + PANEL * column + (PANEL - CIRCLE) / 2
            bottom = PANEL * (rows - 1 - row) + 0.45
            axes = figure.add_axes([left / width, bottom / height, CIRCLE / width, CIRCLE / height], projection="polar")
            _azimuth_panel(axes, summary[summary["character"] == character], limit)
            axes.set_title(character, fontsize=11, fontweight="bold", pad=12)
        _title(figure, "MPJPE in mm by the camera's azimuth, seen from above", len(SERIES) + 1)


def error_by_joint(joints: pd.DataFrame, path: str | Path) -> None:
    """Horizontal bars, the worst joint first: the mean error in mm of each joint where visible and where occluded.

    joints holds the views' tables of scores by joint, end to end: joint, mpjpe_visible_mm, n_visible,
    mpjpe_occluded_mm, n_occluded. Views are averaged by their counts. Raises PoseFactoryError when no joint was scored.
    """
    scored = joints[joints["mpjpe_mm"].notna()].sort_values("mpjpe_mm", ascending=False, kind="stable")
    means = scored.set_index("joint")[["mpjpe_visible_mm", "mpjpe_occluded_mm"]]
    if means.empty:
        raise PoseFactoryError(f"There is no scored joint to plot in {path}; look at the views' validation.json.")
    position = np.arange(len(means))
    height = 0.42 * len(means) + 1.6
    with _figure(path, 7.6, height) as figure:
        axes = figure.add_subplot()
        looks = [("visible", {"color": CORRECTED}), ("occluded", {"color": "white", "edgecolor": CORRECTED})]
        for row, (label, look) in enumerate(looks):
            values = means[f"mpjpe_{label}_mm"].to_numpy()
            bars = axes.barh(position + (row - 0.5) * 0.36, values, 0.34, label=label, linewidth=1.2, **look)
            texts = ["" if np.isnan(value) else f"{value:.0f}" for value in values]
            axes.bar_label(bars, texts, padding=3, fontsize=8)
        axes.set_yticks(position, [name.replace("_", " ") for name in means.index])
        axes.set_ylim(len(means) - 0.4, -0.6)
        axes.set_xlim(0, 1.1 * np.nanmax(means.to_numpy()))
        axes.tick_params(length=0)
        axes.xaxis.grid(True)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xlabel("mean 3D error, mm")
        _title(figure, "3D error by joint, worst first", len(looks))
        figure.subplots_adjust(left=0.18, right=0.97, bottom=0.6 / height, top=1 - 0.8 / height)


def views_against_fused(by_frame: pd.DataFrame, together: str, character: str, path: str | Path) -> None:
    """Lines over frames: the MPJPE of each view alone, thin, and of all views fused, thick.

    by_frame has a row for each frame of each series: series (a camera angle, or `together`), frame, mpjpe_mm.
    """
    with _figure(path, 7.6, 4.0) as figure:
        axes = figure.add_subplot()
        views, fused = (rows for _, rows in by_frame.groupby(by_frame["series"] == together))
        alone = f"each of {views['series'].nunique()} views alone"
        for _, view in views.groupby("series", sort=False):
            axes.plot(view["frame"], view["mpjpe_mm"], ".-", color=LABELLED, linewidth=0.8, markersize=2, label=alone)
            alone = None
        axes.plot(fused["frame"], fused["mpjpe_mm"], "o-", color=CORRECTED, linewidth=2, markersize=3, label="fused")
        axes.set_ylim(0, 1.08 * np.nanmax([1.0, *by_frame["mpjpe_mm"]]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.grid(True)
        axes.set_xlabel("frame")
        axes.set_ylabel("mean 3D error, mm")
        _title(figure, f"{character}: one view against all views fused", 2)
        figure.subplots_adjust(left=0.1, right=0.97, bottom=0.13, top=0.8)


def _azimuth_panel(axes, views: pd.DataFrame, limit: float) -> None:
    views = views.assign(azimuth=np.radians(views["azimuth"] % 360)).sort_values("azimuth", kind="stable")
    around = pd.concat([views, views.iloc[:1]]) if len(views) > 2 else views
    for column, label, colour, line in SERIES:
        axes.plot(around["azimuth"], around[column], line, color=colour, marker="o", markersize=4, label=label)
        if around[column].notna().all():
            axes.fill(around["azimuth"], around[column], color=colour, alpha=0.08)
    lost = views.loc[views["mpjpe_mm"].isna(), "azimuth"]
    axes.plot(lost, [limit] * len(lost), "x", color=INK, clip_on=False, label="nothing tracked")

    axes.set_theta_zero_location("S")  # the camera in front of the character stands at the bottom of the plan
    axes.set_ylim(0, limit)
    rings = MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(0, limit)
    rings = [ring for ring in rings if 0 < ring < 0.97 * limit]
    axes.set_yticks(rings, [])
    halo = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    for ring in rings:
        axes.text(np.radians(22.5), ring, f"{ring:g}", fontsize=8, ha="center", va="center", bbox=halo)
    axes.tick_params(axis="x", labelsize=9, pad=4)
    axes.spines["polar"].set_color(FAINT)
    names = dict(zip(views["azimuth"], views["camera_angle"], strict=True))
    if len(names) <= MAX_NAMED_AZIMUTHS:
        axes.set_xticks(list(names), [name.replace("_", "\n") for name in names.values()])


def _title(figure: Figure, title: str, columns: int) -> None:
    """The title and, beneath it, the legend of the last axes, both at a fixed distance from the top."""
    height = figure.get_figheight()
    figure.suptitle(title, fontsize=13, y=1 - 0.12 / height)
    handles = figure.axes[-1].get_legend_handles_labels()
    figure.legend(*handles, loc="upper center", ncols=columns, frameon=False, bbox_to_anchor=(0.5, 1 - 0.36 / height))


@contextmanager
def _figure(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of width by height inches that is written to `path` on leaving, free of dates and of global state."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), facecolor="white")
        yield figure
        metadata = {"Date": None} if Path(path).suffix == ".svg" else {"Software": None}
        with files.atomic(path) as temporary:
            figure.savefig(temporary, dpi=120, metadata=metadata)
