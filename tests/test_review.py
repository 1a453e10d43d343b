"""What people look at: videos, contact sheets, plots, graphs, captions and the final table."""

import shutil
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import docutils.core
import jinja2
import numpy as np
import pandas as pd
import pytest

from pose_factory.errors import PoseFactoryError
from pose_factory.footage import RenderedFrames, Video
from pose_factory.review import dag, overlay, plots, sheet, text
from pose_factory.review.headline import headline
from pose_factory.skeleton import COCO, INDEX, JOINTS

GREY = 120
REPORT = Path(__file__).parents[1] / "workflow" / "report"
needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def pose(width: int, height: int, shift=(0.0, 0.0)) -> np.ndarray:
    """(23, 2) pixels, the joints on a lattice in the right half of the image, so that none hides another."""
    column, row = np.divmod(np.arange(len(JOINTS)), 6)
    lattice = np.stack([0.55 + 0.11 * column, 0.15 + 0.14 * row], axis=-1)
    return lattice * [width, height] + shift


def truth_table(frames, uv, visibility=2, person=0) -> pd.DataFrame:
    rows = [
        (frame, person, joint, *uv[index], np.broadcast_to(visibility, len(JOINTS))[index])
        for frame in frames
        for index, joint in enumerate(JOINTS)
    ]
    return pd.DataFrame(rows, columns=["frame", "person", "joint", "u", "v", "visibility"])


def track_table(provenances: dict[tuple[int, int], str], uv, joints=COCO) -> pd.DataFrame:
    """provenances: (frame, track id) -> provenance."""
    rows = [
        (frame, track, joint, *uv[INDEX[joint]], provenance)
        for (frame, track), provenance in provenances.items()
        for joint in joints
    ]
    return pd.DataFrame(rows, columns=["frame", "track_id", "joint", "u", "v", "provenance"])


def write_frames(folder: Path, numbers, width: int, height: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"{number:04d}.png"), np.full((height, width, 3), GREY, np.uint8))
    return folder


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def at(image: np.ndarray, uv) -> np.ndarray:
    """The colour of the pixel that contains the position (u, v)."""
    u, v = np.floor(uv).astype(int)
    return image[v, u].astype(int)


def test_video_shows_each_provenance_in_its_colour_where_the_joints_are(tmp_path):
    width, height, numbers = 400, 320, [1, 3, 5, 7]
    uv = pose(width, height)
    provenances = dict(zip([(number, 0) for number in numbers], overlay.COLOURS, strict=True))
    nowhere = truth_table(numbers, np.full((23, 2), np.nan), 0)
    frames = write_frames(tmp_path / "frames", numbers, width, height)
    footage = RenderedFrames(frames, numbers, 12.5)
    overlay.write_video(tmp_path / "o.mp4", footage, nowhere, track_table(provenances, uv), "anny front")

    images = decode(tmp_path / "o.mp4")
    assert [image.shape for image in images] == [(height, width, 3)] * 4
    for image, provenance in zip(images, overlay.COLOURS, strict=True):
        for joint in ("nose", "left_wrist", "right_ankle"):
            assert abs(at(image, uv[INDEX[joint]]) - overlay.COLOURS[provenance]).max() < 45
    assert abs(images[0][150, 200].astype(int) - GREY).max() < 6  # the frame itself is kept

    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    properties = [capture.get(p) for p in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_WIDTH)]
    capture.release()
    assert properties == [4, 6.25, width], "every other frame, at the motion's speed"
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.duration * stream.time_base) == pytest.approx(4 / 6.25)


def test_video_of_odd_size_is_padded_by_one_pixel(tmp_path):
    footage = RenderedFrames(write_frames(tmp_path / "frames", [1, 2], 151, 97), [1, 2], 24)
    uv = pose(151, 97)
    tracks = track_table({(1, 0): "detected"}, uv)
    overlay.write_video(tmp_path / "o.mp4", footage, truth_table([1, 2], uv), tracks, "x")
    assert [image.shape for image in decode(tmp_path / "o.mp4")] == [(98, 152, 3)] * 2


