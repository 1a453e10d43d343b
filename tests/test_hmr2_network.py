"""HMR2's network: against arrays recorded from the published implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pose_factory.hmr2.network import Network, Sizes, rotation_matrices

DATA = Path(__file__).with_name("data")


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    return dict(np.load(DATA / "hmr2_tiny_reference.npz"))


@pytest.fixture(scope="module")
def weights(reference) -> dict[str, torch.Tensor]:
    prefix = "state_dict."
    return {
        name[len(prefix) :]: torch.from_numpy(array) for name, array in reference.items() if name.startswith(prefix)
    }


@pytest.fixture(scope="module")
def network(weights) -> Network:
    network = Network(Sizes.of({name: tensor.shape for name, tensor in weights.items()}, heads=4, decoder_heads=2))
    network.load_state_dict(weights)
    return network.eval()


def test_the_published_parameters_by_name_and_shape():
    shapes = json.loads((DATA / "hmr2_state_dict_shapes.json").read_text())
    with torch.device("meta"):  # without the 2.7 GB that they take
        network = Network(Sizes())
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == shapes
    assert Sizes.of(shapes) == Sizes()


def test_the_published_answers(network, reference):
    crops = torch.from_numpy(reference["input.img"])
    with torch.no_grad():
        said, features = network(crops), network.backbone(crops[..., 32:-32])
    answers = {
        "features": features,
        "global_orient": said.rotations[:, :1],
        "body_pose": said.rotations[:, 1:],
        "betas": said.betas,
        "pred_cam": said.camera,
    }
    for name, answer in answers.items():
        np.testing.assert_allclose(answer.numpy(), reference[f"output.{name}"], atol=1e-4, err_msg=name)


def test_the_outer_columns_are_not_seen(network, reference):
    crops = torch.from_numpy(reference["input.img"])
    with torch.no_grad():
        before = network(crops).camera
        crops[..., :32] = crops[..., -32:] = 3.0
        after = network(crops).camera
        crops[..., 32] = 3.0
        within = network(crops).camera
    assert torch.equal(before, after) and not torch.equal(after, within)


def test_a_crop_is_read_the_same_in_any_company(network, reference):
    crops = torch.from_numpy(reference["input.img"])
    with torch.no_grad():
        together = network(crops).rotations
        alone = torch.cat([network(crop[None]).rotations for crop in crops])
    torch.testing.assert_close(together, alone)


def test_reduced_precision_stays_near_and_gives_rotations(network, reference):
    crops = torch.from_numpy(reference["input.img"])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rotations = network(crops).rotations
    assert rotations.dtype == torch.float32
    torch.testing.assert_close(rotations.mT @ rotations, torch.eye(3).expand_as(rotations), atol=1e-6, rtol=0)
    published = np.concatenate([reference["output.global_orient"], reference["output.body_pose"]], axis=1)
    assert 0 < np.abs(rotations.numpy() - published).max() < 0.05


def test_rotations_from_two_columns():
    matrices = Rotation.random(50, random_state=0).as_matrix()
    first, second = matrices[:, :, 0], matrices[:, :, 1]
    columns = np.concatenate([2.5 * first, 0.3 * second - 0.7 * first], axis=1)  # neither unit nor orthogonal
    np.testing.assert_allclose(rotation_matrices(torch.from_numpy(columns)), matrices, atol=1e-12)
