"""SMPL: its file read as it is published, and our joints on it."""

import io
import os
import pickle

import hmr2_files
import numpy as np
import pytest
import scipy.sparse
from hmr2_files import PARENTS, REST
from scipy.spatial.transform import Rotation
from smplx.vertex_ids import vertex_ids

from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2 import body, unpickle
from pose_factory.skeleton import INDEX, JOINTS


@pytest.fixture(scope="module")
def model() -> dict[str, np.ndarray]:
    return hmr2_files.smpl()


@pytest.fixture(scope="module")
def limbs(model) -> body.Body:
    return body.Body(model, hmr2_files.extra())


@pytest.fixture(scope="module")
def official(model, tmp_path_factory):
    return hmr2_files.write_official(tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.pkl", model)


def forward_kinematics(model, rotations, betas) -> tuple[np.ndarray, np.ndarray]:
    """SMPL's 24 joints and 6890 vertices of the body of rigid limbs, (..., 3), one bone after the other."""
    shaped = model["v_template"] + model["shapedirs"] @ betas
    rest = model["J_regressor"] @ shaped
    turned, placed = [rotations[0]], [rest[0]]
    for joint in range(1, 24):
        parent = PARENTS[joint]
        turned.append(turned[parent] @ rotations[joint])
        placed.append(placed[parent] + turned[parent] @ (rest[joint] - rest[parent]))
    turned, placed = np.array(turned), np.array(placed)
    owner = model["weights"].argmax(axis=1)
    vertices = placed[owner] + np.einsum("vij,vj->vi", turned[owner], shaped - rest[owner])
    return placed, vertices


@pytest.fixture(scope="module")
def bodies():
    rotations = Rotation.random(5 * 24, random_state=1).as_matrix().reshape(5, 24, 3, 3)
    return rotations, np.random.default_rng(2).normal(size=(5, 10))


def test_joints_are_where_bones_and_skin_are(model, limbs, bodies):
    """Oracle: rigid limbs turned one after the other."""
    joints, hips = limbs.assemble(*bodies)
    for row, (rotations, betas) in enumerate(zip(*bodies, strict=True)):
        bones, skin = forward_kinematics(model, rotations, betas)
        own = joints[row] + hips[row]
        np.testing.assert_allclose(hips[row], bones[1:3].mean(axis=0), atol=1e-5)
        for side, knee, ankle, foot, shoulder, elbow, wrist in (
            ("left", 4, 7, 10, 16, 18, 20),
            ("right", 5, 8, 11, 17, 19, 21),
        ):
            limb = [own[INDEX[f"{side}_{joint}"]] for joint in ("knee", "ankle", "foot", "shoulder", "elbow", "wrist")]
            np.testing.assert_allclose(limb, bones[[knee, ankle, foot, shoulder, elbow, wrist]], atol=1e-5)
            for part in ("eye", "ear"):
                on_skin = skin[vertex_ids["smplh"][f"{side[0]}{part}"]]
                np.testing.assert_allclose(own[INDEX[f"{side}_{part}"]], on_skin, atol=1e-5)
        np.testing.assert_allclose(own[INDEX["nose"]], skin[vertex_ids["smplh"]["nose"]], atol=1e-5)
        np.testing.assert_allclose(own[[INDEX["pelvis"], INDEX["spine"], INDEX["neck"]]], bones[[0, 6, 12]], atol=1e-5)
        np.testing.assert_allclose(own[INDEX["head_top"]], (hmr2_files.extra() @ skin)[13], atol=1e-5)


def test_the_mesh_is_the_skin_about_the_hips(model, limbs, bodies):
    for rotations, betas in zip(*bodies, strict=True):
        bones, skin = forward_kinematics(model, rotations, betas)
        np.testing.assert_allclose(limbs.mesh(rotations, betas), skin - bones[1:3].mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(limbs.faces, model["f"])


def test_the_rest_pose_is_the_right_way_round(limbs):
    joints, hips = limbs.assemble(np.tile(np.eye(3), (24, 1, 1)), np.zeros(10))
    np.testing.assert_allclose(hips, REST[1:3].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(joints[INDEX["left_wrist"]] + hips, REST[20], atol=1e-6)
    for joint in JOINTS:
        if joint.startswith("left_") and joint not in ("left_eye", "left_ear"):  # these are any vertex of a random body
            assert joints[INDEX[joint], 0] > 0 > joints[INDEX[joint.replace("left", "right")], 0]
    assert (
        joints[INDEX["head_top"], 1] > joints[INDEX["neck"], 1] > joints[INDEX["spine"], 1] > joints[INDEX["pelvis"], 1]
    )


def test_any_leading_axes_and_any_number(limbs, bodies, monkeypatch):
    rotations, betas = bodies
    joints, hips = limbs.assemble(rotations, betas)
    monkeypatch.setattr(body, "_AT_ONCE", 2)
    np.testing.assert_allclose(limbs.assemble(rotations, betas)[0], joints, atol=1e-6)
    np.testing.assert_allclose(limbs.assemble(rotations[0], betas[0])[0], joints[0], atol=1e-6)
    grid, _ = limbs.assemble(rotations[:4].reshape(2, 2, 24, 3, 3), betas[:4].reshape(2, 2, 10))
    np.testing.assert_allclose(grid, joints[:4].reshape(2, 2, 23, 3), atol=1e-6)
    one_shape, _ = limbs.assemble(rotations, betas[0])
    assert one_shape.shape == (5, 23, 3)
    assert limbs.assemble(rotations[:0], betas[:0])[0].shape == (0, 23, 3)


# Files


def test_the_official_file(official, model):
    raw = official.read_bytes()
    assert b"cchumpy.ch\nCh\n" in raw and b"copy_reg\n_reconstructor\n" in raw  # as Python 2 wrote it
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(raw, encoding="latin1")
    read = body.read_model(official)
    assert read.keys() == model.keys()
    for name, array in model.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name)


@pytest.mark.parametrize("kind", ["npz", "cleaned"])
def test_converted_files(tmp_path, model, kind):
    """As people convert SMPL's file for Python 3: to .npz, or to a pickle of NumPy's and SciPy's arrays."""
    if kind == "npz":
        path = tmp_path / "SMPL_NEUTRAL.npz"
        np.savez(path, **model, gender=np.array("neutral"), unused=np.array([{}], dtype=object))
    else:
        path = tmp_path / "SMPL_NEUTRAL.pkl"
        path.write_bytes(pickle.dumps(model | {"J_regressor": scipy.sparse.csc_matrix(model["J_regressor"])}))
    read = body.read_model(path)
    for name, array in model.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name)


def test_the_regressor_of_any_python(tmp_path):
    for protocol in (0, 2, 4):
        path = tmp_path / "SMPL_to_J19.pkl"
        path.write_bytes(pickle.dumps(hmr2_files.extra(), protocol=protocol))
        np.testing.assert_array_equal(body.read_regressor(path), hmr2_files.extra())


class Hostile:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_body_runs_nothing(tmp_path, monkeypatch, model, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps({"v_template": model["v_template"], "f": Hostile()}, protocol=protocol))
    pickle.loads(path.read_bytes())
    assert os.path.exists("ran")  # the attack works where nothing guards
    os.unlink("ran")
    with pytest.raises(PoseFactoryError, match="wants to run posix.system"):
        body.read_model(path)
    assert not os.path.exists("ran")


@pytest.mark.parametrize(
    "attack",
    [
        b"cos\nsystem\n(S'touch ran'\ntR.",
        b'c__builtin__\neval\n(S\'open("ran", "w")\'\ntR.',
        b"cbuiltins\ngetattr\n(cos\npath\nS'os'\ntR.",
        b"csubprocess\ncheck_output\n((S'touch'\nS'ran'\nltR.",
        b"ccommands\ngetoutput\n(S'touch ran'\ntR.",  # what subprocess.getoutput was called in Python 2
        b"cnumpy\nload\n(S'ran'\ntR.",  # of a known package, but not known
        b'cnumpy.testing._private.utils\nruncmd\n(S\'open("ran", "w")\'\ntR.',
        b"\x80\x04\x8c\x05numpy\x8c\x13ctypeslib.os.system\x93\x8c\x09touch ran\x85R.",  # a dotted way to os
    ],
)
def test_other_ways_to_run_something(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(attack)
    with pytest.raises(PoseFactoryError):
        body.read_model(path)
    assert not os.path.exists("ran")


def test_inert_objects_take_everything_and_keep_nothing():
    with hmr2_files.absent_classes("stranger.config.Mapping", "stranger.Thing") as (mapping, thing):
        full = mapping(a=[1, thing()])
        vars(full)["b"] = thing()
        data = pickle.dumps([full, thing])
    loaded, cls = unpickle.load(io.BytesIO(data), {})
    assert isinstance(loaded, unpickle.Inert) and not loaded and not vars(loaded)
    assert issubclass(cls, unpickle.Inert)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda model: model.pop("weights"), "its weights is NoneType, not 6890 x 24 numbers"),
        (lambda model: model.update(v_template=model["v_template"][:100]), "its v_template is 100 x 3, not 6890 x 3"),
        (lambda model: model.update(shapedirs=model["shapedirs"][:, :, :6]), "fewer than 10 shape parameters"),
        (lambda model: model.update(posedirs="text"), "its posedirs is str, not"),
        (lambda model: model.update(v_template=model["v_template"] * np.nan), "its v_template is"),
        (lambda model: model["kintree_table"].__setitem__((0, 3), 30), "a joint comes before its parent"),
    ],
)
def test_a_file_that_is_no_model(tmp_path, model, change, sentence):
    changed = {name: array.copy() for name, array in model.items()}
    change(changed)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(changed))
    with pytest.raises(PoseFactoryError, match=sentence):
        body.read_model(path)


def test_damaged_files(tmp_path, official):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    with pytest.raises(PoseFactoryError, match=r"There is no .*docs/models\.md"):
        body.read_model(path)
    content = official.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"<html>404</html>", pickle.dumps([1])):
        path.write_bytes(damaged)
        with pytest.raises(PoseFactoryError, match="Cannot read|is not an SMPL model"):
            body.read_model(path)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(PoseFactoryError, match="Cannot read"):
        body.read_model(tmp_path / "a.npz")
    with pytest.raises(PoseFactoryError, match="its regressor is 3, not 19 x 6890"):
        path.write_bytes(pickle.dumps(np.zeros(3)))
        body.read_regressor(path)


def test_a_sparse_matrix_with_indices_beyond_its_end(tmp_path, model):
    """SciPy's own code would read beyond the array."""
    changed = dict(model)
    matrix = scipy.sparse.csc_matrix(model["J_regressor"])
    matrix.indices[5] = 10**6
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(changed | {"J_regressor": matrix}))
    with pytest.raises(PoseFactoryError, match="J_regressor has no values"):
        body.read_model(path)
