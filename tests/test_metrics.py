"""Metrics against closed forms, COCO's own evaluation and SciPy."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation
from synthetic_person import camera, walk

from pose_factory.skeleton import COCO as COCO_JOINTS
from pose_factory.skeleton import INDEX, PAIRS, SIGMAS
from pose_factory.validation import metrics

SIGMA = np.array(list(SIGMAS.values()))


def everywhere(points):
    return np.ones(points.shape[:2], bool)


def coco_evaluation(truth, area, visibility, predicted, scores, detected):
    """OKS per detected frame and [AP, AP50, AP75] from pycocotools; one person and at most one detection an image."""
    box = [0.0, 0.0, 300.0, 300.0]
    annotations, results = [], []
    for i in range(len(truth)):
        labelled = np.where(visibility[i][:, None] > 0, truth[i], 0.0)
        keypoints = np.column_stack([labelled, visibility[i]]).ravel().tolist()
        annotations.append({"id": i + 1, "image_id": i + 1, "category_id": 1, "area": float(area[i]), "iscrowd": 0})
        annotations[-1] |= {"bbox": box, "keypoints": keypoints, "num_keypoints": int((visibility[i] > 0).sum())}
        if detected[i]:
            keypoints = np.column_stack([predicted[i], np.ones(17)]).ravel().tolist()
            results.append({"image_id": i + 1, "category_id": 1, "keypoints": keypoints, "score": float(scores[i])})
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = {"images": [{"id": i + 1} for i in range(len(truth))], "annotations": annotations}
        dataset.dataset |= {"categories": [{"id": 1, "name": "person"}], "info": {}}
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    similarity = np.array([evaluation.ious[i + 1, 1][0, 0] for i in np.flatnonzero(detected)])
    return similarity, evaluation.stats[:3]


@pytest.mark.parametrize("seed", range(6))
def test_oks_and_average_precision_agree_with_pycocotools(seed):
    rng = np.random.default_rng(seed)
    frames = 40
    truth = rng.uniform(50, 250, (frames, 17, 2))
    area = rng.uniform(8_000, 40_000, frames)
    visibility = rng.choice([0, 1, 2], (frames, 17), p=[0.2, 0.2, 0.6])
    predicted = truth + rng.normal(0, 1, truth.shape) * rng.uniform(0, 25, (frames, 1, 1))
    scores = rng.choice(np.linspace(0, 1, 8), frames)  # ties: the order of equal scores matters
    detected = rng.random(frames) < 0.8
    expected, stats = coco_evaluation(truth, area, visibility, predicted, scores, detected)

    ours = metrics.oks(np.where(detected[:, None, None], predicted, np.nan), truth, area, visibility > 0, SIGMA)
    np.testing.assert_allclose(ours[detected], expected, atol=1e-9)
    assert (ours[~detected] == 0).all()
    found = metrics.average_precision(ours[detected], scores[detected], frames)
    np.testing.assert_allclose([found["ap"], found["ap50"], found["ap75"]], stats, atol=1e-9)
    assert 0.05 < found["ap"] < 0.95


def test_the_sigmas_are_cocos():
    with contextlib.redirect_stdout(io.StringIO()):
        np.testing.assert_allclose(COCOeval(iouType="keypoints").params.kpt_oks_sigmas, SIGMA)
    assert list(SIGMAS) == COCO_JOINTS


def test_average_precision_edges():
    nothing = metrics.average_precision(np.empty(0), np.empty(0), 5)
    assert nothing == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
    assert np.isnan(list(metrics.average_precision(np.empty(0), np.empty(0), 0).values())).all()
    assert metrics.average_precision(np.ones(5), np.ones(5), 5) == {"ap": 1.0, "ap50": 1.0, "ap75": 1.0}
    # half of the people found, perfectly: precision 1 for the 51 recalls 0 .. 0.5, then 0
    assert metrics.average_precision(np.ones(5), np.ones(5), 10)["ap"] == pytest.approx(51 / 101)


def test_pck_closed_form_and_misses_are_wrong():
    truth = np.zeros((2, 4, 2))
    predicted = truth + np.array([[4.9, 0], [5.0, 0], [5.1, 0], [np.nan, np.nan]])
    mask = everywhere(truth)
    assert metrics.pck(predicted, truth, [100.0, 100.0], mask, 0.05) == pytest.approx(0.5)
    assert metrics.pck(predicted, truth, [100.0, 200.0], mask, 0.05) == pytest.approx(5 / 8)
    assert metrics.pck(predicted, truth, [100.0, 100.0], mask & [True, True, False, False], 0.05) == 1.0
    assert np.isnan(metrics.pck(predicted, truth, [100.0, 100.0], ~mask, 0.05))


def test_pck_is_monotonic_in_its_threshold():
    rng = np.random.default_rng(3)
    truth = rng.uniform(0, 100, (20, 23, 2))
    predicted = truth + rng.normal(0, 8, truth.shape)
    scores = [metrics.pck(predicted, truth, np.full(20, 100.0), everywhere(truth), t) for t in np.linspace(0, 1, 21)]
    assert (np.diff(scores) >= 0).all()
    assert (scores[0], scores[-1]) == (0.0, 1.0)


def test_mpjpe_closed_form_ignores_translation_of_either_side():
    truth = walk(7)
    predicted = truth.copy()
    predicted[:, INDEX["left_wrist"]] += [0.03, 0.0, 0.04]
    assert metrics.mpjpe(predicted, truth) == pytest.approx(0.05 / 23)
    assert metrics.mpjpe(predicted + [3, -2, 1], truth - [0, 5, 0]) == pytest.approx(0.05 / 23)
    only_wrist = everywhere(truth) & (np.arange(23) == INDEX["left_wrist"])
    assert metrics.mpjpe(predicted, truth, only_wrist) == pytest.approx(0.05)
    predicted[3:] = np.nan
    assert metrics.mpjpe(predicted, truth) == pytest.approx(0.05 / 23)


def test_pa_mpjpe_is_invariant_to_similarities_and_sees_reflections():
    truth = walk(12)
    rng = np.random.default_rng(1)
    rotations = Rotation.random(12, rng=1).as_matrix()
    moved = rng.uniform(0.3, 3, (12, 1, 1)) * truth @ rotations.transpose(0, 2, 1) + rng.normal(0, 2, (12, 1, 3))
    assert metrics.pa_mpjpe(moved, truth) == pytest.approx(0, abs=1e-12)
    assert metrics.pa_mpjpe(moved * [-1, 1, 1], truth) > 0.01
    noisy = moved + rng.normal(0, 0.05, moved.shape)
    again = 2.5 * noisy @ rotations + [1, 2, 3]
    assert metrics.pa_mpjpe(again, truth) == pytest.approx(metrics.pa_mpjpe(noisy, truth))


@pytest.mark.parametrize("seed", range(5))
def test_similarity_alignment_agrees_with_scipy(seed):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.4, (1, 15, 3))
    predicted = truth @ Rotation.random(rng=seed).as_matrix() * 1.3 + rng.normal(0, 0.02, truth.shape) + 5
    p, t = (x[0] - x[0].mean(0) for x in (predicted, truth))
    rotation, singular_sum = orthogonal_procrustes(p, t)
    assert np.linalg.det(rotation) > 0
    expected = p @ rotation * singular_sum / (p**2).sum() + truth[0].mean(0)
    np.testing.assert_allclose(metrics.similarity_align(predicted, truth)[0], expected, atol=1e-12)
    best, _ = Rotation.align_vectors(t, p)
    np.testing.assert_allclose(best.as_matrix().T, rotation, atol=1e-7)


def test_similarity_alignment_leaves_out_what_is_masked_or_too_little():
    truth = walk(4)
    predicted = truth * 2 + 1
    predicted[:, INDEX["nose"]] += 10
    predicted[1, INDEX["left_knee"]] = np.nan
    mask = everywhere(truth) & (np.arange(23) != INDEX["nose"])
    mask[2] = np.arange(23) < 3
    mask[2, INDEX["nose"]] = False
    aligned = metrics.similarity_align(predicted, truth, mask)
    errors = metrics.joint_errors(aligned, truth, mask)
    np.testing.assert_allclose(errors[[0, 1, 3]][np.isfinite(errors[[0, 1, 3]])], 0, atol=1e-12)
    assert np.isfinite(errors).sum(-1).tolist() == [22, 21, 0, 22]
    mask[2, INDEX["left_knee"]] = True  # the third joint
    third = metrics.joint_errors(metrics.similarity_align(predicted, truth, mask), truth, mask)[2]
    np.testing.assert_allclose(third[np.isfinite(third)], np.zeros(3), atol=1e-12)
    assert np.isnan(metrics.similarity_align(np.ones_like(truth), truth)).all()


def test_acceleration_of_a_parabola():
    time = np.arange(10.0)[:, None, None]
    truth = np.broadcast_to(walk(1), (10, 23, 3))
    wrist = np.arange(23)[:, None] == INDEX["left_wrist"]
    predicted = truth + wrist * 0.5 * time**2 * [0.003, 0, 0.004]
    only_wrist = everywhere(truth) & wrist[:, 0]
    frames = np.arange(10)
    assert metrics.acceleration_error(predicted, truth, frames, only_wrist) == pytest.approx(0.005)
    assert metrics.acceleration_error(predicted, truth, frames) == pytest.approx(0.005 / 23)
    # the same motion sampled every third frame has the same acceleration per frame^2
    assert metrics.acceleration_error(predicted[::3], truth[::3], frames[::3], only_wrist[::3]) == pytest.approx(0.005)
    assert metrics.acceleration_error(predicted + 7 * time, truth, frames, only_wrist) == pytest.approx(0.005)


def test_acceleration_does_not_reach_over_gaps():
    truth = np.broadcast_to(walk(1), (6, 23, 3)).copy()
    frames = np.array([1, 2, 3, 10, 11, 12])
    jump = truth + (frames >= 10)[:, None, None] * (np.arange(23) == 0)[:, None] * 1.0
    assert metrics.acceleration_error(jump, truth, frames) == pytest.approx(0)
    missing = truth + (np.arange(6) == 1)[:, None, None] * np.ones((23, 1))
    missing[1] = np.nan
    assert metrics.acceleration_error(missing, truth, np.arange(6)) == pytest.approx(0)
    missing[4] = np.nan
    assert np.isnan(metrics.acceleration_error(missing, truth, np.arange(6)))
    assert np.isnan(metrics.acceleration_error(truth[:2], truth[:2], frames[:2]))


def test_jitter_of_a_cubic_and_of_a_parabola():
    time = np.arange(12.0)[:, None, None]
    still = np.broadcast_to(walk(1), (12, 23, 3))
    wrist = np.arange(23)[:, None] == INDEX["left_wrist"]
    only_wrist = everywhere(still) & wrist[:, 0]
    frames = np.arange(12)
    cubic = still + wrist * time**3 / 6 * [0.003, 0, 0.004]
    assert metrics.jitter(cubic, frames, only_wrist) == pytest.approx(0.005)
    assert metrics.jitter(cubic, frames) == pytest.approx(0.005 / 23)
    assert metrics.jitter(cubic[::3], frames[::3], only_wrist[::3]) == pytest.approx(0.005), "whatever the step"
    assert metrics.jitter(cubic + time**2, frames, only_wrist) == pytest.approx(0.005), "the hips move with it"
    assert metrics.jitter(still + wrist * time**2 * 0.01, frames) == pytest.approx(0, abs=1e-12)
    assert np.isnan(metrics.jitter(cubic[:3], frames[:3]))


def test_people_put_end_to_end_do_not_touch():
    truth = np.broadcast_to(walk(1), (8, 23, 3))
    one = truth + np.arange(8.0)[:, None, None] ** 3 * np.linspace(0, 1, 23)[:, None]
    both, frames = np.concatenate([one, 100 - 2 * one]), np.tile(np.arange(8), 2)
    twice = np.concatenate([truth, truth])
    for function, arguments in [(metrics.jitter, ()), (metrics.acceleration_error, (truth,))]:
        alone = [function(person, *arguments, frames[:8]) for person in (one, 100 - 2 * one)]
        together = function(both, *(twice for _ in arguments), frames)
        assert together == pytest.approx(np.mean(alone))


def exchanged(pixels, names):
    order = np.arange(23)
    for left, right in PAIRS:
        if any(name in left for name in names):
            order[[INDEX[left], INDEX[right]]] = INDEX[right], INDEX[left]
    return pixels[:, order]


@pytest.mark.parametrize("names", [["_"], ["knee", "ankle"], ["elbow", "wrist"]])
def test_swaps_are_found_where_they_were_made(names):
    truth = camera(0).project(walk(30, turns=0))[0]
    predicted = truth + np.random.default_rng(0).normal(0, 2, truth.shape)
    mask = everywhere(truth)
    assert metrics.left_right_swap_rate(predicted, truth, mask) == 0.0
    predicted[:9] = exchanged(predicted[:9], names)
    assert metrics.left_right_swap_rate(predicted, truth, mask) == pytest.approx(9 / 30)
    predicted[20:] = np.nan
    assert metrics.left_right_swap_rate(predicted, truth, mask) == pytest.approx(9 / 20)
    assert np.isnan(metrics.left_right_swap_rate(predicted, truth, ~mask))


def test_a_body_seen_edge_on_is_not_swapped_by_noise():
    world = walk(200, turns=0)
    world[..., 0] *= 0.02
    truth = camera(90).project(world)[0]
    predicted = truth + np.random.default_rng(0).normal(0, 10, truth.shape)
    assert metrics.left_right_swap_rate(predicted, truth) < 0.1


def test_coverage_and_mean():
    predicted = walk(4)
    predicted[1] = np.nan
    predicted[2, 1:] = np.nan
    assert metrics.coverage(predicted) == 0.75
    np.testing.assert_array_equal(metrics.mean(np.array([[1, np.nan], [3, np.nan]]), axis=0), [2, np.nan])
    assert np.isnan(metrics.mean(np.empty(0)))
