"""The page in a real browser, in front of the real service: what is dropped on it, and what it shows of it."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from serving import service

from pose_factory.files import read_table
from pose_factory.frames import image
from pose_factory.review.overlay import COLOURS
from pose_factory.skeleton import EDGES

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium; .ci/browser.sh installs it")

ANSWERS = 120_000  # milliseconds that the page may take to have its answers
FRAME = 10
PHONE = {"width": 320, "height": 640}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with service() as running:
        running.wait_until_ready()
        yield running.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address) -> Iterator[Page]:
    """The page, opened; at the end, nothing may have gone wrong in it: a script, or what the policy forbids."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    faults = []
    page.on("console", lambda message: message.type in ("error", "warning") and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    yield page
    page.close()
    assert not [fault for fault in faults if "Failed to load resource" not in fault]  # a refusal is no fault


@pytest.fixture(scope="module")
def film(person_film, tmp_path_factory):
    """Makes a film of the person for a browser: 48 frames, two seconds."""

    def make(name: str, codec: str, **options: str) -> Path:
        path = tmp_path_factory.mktemp("films") / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=round(person_film.fps), options=options)
            stream.width, stream.height = person_film.size
            stream.pix_fmt = "yuv420p"
            for _, picture in person_film:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return make


def drop(page: Page, name: str, kind: str, content: bytes) -> None:
    """What a browser does when somebody drops a file."""
    transfer = page.evaluate_handle(
        """([name, type, content]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, {type}));
            return transfer;
        }""",
        [name, kind, base64.b64encode(content).decode()],
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})


def drop_person(page: Page, view: Path) -> None:
    drop(page, "person.png", "image/png", image(view / "frames", FRAME).read_bytes())
    expect(page.locator("#angles tr").first).to_be_visible(timeout=ANSWERS)


def pixels(page: Page, canvas: str) -> np.ndarray:
    """(H, W, 4) of a canvas, once what was asked of it is drawn."""
    url = page.evaluate(
        """(id) => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(
            () => resolve(document.getElementById(id).toDataURL()))))""",
        canvas,
    )
    return cv2.imdecode(np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8), cv2.IMREAD_UNCHANGED)


def test_the_skeleton_is_drawn_where_the_person_is(page, person_view):
    drop_person(page, person_view)
    labels = read_table(person_view / "ground_truth.parquet").query("frame == @FRAME").set_index("joint")
    drawn = pixels(page, "overlay")[..., 3] > 0
    scale = drawn.shape[0] / 256
    away = cv2.distanceTransform((~drawn).astype(np.uint8), cv2.DIST_L2, 3) / scale
    for joint in ("nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_knee", "right_knee"):
        u, v = labels.loc[joint, ["u", "v"]] * scale
        assert away[int(v), int(u)] < 8, joint
    rows, columns = np.nonzero(drawn)
    box = labels[["u", "v"]].agg(["min", "max"]).to_numpy() * scale
    margin = 0.15 * (box[1] - box[0]).max()
    assert (columns > box[0, 0] - margin).all() and (columns < box[1, 0] + margin).all()
    assert (rows > box[0, 1] - margin).all() and (rows < box[1, 1] + margin).all()
    expect(page.locator(".legend [aria-current]")).to_have_text("detected")


def test_the_body_is_drawn_and_turns(page, person_view):
    drop_person(page, person_view)
    views = [pixels(page, "body")]
    assert 0.03 < (views[0][..., 3] > 0).mean() < 0.6  # a body, not a line and not a wall
    body = page.locator("#body")
    body.press("ArrowLeft")
    views.append(pixels(page, "body"))
    box = body.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 320, box["y"] + 170, steps=4)
    page.mouse.up()
    views.append(pixels(page, "body"))
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    assert (pixels(page, "body") == views[-1]).all()  # let go
    for before, after in zip(views, views[1:], strict=False):
        assert (before != after).any(-1).mean() > 0.02


def test_the_figures_are_those_of_the_answer(page, person_view):
    with page.expect_response("**/pose/hybrid", timeout=ANSWERS) as waiting:
        drop_person(page, person_view)
    answer = waiting.value.json()
    angles = answer["joint_angles_3d"]
    rows = [row.locator("th, td").all_text_contents() for row in page.locator("#angles tr").all()]
    shown = {head: values for head, *values in rows}
    assert [int(value) for value in shown["knee"]] == pytest.approx(
        [angles["left_knee"], angles["right_knee"]], abs=0.51
    )
    assert int(shown["spine"][0]) == pytest.approx(angles["spine"], abs=0.51)
    assert page.locator("#confidence").inner_text() == f"{answer['tracking_confidence']:.0%}".replace("%", " %")
    assert page.locator("#model").inner_text() == answer["model_version"]