def test_video_without_any_track_shows_the_truth_and_says_so(tmp_path):
    footage = RenderedFrames(write_frames(tmp_path / "frames", [1], 256, 256), [1], 30)
    uv = pose(256, 256)
    overlay.write_video(tmp_path / "o.mp4", footage, truth_table([1], uv), track_table({}, uv), "x")
    (image,) = decode(tmp_path / "o.mp4")
    assert at(image, uv[INDEX["left_wrist"]]).min() > 190
    plain = np.full((256, 256, 3), GREY, np.uint8)
    truth = overlay.Truth(uv, np.full(23, 2))
    tracked = overlay.annotate(plain, overlay.Overlay([truth], [overlay.Track(uv, "detected")]), "x")
    untracked = overlay.annotate(plain, overlay.Overlay([truth], []), "x")
    # A line more in the legend: its panel begins higher.
    assert np.argmax((untracked[60:, 2] != GREY).any(-1)) < np.argmax((tracked[60:, 2] != GREY).any(-1))


def test_same_input_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    footage = RenderedFrames(write_frames(tmp_path / "frames", [1, 2, 3], 200, 200), [1, 2, 3], 24)
    uv = pose(200, 200)
    arguments = (footage, truth_table([1, 2, 3], uv), track_table({(2, 0): "predicted"}, uv + 4), "x")
    for name in ("a.mp4", "b.mp4"):
        overlay.write_video(tmp_path / name, *arguments)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "frames"]


