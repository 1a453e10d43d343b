"""Footage: films in real containers and codes, as they come from phones, editors and browsers, and broken ones."""

import os
import re
import subprocess
import sys
import threading
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pose_factory.errors import PoseFactoryError
from pose_factory.footage import RenderedFrames, Video

RATE = 25
QUARTERS = np.array([[[220, 40, 40], [40, 200, 40]], [[40, 60, 220], [230, 230, 230]]])
"""Red, green, blue and white: no turn or mirror image of it is like another."""


def picture(size: tuple[int, int], level: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the four quarters, darker by `level`."""
    width, height = size
    rows, columns = np.arange(height) >= height // 2, np.arange(width) >= width // 2
    return (QUARTERS[rows.astype(int)][:, columns.astype(int)] - level).clip(0, 255).astype(np.uint8)


def quarters(image: np.ndarray) -> np.ndarray:
    """(2, 2, 3) the colours in the middle of an image's quarters."""
    height, width = image.shape[:2]
    return image[np.ix_([height // 4, 3 * height // 4], [width // 4, 3 * width // 4])].astype(int)


def write_film(
    path: Path,
    codec: str = "libx264",
    *,
    size=(64, 48),
    pixels="yuv420p",
    ticks=range(6),
    clock=Fraction(1, RATE),
    levels=None,
    options=None,
    container_options=None,
    rotation=None,
    aspect=None,
    sound=False,
    tags=None,
) -> Path:
    """A film whose frames are shown at `ticks` of the `clock`, darker and darker."""
    levels = range(0, 60, 10) if levels is None else levels
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(tags or {})
        if sound:  # first, so that it is not the film's index that is found by luck
            audio = container.add_stream("libopus", rate=48000)
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = clock
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(*rotation)
        for tick, level in zip(ticks, levels, strict=False):
            frame = av.VideoFrame.from_ndarray(picture(size, level), format="rgb24")
            frame.pts, frame.time_base = tick, clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 48000), np.int16), format="s16", layout="stereo")
            silence.sample_rate, silence.pts = 48000, 0
            container.mux(audio.encode(silence))
            container.mux(audio.encode(None))
    if codec == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        # It has root's process, and all that this starts from then on, go before everybody else on the machine.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def long_film(path: Path, **settings) -> Path:
    """60 frames, a key frame every ten."""
    rng = np.random.default_rng(0)
    return write_film(path, ticks=range(60), levels=rng.integers(0, 40, (60, 48, 64, 1)), **settings)


def damage(path: Path, start: float, end: float, value: int | None = None) -> Path:
    """Overwrite that part of a file, or cut it out."""
    data = path.read_bytes()
    first, last = round(start * len(data)), round(end * len(data))
    filling = b"" if value is None else bytes([value]) * (last - first)
    path.write_bytes(data[:first] + filling + data[last:])
    return path


# What a film gives


@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        ("h264.mp4", "libx264", {}),
        ("sound.mp4", "libx264", {"sound": True}),
        ("fragments.mp4", "libx264", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("h265_10bit.mp4", "libx265", {"pixels": "yuv420p10le", "options": {"x265-params": "log-level=none"}}),
        ("prores_10bit_alpha.mov", "prores_ks", {"pixels": "yuva444p10le"}),
        ("alpha.mov", "png", {"pixels": "rgba"}),
        ("vp8.webm", "libvpx", {"sound": True}),
        ("vp9_alpha.webm", "libvpx-vp9", {"pixels": "yuva420p"}),
        ("av1.webm", "libsvtav1", {"options": {"preset": "12"}}),
        ("lossless.mkv", "ffv1", {"pixels": "yuv444p"}),
        ("mpeg4.m4v", "mpeg4", {"container_options": {"f": "mp4"}}),
        ("odd.mp4", "libx264", {"size": (67, 45), "pixels": "yuv444p"}),
        ("odd.webm", "libvpx-vp9", {"size": (67, 45)}),
    ],
)
def test_a_film_gives_its_frames_in_order_again_and_again(tmp_path, name, codec, settings):
    size = settings.get("size", (64, 48))
    video = Video(write_film(tmp_path / name, codec, **settings))
    assert (video.size, video.fps) == (size, pytest.approx(RATE))
    for _ in range(2):
        seen = list(video)
        assert [number for number, _ in seen] == list(range(6))
        for (_, image), level in zip(seen, range(0, 60, 10), strict=True):
            assert (image.shape, image.dtype, image.flags.c_contiguous) == ((*size[::-1], 3), np.uint8, True)
            np.testing.assert_allclose(quarters(image), (QUARTERS - level).clip(0), atol=16)
    assert video.times == pytest.approx({number: number / RATE for number in range(6)}, abs=1e-3)
    assert video.facts() == {
        "width": size[0],
        "height": size[1],
        "fps": video.fps,
        "frames": 6,
        "times": list(video.times.values()),
        "warnings": [],
    }


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_turned_and_mirrored_footage_is_shown_upright(tmp_path, degrees, flips):
    video = Video(write_film(tmp_path / "phone.mp4", rotation=(degrees, *flips)))
    expected = np.rot90(picture((64, 48)), degrees // 90)  # both count counter-clockwise
    expected = expected[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
    (_, image), *_ = video
    assert image.shape == expected.shape and video.size == expected.shape[1::-1]
    np.testing.assert_allclose(quarters(image), quarters(expected), atol=16)


@pytest.mark.parametrize("name", ["varying.mp4", "varying.mkv"])
def test_a_varying_frame_rate_keeps_each_frames_time_and_its_mean_is_the_rate(tmp_path, name):
    milliseconds = [40, 73, 107, 240, 273, 307]  # 30 frames a second, late and with a gap
    video = Video(write_film(tmp_path / name, ticks=milliseconds, clock=Fraction(1, 1000), options={"bf": "2"}))
    assert [number for number, _ in video] == list(range(6))
    assert list(video.times.values()) == pytest.approx([(ms - 40) / 1000 for ms in milliseconds], abs=1e-3)
    assert video.fps == pytest.approx(5 / 0.267, rel=0.01)
    assert video.warnings == []


@pytest.mark.parametrize(("rotation", "size"), [(None, (128, 48)), ((90,), (48, 128))])
def test_pixels_that_are_not_square_are_made_so_before_they_are_turned(tmp_path, rotation, size):
    video = Video(write_film(tmp_path / "wide.mp4", aspect=Fraction(2, 1), rotation=rotation))
    (_, image), *_ = video
    assert video.size == size == image.shape[1::-1]
    np.testing.assert_allclose(quarters(image), np.rot90(QUARTERS, 1 if rotation else 0), atol=16)


def test_a_film_that_changes_its_size_keeps_the_first_one(tmp_path):
    encoded = []
    for size in ((64, 48), (32, 24)):
        with av.open(str(write_film(tmp_path / f"{size[0]}.webm", "libvpx", size=size))) as container:
            encoded += [bytes(packet) for packet in container.demux(video=0) if packet.size]
    with av.open(str(tmp_path / "call.webm"), "w") as container:
        stream = container.add_stream("libvpx", rate=RATE)
        stream.width, stream.height = 64, 48
        for tick, data in enumerate(encoded):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, tick, tick, Fraction(1, RATE)
            packet.is_keyframe = tick in (0, 6)
            container.mux(packet)
    images = [image for _, image in Video(tmp_path / "call.webm")]
    assert [image.shape for image in images] == [(48, 64, 3)] * 12
    np.testing.assert_allclose(quarters(images[6]), QUARTERS, atol=16)


def test_of_several_streams_the_film_is_taken_and_not_the_cover(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover, small, large = (container.add_stream(codec, rate=RATE) for codec in ("png", "libx264", "libx264"))
        for stream, size, pixels in ((cover, (200, 200), "rgb24"), (small, (32, 24), ""), (large, (64, 48), "")):
            stream.width, stream.height, stream.pix_fmt = *size, pixels or "yuv420p"
        cover.disposition, large.disposition = av.stream.Disposition.attached_pic, av.stream.Disposition.default
        small.disposition = av.stream.Disposition(0)
        for tick in range(4):
            for stream in (cover, small, large) if tick == 0 else (small, large):
                frame = av.VideoFrame.from_ndarray(picture((stream.width, stream.height)), format="rgb24")
                frame.pts, frame.time_base = tick, Fraction(1, RATE)
                container.mux(stream.encode(frame))
        for stream in (cover, small, large):
            container.mux(stream.encode(None))
    video = Video(tmp_path / "a.mp4")
    assert video.size == (64, 48) and len(list(video)) == 4


def test_a_single_frame_is_a_film(tmp_path):
    video = Video(write_film(tmp_path / "still.mp4", ticks=[0]))
    assert [number for number, _ in video] == [0]
    assert video.times == {0: 0.0} and video.fps == RATE and video.warnings == []


def test_titles_in_another_encoding_do_no_harm(tmp_path):
    path = write_film(tmp_path / "a.mp4", tags={"title": "Tanz im Caf##"})
    path.write_bytes(path.read_bytes().replace(b"Caf##", b"Caf\xe9!"))
    assert len(list(Video(path))) == 6


# Films that are damaged


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {"container_options": {"movflags": "+faststart"}}),
        ("fragments.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("a.mkv", {}),
        ("a.webm", {"codec": "libvpx-vp9"}),
    ],
)
def test_a_film_that_breaks_off_gives_what_is_there_and_says_what_is_lost(tmp_path, name, settings):
    whole = [image for _, image in Video(long_film(tmp_path / f"whole_{name}", options={"g": "10"}, **settings))]
    video = Video(damage(long_film(tmp_path / name, options={"g": "10"}, **settings), 0.6, 1))
    assert video.warnings == []
    seen = [image for _, image in video]
    assert 15 < len(seen) < 50
    at = [round(time * RATE) for time in video.times.values()]  # between the last ones, B-frames may lack
    assert at[:-4] == list(range(len(seen) - 4)) and at[-1] - len(seen) < 4
    np.testing.assert_array_equal(seen, [whole[index] for index in at])
    last = video.warnings[-1]
    assert last.startswith(f"The film breaks off at {(at[-1] + 1) / RATE:.2f} s of ")
    if not name.startswith("fragments"):  # whose length is the sum of those that are there
        length, lost = re.search(r" s of (.*) s, about (\d+) frames are lost.$", last).groups()
        assert length == "2.40" and int(lost) == pytest.approx(60 - len(seen), abs=3)
    list(video)
    assert video.warnings[-1] == last


def test_parts_that_cannot_be_decoded_are_left_out_and_counted(tmp_path):
    video = Video(damage(long_film(tmp_path / "a.mov", options={"g": "10", "bf": "0"}), 0.4, 0.45, 255))
    seen = [number for number, _ in video]
    (warning,) = video.warnings
    assert warning.endswith(" of the film's packets are damaged and were left out.")
    assert seen == list(range(60 - int(warning.split()[0]))) and 40 < len(seen) < 60
    assert video.times[len(seen) - 1] == pytest.approx(59 / RATE), "what follows keeps its time"


def test_a_container_that_cannot_be_read_on_ends_the_film_there(tmp_path):
    options = {"g": "10", "bf": "2"}
    path = long_film(tmp_path / "a.mp4", options=options, container_options={"movflags": "frag_keyframe+empty_moov"})
    data = bytearray(path.read_bytes())
    table = data.index(b"trun", len(data) // 2)  # version and flags, count, offset, flags of the first, then the sizes
    assert int.from_bytes(data[table + 8 : table + 12]) == 10
    data[table + 24 : table + 64] = b"\x7f\xff\xff\xff" * 10
    path.write_bytes(data)
    video = Video(path)
    seen = [number for number, _ in video]
    assert 20 <= len(seen) < 60
    assert video.warnings[0].startswith("1 of the film's packets")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("Not found\n" * 100)


def without_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 4800), np.int16), format="s16", layout="stereo")
        silence.sample_rate, silence.pts = 48000, 0
        container.mux(audio.encode(silence))
        container.mux(audio.encode(None))