@pytest.mark.parametrize(
    "name, kind, codec, options",
    [
        ("h264.mp4", "video/mp4", "h264", {}),
        ("vp9.webm", "video/webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ],
)
def test_a_film_is_gone_through_picture_by_picture(page, film, name, kind, codec, options):
    drop(page, name, kind, film(name, codec, **options).read_bytes())
    expect(page.locator("#progress")).to_contain_text(" of 30 pictures", timeout=ANSWERS)  # two seconds, 15 in each
    expect(page.locator("#progress")).to_contain_text("30 pictures: ", timeout=ANSWERS)
    assert re.fullmatch(r"30 pictures: \d+ detected.*\.", page.locator("#progress").inner_text())
    slider = page.locator("#frame")
    assert slider.get_attribute("max") == "29"
    last = {canvas: pixels(page, canvas) for canvas in ("picture", "overlay", "body")}
    slider.fill("10")
    for canvas, before in last.items():
        while (pixels(page, canvas) == before).all():  # until the test's time is up
            page.wait_for_timeout(50)


def test_a_film_can_be_stopped(page, film):
    drop(page, "film.mp4", "video/mp4", film("film.mp4", "h264").read_bytes())
    page.get_by_role("button", name="Stop").click(timeout=ANSWERS)
    expect(page.locator("#progress")).to_contain_text(" pictures: ", timeout=ANSWERS)
    assert int(page.locator("#progress").inner_text().split()[0]) < 30


def test_of_a_film_that_fails_what_is_there_can_be_looked_at(page, film):
    def fail_the_fifth(route: Route) -> None:
        if json.loads(route.request.post_data)["frame_number"] < 4:
            route.continue_()
        else:
            route.fulfill(status=500, json={"frame_number": 4, "error": "The model failed."})

    page.route("**/pose/hybrid", fail_the_fifth)
    drop(page, "film.mp4", "video/mp4", film("film.mp4", "h264").read_bytes())
    expect(page.get_by_role("alert")).to_have_text("The model failed.", timeout=ANSWERS)
    expect(page.locator("#frame")).to_be_enabled()
    assert page.locator("#frame").get_attribute("max") == "3"
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


@pytest.mark.parametrize(
    "name, kind", [("broken.jpg", "image/jpeg"), ("broken.mp4", "video/mp4"), ("notes.txt", "text/plain")]
)
def test_a_file_that_cannot_be_opened_is_a_sentence(page, name, kind):
    drop(page, name, kind, b"\x89no picture and no film" * 100)
    expect(page.get_by_role("alert")).to_have_text(re.compile(rf"^{name} is damaged, or no .*\.$"))
    expect(page.locator("#result")).to_be_hidden()


def test_nobody_in_the_picture_is_said(page, person_view):
    drop_person(page, person_view)
    grey = cv2.imencode(".png", np.full((200, 300, 3), 128, np.uint8))[1].tobytes()
    drop(page, "grey.png", "image/png", grey)
    expect(page.locator("#progress")).to_have_text("Nobody was found in it.", timeout=ANSWERS)
    assert not pixels(page, "overlay")[..., 3].any() and not pixels(page, "body")[..., 3].any()


def test_a_large_photograph_is_made_small_enough(page):
    """Twice as wide as what is sent, so that the overlay must be scaled back."""
    grey = np.full((1500, 2560, 3), 128, np.uint8)
    with page.expect_response("**/pose/hybrid", timeout=ANSWERS) as waiting:
        drop(page, "large.png", "image/png", cv2.imencode(".png", grey)[1].tobytes())
    answer = waiting.value.json()
    assert (answer["frame_width"], answer["frame_height"]) == (1280, 750)


def test_a_token_is_asked_for_once_and_sent(page, person_view):
    """The service itself is tested with a token elsewhere; here something before it asks for one."""
    sent = []

    def guard(route: Route) -> None:
        sent.append(route.request.headers.get("authorization"))
        if sent[-1] == "Bearer open sesame":
            route.continue_()
        else:
            route.fulfill(status=401, json={"frame_number": 0, "error": "The token is wrong."})

    page.route("**/pose/hybrid", guard)
    drop(page, "person.png", "image/png", image(person_view / "frames", FRAME).read_bytes())
    field = page.get_by_label("This service asks for a token")
    field.fill("guess")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This is not the service's token; try another.")
    field.fill("open sesame")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#angles tr").first).to_be_visible(timeout=ANSWERS)
    expect(field).to_be_hidden()
    with page.expect_response("**/pose/hybrid", timeout=ANSWERS):  # the angles are still those of the one before
        drop_person(page, person_view)
    assert sent == [None, "Bearer guess", "Bearer open sesame", "Bearer open sesame"]
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_a_busy_service_is_asked_again_and_a_failure_is_told(page, person_view):
    answers = [(503, {"Retry-After": "1"}), (503, {"Retry-After": "1"}), (500, {})]

    def busy(route: Route) -> None:
        status, headers = answers.pop(0)
        route.fulfill(status=status, headers=headers, json={"frame_number": 0, "error": f"Not now: {status}."})

    page.route("**/pose/hybrid", busy)
    drop(page, "person.png", "image/png", image(person_view / "frames", FRAME).read_bytes())
    expect(page.get_by_role("alert")).to_have_text("Not now: 503. Asking again …")
    expect(page.get_by_role("alert")).to_have_text("Not now: 500.")
    assert not answers


def test_a_service_that_is_gone_is_a_sentence(page, person_view):
    page.route("**/pose/hybrid", lambda route: route.abort())
    drop(page, "person.png", "image/png", image(person_view / "frames", FRAME).read_bytes())
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")


def test_it_fits_a_phone_and_the_keyboard_reaches_all_of_it(page, person_view):
    page.set_viewport_size(PHONE)
    drop_person(page, person_view)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.locator("#file").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "body"


def test_edges_and_colours_are_those_of_everything_else(page):
    assert page.evaluate("import('/overlay.js').then((module) => module.EDGES)") == [list(edge) for edge in EDGES]
    for source in ("detected", "redetected", "predicted"):
        shown = page.evaluate(
            "(name) => getComputedStyle(document.querySelector('.' + name), '::before').backgroundColor", source
        )
        drawn = page.evaluate(
            """(source) => import('/overlay.js').then(({skeleton}) => {
                const context = new OffscreenCanvas(9, 9).getContext('2d');
                skeleton(context, {nose: [4.5, 4.5, 1]}, source, 4);
                return [...context.getImageData(4, 4, 1, 1).data];
            })""",
            source,
        )
        blue, green, red = COLOURS[source]
        assert (shown, drawn) == (f"rgb({red}, {green}, {blue})", [red, green, blue, 255])