def test_video_refuses_incomplete_input_in_one_sentence_and_leaves_no_file(tmp_path):
    uv = pose(64, 64)
    frames = write_frames(tmp_path / "frames", [1, 2, 6], 64, 64)
    cv2.imwrite(str(frames / "0003.png"), np.zeros((32, 64, 3), np.uint8))
    (frames / "0005.png").write_bytes(b"not an image")
    truth, none = truth_table([1, 2, 3, 4, 5], uv), track_table({}, uv)
    for numbers, sentence in [
        ([], "no frame in"),
        ([1, 4], "0004.png is missing"),
        ([1, 5], "0005.png is missing or not an image"),
        ([1, 3], "0003.png is 64 x 32 pixels"),
        ([2, 6], "Frame 6 was rendered but the ground truth has no rows"),
    ]:
        with pytest.raises(PoseFactoryError, match=sentence):
            overlay.write_video(tmp_path / "o.mp4", RenderedFrames(frames, numbers, 24), truth, none, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


@pytest.mark.parametrize("size", [256, 1080])
def test_joints_are_drawn_where_the_pixel_convention_puts_them(size):
    uv = np.full((23, 2), np.nan)
    uv[INDEX["nose"]] = [0.6371 * size, 0.4113 * size]
    plain = np.zeros((size, size, 3), np.uint8)
    truth = overlay.Truth(uv, np.zeros(23))
    drawn = overlay.skeletons(plain, overlay.Overlay([truth], [overlay.Track(uv, "interpolated")]))
    weight = drawn[..., 2] * (drawn[..., 2] > 60.0)  # red sets the yellow dot apart from the dark casing
    rows, columns = np.mgrid[:size, :size] + 0.5
    centre = [(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()]
    np.testing.assert_allclose(centre, uv[INDEX["nose"]], atol=0.15)
    assert not plain.any()


def test_visibility_decides_between_a_dot_a_ring_and_nothing():
    uv = np.full((23, 2), np.nan)
    uv[[INDEX["nose"], INDEX["left_wrist"], INDEX["right_wrist"]]] = [[100.5, 100.5], [200.5, 100.5], [300.5, 100.5]]
    visibility = np.zeros(23, int)
    visibility[[INDEX["nose"], INDEX["left_wrist"]]] = [2, 1]
    plain = np.full((400, 400, 3), GREY, np.uint8)
    drawn = overlay.skeletons(plain, overlay.Overlay([overlay.Truth(uv, visibility)], []))
    assert at(drawn, [100.5, 100.5]).min() > 240
    assert at(drawn, [200.5, 100.5]).max() < 90
    assert drawn[95:106, 195:206].max() > 200
    assert (drawn[90:111, 290:311] == GREY).all()


def test_trunk_is_a_quadrilateral_where_the_tracker_gives_no_spine():
    uv = pose(400, 400)
    side = (uv[INDEX["left_shoulder"]] + uv[INDEX["left_hip"]]) / 2
    plain = np.full((400, 400, 3), GREY, np.uint8)
    coco = np.where((np.arange(23) < 17)[:, None], uv, np.nan)

    def side_is_drawn(tracked):
        drawn = overlay.skeletons(plain, overlay.Overlay([], [overlay.Track(tracked, "predicted")]))
        return (at(drawn, side) == overlay.COLOURS["predicted"]).all()

    assert side_is_drawn(coco)
    assert not side_is_drawn(uv)


def test_every_track_of_a_frame_is_drawn_and_far_joints_do_no_harm():
    uv = pose(300, 300)
    other = uv + [0, 9]
    other[INDEX["right_foot"]] = [1e12, -1e12]
    tables = pd.concat([track_table({(1, 3): "detected"}, uv), track_table({(1, 8): "predicted"}, other, JOINTS)])
    drawing = overlay.overlays(truth_table([1], np.full((23, 2), np.nan), 0), tables)(1)
    assert [(track.track_id, track.provenance) for track in drawing.tracks] == [(3, "detected"), (8, "predicted")]
    image = overlay.skeletons(np.full((300, 300, 3), GREY, np.uint8), drawing)
    for colour in ("detected", "predicted"):
        assert (image == overlay.COLOURS[colour]).all(-1).sum() > 100


def test_people_keep_their_colour_and_number_whatever_becomes_of_them_and_one_alone_has_none():
    uv = np.full((23, 2), np.nan)
    uv[[INDEX["nose"], INDEX["left_wrist"]]] = [[140.5, 80.5], [140.5, 140.5]]
    provenances = {(1, 4): "detected", (1, 9): "detected", (2, 9): "predicted", (3, 9): "detected"}
    tracks = track_table(provenances, uv)
    tracks.loc[tracks.track_id == 9, "u"] += 100
    shown = overlay.overlays(None, tracks)
    plain = np.full((200, 300, 3), GREY, np.uint8)

    def drawn(frame, u):
        image = overlay.annotate(plain, shown(frame), "x")
        name = (image[40:70, round(u) - 30 : round(u) + 30] != GREY).any(axis=(0, 2)).sum()
        return tuple(at(image, [u, 140.5])), name

    colours = {frame: drawn(frame, 240.5) for frame in (1, 2, 3)}
    assert {colour for colour, _ in colours.values()} == {overlay.PEOPLE[9 % len(overlay.PEOPLE)]}
    assert colours[1] == colours[3] and colours[2][1] > 2 * colours[1][1] > 0, "9, and 9 predicted"
    assert drawn(1, 140.5)[0] == overlay.PEOPLE[4]
    alone = overlay.overlays(None, tracks[tracks.track_id == 9])(2)
    image = overlay.annotate(plain, alone, "x")
    assert tuple(at(image, [240.5, 140.5])) == overlay.COLOURS["predicted"]
    assert (image[40:70, 210:270] == GREY).all()
    assert not set(overlay.PEOPLE) & set(overlay.COLOURS.values())


def test_a_number_stays_inside_the_image_and_goes_with_who_leaves_it():
    uv = np.full((23, 2), np.nan)
    plain = np.full((200, 300, 3), GREY, np.uint8)
    for nose, named in [((295, 30), True), ((2, 190), True), ((-5, 100), False), ((100, 1e9), False)]:
        uv[INDEX["nose"]] = nose
        named_image, plain_image = (
            overlay.annotate(plain, overlay.Overlay([], [overlay.Track(uv, "detected", number)]), "")
            for number in (12, None)
        )
        rows, columns = np.nonzero((named_image != plain_image).any(-1))
        beside = np.hypot(columns - nose[0], rows - nose[1]) > 8  # the joint itself has another colour, too
        assert beside.any() == named


def test_the_truth_of_several_people_is_drawn_for_each():
    one = np.full((23, 2), np.nan)
    one[INDEX["nose"]] = [60.5, 100.5]
    truth = pd.concat([truth_table([1], one), truth_table([1], one + [100, 0], 1, person=1)])
    image = overlay.skeletons(np.full((200, 220, 3), GREY, np.uint8), overlay.overlays(truth, track_table({}, one))(1))
    assert at(image, [60.5, 100.5]).min() > 240
    assert at(image, [160.5, 100.5]).max() < 90 and image[95:106, 155:166].max() > 240, "a ring: occluded"


def test_footage_without_truth_has_a_legend_without_it_and_keeps_its_own_times(tmp_path):
    milliseconds = [0, 33, 67, 200, 233, 267]
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 151, 97, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for ms in milliseconds:
            frame = av.VideoFrame.from_ndarray(np.full((97, 151, 3), GREY, np.uint8), format="bgr24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    tracks = track_table({(3, 1): "detected"}, pose(151, 97))
    for name in "ab":
        overlay.write_video(tmp_path / f"{name}.mp4", Video(tmp_path / "film.mkv"), None, tracks, "film")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = list(container.decode(video=0))
        assert [frame.time for frame in shown] == pytest.approx([ms / 1000 for ms in milliseconds], abs=1e-4)
        assert shown[-1].duration * shown[-1].time_base == pytest.approx(0.034, abs=1e-3), "as the one before it"
        assert {(frame.width, frame.height) for frame in shown} == {(152, 98)}
    plain = np.full((200, 200, 3), GREY, np.uint8)
    truth = overlay.Truth(pose(200, 200), np.zeros(23))
    with_truth, without = (overlay.annotate(plain, overlay.Overlay(of, []), "x") for of in ([truth], []))
    # Two lines less in the legend: its panel begins lower.
    assert np.argmax((with_truth[60:, 2] != GREY).any(-1)) < np.argmax((without[60:, 2] != GREY).any(-1))


def test_text_is_clipped_at_the_edges_and_shortened_to_fit():
    image = np.zeros((20, 40, 3), np.uint8)
    for corner in [(-10, -5), (30, 15), (100, 100), (-100, 3)]:
        text.write(image, "pose", corner, 14, (255, 255, 255))
    assert image.any()
    assert text.fit("front", 14, 200) == "front"
    short = text.fit("a_very_long_character_name", 14, 80)
    assert short.startswith("a_ver") and short.endswith("…") and text.width(short, 14) <= 80


def view(name: str, value: int, shape=(120, 120), error: float = 84.2) -> sheet.View:
    nothing = overlay.Overlay([], [])
    metrics = {"coverage": 0.995, "mpjpe_mm": error, "pck_10": 0.93}
    return sheet.View(name, 7, np.full((*shape, 3), value, np.uint8), nothing, metrics)


def test_grid_is_about_twice_as_wide_as_high():
    assert [sheet.grid(n) for n in (1, 2, 3, 4, 5, 8, 12)] == [(1, 1), (2, 1), (3, 1), (4, 1), (3, 2), (4, 2), (6, 2)]
    assert all(columns * rows >= n for n in range(1, 60) for columns, rows in [sheet.grid(n)])


def test_sheet_has_the_views_in_order_whole_and_undistorted(tmp_path):
    values = [60, 75, 90, 105, 120, 135, 150, 175]
    shapes = [(120, 120)] * 7 + [(240, 120)]
    drawn = sheet.contact_sheet("anny", [view(f"v{v}", v, s) for v, s in zip(values, shapes, strict=True)])
    boxes = {}
    for value in values:
        rows, columns = np.nonzero(cv2.erode((drawn == value).all(-1).astype(np.uint8), np.ones((9, 9))))
        boxes[value] = (columns.min(), rows.min(), np.ptp(columns) + 9, np.ptp(rows) + 9)
    lefts, tops = np.array([boxes[value][:2] for value in values]).T
    assert (np.diff(lefts[:4]) > 0).all() and np.ptp(tops[:4]) == 0
    assert (np.diff(lefts[4:7]) > 0).all() and (lefts[4:7] == lefts[:3]).all() and (tops[4:] > tops[0]).all()
    assert all(boxes[value][2:] == (sheet.TILE, sheet.TILE) for value in values[:7])
    assert boxes[175][2:] == (sheet.TILE, 2 * sheet.TILE)
    sheet.write_sheet(tmp_path / "sheet.png", drawn)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "sheet.png")), drawn)