def without_index(path: Path) -> None:
    damage(long_film(path), 0.6, 1)


def unreadable_frames(path: Path) -> None:
    data = long_film(path, container_options={"movflags": "+faststart"}).read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + b"\xff" * (len(data) - start))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (empty, "cannot be opened as a video"),
        (text, "cannot be opened as a video"),
        (without_frames, ""),
        (sound_only, "holds no film, only sound or a cover picture; name another file."),
        (without_index, ""),
        (unreadable_frames, "can be decoded; it is empty, damaged or in a format that is not supported: copy it"),
        (lambda path: None, "cannot be opened as a video (No such file or directory); copy it again"),
    ],
)
def test_a_file_without_a_single_frame_is_one_sentence(tmp_path, make, sentence):
    make(tmp_path / "my film.mp4")
    with pytest.raises(PoseFactoryError) as error:
        Video(tmp_path / "my film.mp4")
    assert str(tmp_path / "my film.mp4") in str(error.value) and sentence in str(error.value)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


# How it is read


MEMORY = """
import resource, sys
from itertools import islice
sys.path.insert(0, sys.argv[1])
from pose_factory.footage import Video
video = Video(sys.argv[2])
for frames in (100, None):
    count = sum(1 for _ in islice(video, frames))
    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20))
"""


