"""The published checkpoint's format: read without its configuration's classes, and without running what is in it."""

import importlib
import os
import pickle
import re
import shutil
import subprocess
import sys

import pytest
import torch
from hmr2_files import TINY, state_dict, write_checkpoint

from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2 import checkpoint
from pose_factory.hmr2.network import Sizes


class Hostile:
    """Unpickled, it calls something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refusal(path) -> str:
    """The sentence with which a checkpoint is refused."""
    with pytest.raises(PoseFactoryError) as caught:
        checkpoint.load(path)
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence and sentence.endswith(".")
    return sentence


def test_a_lightning_checkpoint(tmp_path):
    weights = state_dict()
    path = write_checkpoint(tmp_path / "a.ckpt", weights)
    with pytest.raises(pickle.UnpicklingError):  # why torch's own restricted unpickler is not enough
        torch.load(path, weights_only=True)
    network = checkpoint.load(path)
    loaded = network.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    assert not network.training and not any(each.requires_grad for each in network.parameters())
    assert Sizes.of({name: tensor.shape for name, tensor in loaded.items()}) == TINY


def test_weights_in_half_precision_become_single(tmp_path):
    path = write_checkpoint(tmp_path / "a.ckpt", {name: tensor.half() for name, tensor in state_dict().items()})
    assert {tensor.dtype for tensor in checkpoint.load(path).state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("where", ["state_dict", "hyper_parameters"])
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch ran",), "posix.system"),
        (eval, ("open('ran', 'w').close()",), "builtins.eval"),
        (exec, ("open('ran', 'w').close()",), "builtins.exec"),
        (shutil.copy, ("hostile.ckpt", "ran"), "shutil.copy"),
        (subprocess.call, (["touch", "ran"],), "subprocess.call"),
    ],
)
def test_a_hostile_checkpoint_runs_nothing(tmp_path, monkeypatch, where, function, arguments, named):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": state_dict()}
    content.setdefault(where, {})["innocent"] = Hostile(function, *arguments)
    torch.save(content, "hostile.ckpt")
    torch.load("hostile.ckpt", weights_only=False)
    assert os.path.exists("ran")  # the attack works where nothing guards
    os.unlink("ran")
    assert f"wants to run {named}" in refusal(tmp_path / "hostile.ckpt")
    assert not os.path.exists("ran")


def test_an_unknown_package_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stranger.py").write_text(
        "open('ran', 'w').close()\nclass Config(dict): pass\ndef run(): open('ran', 'w').close()\n"
    )
    stranger = importlib.import_module("stranger")
    content = {"state_dict": state_dict(), "config": stranger.Config(a=1), "call": Hostile(stranger.run)}
    torch.save(content, "a.ckpt")
    os.unlink("ran")
    monkeypatch.delitem(sys.modules, "stranger")
    checkpoint.load(tmp_path / "a.ckpt")
    assert "stranger" not in sys.modules and not os.path.exists("ran")


def test_another_checkpoint_says_which_keys_differ(tmp_path):
    weights = state_dict()
    for block in ("1.norm1.weight", "1.norm1.bias", "1.norm2.weight", "1.norm2.bias"):
        del weights[f"backbone.blocks.{block}"]
    weights["backbone.cls_token"] = torch.zeros(1, 1, 32)
    weights["smpl_head.deccam.weight"] = torch.zeros(4, 24)
    sentence = refusal(write_checkpoint(tmp_path / "a.ckpt", weights))
    assert "4 missing (backbone.blocks.1.norm1.weight, " in sentence and ", ...)" in sentence
    assert "1 unexpected (backbone.cls_token)" in sentence
    assert "1 misshapen (smpl_head.deccam.weight (4x24 instead of 3x24))" in sentence


def test_no_weights_of_hmr2_at_all(tmp_path):
    torch.save({"state_dict": {"conv.weight": torch.zeros(3)}}, tmp_path / "a.ckpt")
    assert "503 missing (backbone.pos_embed, " in refusal(tmp_path / "a.ckpt")
    torch.save([1, 2], tmp_path / "b.ckpt")
    assert re.search(r"Cannot read .*TypeError", refusal(tmp_path / "b.ckpt"))


def test_attention_that_does_not_divide(tmp_path):
    path = write_checkpoint(tmp_path / "a.ckpt", state_dict(Sizes(**vars(TINY) | {"embed": 40, "heads": 4})))
    assert "do not divide into HMR2's 16 and 8 heads" in refusal(path)


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint(tmp_path, share):
    path = write_checkpoint(tmp_path / "a.ckpt", state_dict())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "is not a whole checkpoint" in refusal(path)


def test_a_damaged_or_absent_checkpoint(tmp_path):
    path = write_checkpoint(tmp_path / "a.ckpt", state_dict())
    content = bytearray(path.read_bytes())
    start = content.index(b"data.pkl") + 100
    content[start : start + 2000] = bytes(2000)
    path.write_bytes(content)
    assert "Cannot read" in refusal(path)
    assert "There is no checkpoint" in refusal(tmp_path / "nowhere.ckpt")