def test_sheet_takes_the_middle_frame_and_draws_its_skeletons_at_the_size_shown(tmp_path):
    frames = write_frames(tmp_path / "frames", [2, 4, 6], 170, 170)
    uv = pose(170, 170)
    metrics = {"coverage": 0.33, "mpjpe_mm": np.nan, "pck_10": np.nan}
    tracks = track_table({(4, 0): "redetected"}, uv)
    middle = sheet.middle_view(
        "back", frames, [2, 4, 6], truth_table([2, 4, 6], np.full((23, 2), np.nan), 0), tracks, metrics
    )
    assert middle.frame == 4
    drawn = sheet.contact_sheet("anny", [middle])
    plain = sheet.contact_sheet("anny", [middle._replace(overlay=middle.overlay._replace(tracks=[]))])
    rows, columns = np.nonzero((drawn != plain).any(-1))
    top = np.nonzero((plain == GREY).all(-1).sum(1) > 300)[0].min()
    nose = uv[INDEX["nose"]] * sheet.TILE / 170 + [sheet.GAP, top]
    assert (at(drawn, nose) == overlay.COLOURS["redetected"]).all()
    assert columns.max() < sheet.GAP + sheet.TILE and rows.min() >= top


def test_sheet_without_views_or_frames_is_refused():
    with pytest.raises(PoseFactoryError, match="no camera angle"):
        sheet.contact_sheet("anny", [])
    with pytest.raises(PoseFactoryError, match="no frame in"):
        sheet.middle_view("front", "frames", [], pd.DataFrame(), pd.DataFrame(), {})