def test_a_long_film_takes_no_more_memory_than_a_short_one(tmp_path):
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height = 320, 240
        frame = av.VideoFrame.from_ndarray(picture((320, 240)), format="rgb24").reformat(format="yuv420p")
        for tick in range(3000):
            frame.pts = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    command = [sys.executable, "-c", MEMORY, str(Path(__file__).parents[1] / "src"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (few, before), (many, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, many) == (100, 3000)
    assert after - before < 30, "MB; all images together have 660"


def test_who_stops_halfway_leaves_no_thread(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 4):
        cv2.imwrite(str(folder / f"{number:04d}.png"), np.full((48, 64, 3), number, np.uint8))
    threads = threading.active_count()
    footage = RenderedFrames(folder, range(1, 60), 30)  # those after the third are missing
    assert [number for number, _ in islice(footage, 3)] == [1, 2, 3]
    with pytest.raises(PoseFactoryError, match="0004.png is missing"):
        list(footage)
    assert threading.active_count() == threads


def test_rendered_frames_have_the_times_of_the_motion(tmp_path):
    for number in (7, 9, 13):
        cv2.imwrite(str(tmp_path / f"{number:04d}.png"), picture((64, 48), number)[..., ::-1])
    footage = RenderedFrames(tmp_path, [7, 9, 13], 20)
    assert footage.size == (64, 48) and footage.times == pytest.approx({7: 0, 9: 0.1, 13: 0.3})
    for _ in range(2):
        for number, image in footage:
            np.testing.assert_array_equal(image, picture((64, 48), number))
