"""The learned pose forecast: read by its published names, masked, deterministic, and refused where it is not itself.

No reference output of the published network was at hand; its layers are held to torch's own transformer instead."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pose_factory.association import pose_predictor
from pose_factory.association.associator import choose_predictor
from pose_factory.association.forecast import hold_last
from pose_factory.association.pose_predictor import LearnedPredictor
from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2.models import POSE_PREDICTOR as WEIGHTS

SIZE, FRAMES, HIDDEN, ENCODED, LAYERS = 32, 25, 48, 40, 2


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of a small network's checkpoint, with some that the forecast does not need."""
    linear = {
        "pose_shape_encoder.0": (ENCODED, 229),
        "pose_shape_encoder.2": (SIZE, ENCODED),
        "smpl_head.0.fc1": (1024, SIZE + 157),
        "smpl_head.0.fc2": (1024, 1024),
        "smpl_head.0.decpose": (144, 1024),
        "smpl_head.0.decshape": (10, 1024),
        "smpl_head.0.deccam": (3, 1024),
        "loca_head.0.0": (SIZE, SIZE),
        "loca_head.0.2": (SIZE, SIZE),
        "loca_head.0.4": (3, SIZE),
        "action_head_ava.0.0": (60, SIZE),
    }
    plain = {
        "mask_token": (SIZE,),
        "class_token": (1, 1, SIZE),
        "pos_embedding": (100, SIZE),
        "pe": (100, SIZE),
        "pos_embedding_learned1": (1, FRAMES, SIZE),
        "pos_embedding_learned2": (1, FRAMES, SIZE),
        "conv_en.weight": (SIZE, SIZE, 7),
        "conv_en.bias": (SIZE,),
        "conv_de.weight": (SIZE, SIZE, 7),
        "conv_de.bias": (SIZE,),
        "smpl_head.0.init_body_pose": (1, 144),
        "smpl_head.0.init_betas": (1, 10),
        "smpl_head.0.init_cam": (1, 3),
    }
    for stack, count in (("transformer", LAYERS), ("transformer1", LAYERS), ("transformer2", 1)):
        for layer in range(count):
            attention, feed_forward = (f"{stack}.layers.{layer}.{part}" for part in (0, 1))
            plain[f"{attention}.fn.to_qkv.weight"] = (3 * 2 * 64, SIZE)
            linear[f"{attention}.fn.to_out.0"] = (SIZE, 2 * 64)
            linear[f"{feed_forward}.fn.net.0"], linear[f"{feed_forward}.fn.net.3"] = (HIDDEN, SIZE), (SIZE, HIDDEN)
            for part in (attention, feed_forward):
                plain |= {f"{part}.norm.weight": (SIZE,), f"{part}.norm.bias": (SIZE,)}
    for name, shape in linear.items():
        plain |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return plain