@pytest.fixture
def summary() -> pd.DataFrame:
    rows = [
        (
            character,
            name,
            azimuth,
            frames,
            coverage,
            coverage / 2,
            0.8,
            0.9,
            error,
            error / 2,
            error * 0.75,
            coverage > 0,
        )
        for character in ("X_Bot", "anny")
        for name, azimuth, frames, coverage, error in [
            ("front", 0.0, 30, 1.0, 60.0),
            ("right", 90.0, 10, 0.5, 100.0),
            ("back", -180.0, 10, 0.0, np.nan),
        ]
    ]
    columns = ["character", "camera_angle", "azimuth", "frames", "coverage", "detected_coverage", "idf1", "pck_10"]
    errors = ["mpjpe_mm", "pa_mpjpe_mm", "mpjpe_mm_without_rig_bias"]
    return pd.DataFrame(rows, columns=[*columns, *errors, "passed"])


@pytest.fixture
def joints() -> pd.DataFrame:
    rows = [("nose", 30.0, 30.0, np.nan), ("left_wrist", 70.0, 50.0, 90.0), ("left_ear", np.nan, np.nan, np.nan)]
    return pd.DataFrame(rows, columns=["joint", "mpjpe_mm", "mpjpe_visible_mm", "mpjpe_occluded_mm"])


def words(path: Path) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ElementTree.parse(path).iter() if "text" in element.tag]


def test_plots_are_deterministic_readable_svg_and_png(tmp_path, summary, joints):
    for name, plot, table in [("azimuth", plots.error_by_azimuth, summary), ("joint", plots.error_by_joint, joints)]:
        for suffix in (".svg", ".png"):
            paths = [tmp_path / f"{name}{copy}{suffix}" for copy in "ab"]
            for path in paths:
                plot(table, path)
            assert paths[0].read_bytes() == paths[1].read_bytes()
        assert cv2.imread(str(paths[0])).std() > 5
    azimuth, joint = words(tmp_path / "azimutha.svg"), words(tmp_path / "jointa.svg")
    assert {"X_Bot", "anny", "front", "right", "back", "nothing tracked"} <= set(azimuth)
    assert {"nose", "left wrist", "30", "50", "90", "visible", "occluded"} <= set(joint)
    assert "left ear" not in joint


def test_plots_of_views_in_which_nothing_was_tracked(tmp_path, summary):
    lost = summary.assign(mpjpe_mm=np.nan, mpjpe_mm_without_rig_bias=np.nan)
    plots.error_by_azimuth(lost, tmp_path / "lost.svg")
    assert "nothing tracked" in words(tmp_path / "lost.svg")


def test_plots_of_nothing_are_refused(tmp_path, summary, joints):
    with pytest.raises(PoseFactoryError, match="no views to plot"):
        plots.error_by_azimuth(summary.iloc[:0], tmp_path / "a.svg")
    with pytest.raises(PoseFactoryError, match="no scored joint"):
        plots.error_by_joint(joints.iloc[:0], tmp_path / "b.svg")


SNAKEMAKE_DAG = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    node[shape=box, style=rounded, fontname=sans,                 fontsize=10, penwidth=2];
    edge[penwidth=2, color=grey];
