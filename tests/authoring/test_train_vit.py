import numpy as np
import pytest
import torch

from course_lib.authoring import train_vit
from course_lib.models import small_vit


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return small_vit(64, 8, channels=3, width=8, depth=1)


def test_training_moves_every_weight(vit, monkeypatch):
    monkeypatch.setattr(train_vit, "BATCH", 4)
    monkeypatch.setattr(train_vit, "ROUND", 2)
    before = {name: weights.clone() for name, weights in vit.state_dict().items()}
    train_vit.train(vit, 16)
    assert [name for name, weights in vit.state_dict().items() if weights.equal(before[name])] == []


def test_the_file_holds_the_weights_in_half_precision(vit, tmp_path):
    train_vit.save(vit, tmp_path / "vit.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["vit.npz"]
    with np.load(tmp_path / "vit.npz") as file:
        assert set(file) == set(vit.state_dict()) and {file[name].dtype for name in file} == {np.dtype("float16")}
        torch.testing.assert_close(torch.from_numpy(file["class_token"]).float(), vit.class_token.data)