def checkpoint(**changes) -> dict:
    """Random weights as published: `encoder.` before each name, under `state_dict`, beside other things."""
    torch.manual_seed(0)
    stored = {f"encoder.{name}": 0.05 * torch.randn(shape) for name, shape in published_shapes().items()}
    kept = {name: value for name, value in {**stored, **changes}.items() if value is not None}
    return {"state_dict": kept, "epoch": 30}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models with the predictor in it."""
    (tmp_path / WEIGHTS).parent.mkdir()
    torch.save(checkpoint(), tmp_path / WEIGHTS)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "phalp" / "mean_std.npy", np.stack([rng.normal(size=(1, 226)), rng.uniform(1, 2, (1, 226))]))
    return tmp_path


def history(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seven poses of each track, their times and how far ahead to look."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(1, 3, (count, 7)), axis=1) + 100
    return rng.normal(0, 0.5, (count, 7, 229)), times, rng.integers(1, 6, count)


def test_the_published_names_load_and_the_rest_is_ignored(models):
    network = pose_predictor.load(models / WEIGHTS)
    own = network.state_dict()
    published = published_shapes()
    assert {name: tuple(value.shape) for name, value in own.items()} == {name: published[name] for name in own}
    unneeded = {name.split(".")[0] for name in set(published) - set(own)}
    assert unneeded == {"class_token", "pos_embedding", "pe", "transformer", "action_head_ava"}
    stored = checkpoint()["state_dict"]
    assert all(torch.equal(value, stored[f"encoder.{name}"]) for name, value in own.items())


def test_a_forecast_is_a_pose_and_always_the_same(models):
    predict = LearnedPredictor(models / WEIGHTS)
    poses, times, horizon = history(4)
    found = predict(poses, times, horizon)
    assert found.shape == (4, 229) and found.dtype == float
    matrices = found[:, :216].reshape(-1, 3, 3)
    np.testing.assert_allclose(Rotation.from_matrix(matrices).as_matrix(), matrices, atol=1e-5)
    np.testing.assert_array_equal(LearnedPredictor(models / WEIGHTS)(poses, times, horizon), found)


def test_every_track_is_forecast_for_its_own_frame(models):
    """Published, all get the slot of the first track."""
    predict = LearnedPredictor(models / WEIGHTS)
    poses, times, horizon = history(5)
    together = predict(poses, times, horizon)
    alone = np.concatenate([predict(poses[i : i + 1], times[i : i + 1], horizon[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    later = predict(poses, times, horizon + 1)
    assert (np.abs(later - together).max(axis=1) > 1e-4).all()


def test_only_what_was_seen_counts(models):
    network = pose_predictor.load(models / WEIGHTS)
    torch.manual_seed(1)
    film, seen = torch.randn(1, FRAMES, 229), torch.zeros(1, FRAMES, dtype=torch.bool)
    seen[0, [0, 2, 3]] = True
    other = torch.where(seen[..., None], film, torch.randn(1, FRAMES, 229))
    assert torch.equal(network(film, seen), network(other, seen))
    film[0, 3] += 1
    assert not torch.allclose(network(film, seen), network(other, seen), atol=1e-4)


def test_times_count_from_the_first_sight(models):
    predict = LearnedPredictor(models / WEIGHTS)
    poses, times, horizon = history(2)
    np.testing.assert_array_equal(predict(poses, times + 1000, horizon), predict(poses, times, horizon))


def test_a_history_too_long_loses_its_oldest_poses(models):
    predict = LearnedPredictor(models / WEIGHTS)
    poses, _, _ = history(1)
    times = np.array([[0, 1, 2, 40, 41, 42, 43]])
    changed = poses.copy()
    changed[0, :3] += 1
    ahead = np.array([4])
    np.testing.assert_array_equal(predict(changed, times, ahead), predict(poses, times, ahead))
    changed[0, 3] += 1
    assert np.abs(predict(changed, times, ahead) - predict(poses, times, ahead)).max() > 1e-4


def test_the_layers_are_those_of_torchs_own_transformer():
    torch.manual_seed(0)
    ours = pose_predictor._Transformer(size=128, layers=1, heads=2, hidden=48).eval()
    theirs = torch.nn.TransformerEncoderLayer(
        128, 2, 48, dropout=0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    attention, feed_forward = ours.layers[0]
    copies = {
        theirs.self_attn.in_proj_weight: attention.fn.to_qkv.weight,
        theirs.self_attn.out_proj.weight: attention.fn.to_out[0].weight,
        theirs.self_attn.out_proj.bias: attention.fn.to_out[0].bias,
        theirs.linear1.weight: feed_forward.fn.net[0].weight,
        theirs.linear1.bias: feed_forward.fn.net[0].bias,
        theirs.linear2.weight: feed_forward.fn.net[3].weight,
        theirs.linear2.bias: feed_forward.fn.net[3].bias,
    }
    tokens, seen = torch.randn(3, 9, 128), torch.rand(3, 9) < 0.5
    seen[:, 0] = True
    with torch.no_grad():
        for target, source in copies.items():
            target.copy_(source)
        theirs.self_attn.in_proj_bias.zero_()
        expected = theirs(tokens, src_key_padding_mask=~seen)
        found = ours(tokens, seen[:, None, None])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_weights_are_used_where_they_are_and_the_log_says_so(models, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert isinstance(choose_predictor(models), LearnedPredictor)
    assert choose_predictor(tmp_path / "nowhere") is hold_last
    assert "Poses are forecast with" in caplog.text and "expected to stay as they are" in caplog.text


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("hostile"),)


def sentence(weights: Path) -> str:
    with pytest.raises(PoseFactoryError) as error:
        LearnedPredictor(weights)
    assert "\n" not in str(error.value) and str(weights.parent) in str(error.value)
    return str(error.value)


def test_a_wrong_checkpoint_is_told_by_what_differs(models):
    weights = models / WEIGHTS
    torch.save(checkpoint(**{"encoder.conv_de.bias": None}), weights)
    assert "'conv_de.bias'" in sentence(weights)
    torch.save(checkpoint(**{"encoder.loca_head.0.4.bias": torch.zeros(7)}), weights)
    assert "loca_head.0.4.bias" in sentence(weights)
    torch.save({"model": {}}, weights)
    assert "state_dict" in sentence(weights)
    weights.write_bytes(b"<html>404</html>")
    assert "not a whole checkpoint" in sentence(weights)


def test_a_hostile_checkpoint_runs_nothing(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Hostile()}, models / WEIGHTS)
    assert "Cannot read" in sentence(models / WEIGHTS)
    (models / WEIGHTS).write_bytes(pickle.dumps(Hostile()))
    assert "not a whole checkpoint" in sentence(models / WEIGHTS)
    torch.save(checkpoint(), models / WEIGHTS)
    np.save(models / "phalp" / "mean_std.npy", np.array([Hostile(), 1]), allow_pickle=True)
    assert "mean and deviation" in sentence(models / WEIGHTS)
    assert not Path("hostile").exists()


def test_missing_statistics_are_told(models):
    (models / "phalp" / "mean_std.npy").unlink()
    assert "mean_std.npy" in sentence(models / WEIGHTS)