\t0[label = "all", color = "0.00 0.6 0.85", style="rounded"];
\t1[label = "render\\ncamera_angle: front", color = "0.40 0.6 0.85", style="rounded"];
\t2[label = "prepare\\nc: a_name_that_goes_on_and_on_for_ever_<&>", color = "0.27 0.6 0.85", style="rounded,dashed"];
\t1 -> 0
\t2 -> 1
}
"""


def fills(path: Path) -> dict[str, str]:
    """What each node's first line is and what colour it is filled with, in an SVG that Graphviz drew."""
    space = "{http://www.w3.org/2000/svg}"
    nodes = [g for g in ElementTree.parse(path).iter(f"{space}g") if g.get("class") == "node"]
    return {node.find(f".//{space}text").text: node.find(f".//{space}path").get("fill") for node in nodes}


@needs_graphviz
def test_job_graph_is_green_where_fresh_and_amber_where_it_would_run(tmp_path):
    drawn = dag.job_graph(SNAKEMAKE_DAG)
    dag.render_svg(drawn, tmp_path / "dag.svg")
    assert fills(tmp_path / "dag.svg") == {
        "all": dag.WOULD_RUN[0],
        "render": dag.WOULD_RUN[0],
        "prepare": dag.FRESH[0],
    }
    assert {"1 fresh", "2 would run", "camera_angle: front"} <= set(words(tmp_path / "dag.svg"))
    assert max(map(len, words(tmp_path / "dag.svg"))) <= dag.LABEL_WIDTH
    assert drawn.count("->") == 2


@needs_graphviz
def test_rule_graph_claims_nothing_about_freshness(tmp_path):
    dag.render_svg(dag.rule_graph(SNAKEMAKE_DAG), tmp_path / "rules.svg")
    assert set(fills(tmp_path / "rules.svg").values()) == {dag.RULE[0]}


@needs_graphviz
def test_too_many_jobs_become_a_sentence(tmp_path):
    jobs = [f'\t{n}[label = "render", color = "0.4 0.6 0.85", style="rounded"];' for n in range(dag.MAX_JOBS + 1)]
    dag.render_svg(dag.job_graph("digraph snakemake_dag {\n" + "\n".join(jobs) + "\n}"), tmp_path / "dag.svg")
    assert len(fills(tmp_path / "dag.svg")) == 1
    assert " ".join(words(tmp_path / "dag.svg")).startswith(f"{dag.MAX_JOBS + 1} jobs, 0 fresh")


@needs_graphviz
def test_bad_graphs_are_refused(tmp_path):
    with pytest.raises(PoseFactoryError, match="No job in the graph"):
        dag.job_graph("Building DAG of jobs...")
    with pytest.raises(PoseFactoryError, match="syntax error"):
        dag.render_svg("digraph {", tmp_path / "dag.svg")
    assert not list(tmp_path.iterdir())


def test_missing_graphviz_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PoseFactoryError, match="apt-get install graphviz"):
        dag.render_svg("digraph {}", tmp_path / "dag.svg")


def test_headline_averages_over_frames_and_names_the_views_that_failed(summary):
    lines = headline(summary, "results/review").splitlines()
    # 30 frames at 1.0, 10 at 0.5, 10 at 0; errors 60 and 100 over the views that have one.
    cells = " ".join(lines[2].split())
    assert cells == "X_Bot 3 2 50 70 % 35 % 0.80 0.90 70 mm 52 mm 35 mm"
    assert lines[-2] == "2 of 6 views failed: X_Bot/back, anny/back."
    assert lines[-1] == "Look at results/review"
    assert len({len(line) for line in lines[:4]}) == 1
    assert "All 4 views passed." in headline(summary[summary["passed"]], "results/review")


@pytest.mark.parametrize("caption", sorted(REPORT.glob("*.rst")), ids=lambda path: path.name)
def test_report_captions_are_valid(caption):
    config = {
        "only": [],
        "characters": {"X_Bot_": {"file": "x.fbx", "source": "Mixamo", "licence": "no redistribution"}, "anny": {}},
        "cameras": {"angles": {"front": 0, "back": 180}, "resolution": [512, 512]},
        "validation": {"thresholds": {"coverage": 0.9, "mpjpe_mm": 150}},
    }
    job = SimpleNamespace(config=config, wildcards=SimpleNamespace(character="X_Bot_", camera_angle="front", video="x"))
    # As Snakemake does it.
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    written = environment.from_string(caption.read_text()).render(snakemake=job)
    html = docutils.core.publish_parts(written, writer="html", settings_overrides={"halt_level": 2})["body"]
    assert "<p>" in html
    assert "{{" not in html
