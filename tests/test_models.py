import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.data.digits import load_digits
from course_lib.data.pasted_digits import pasted_digits
from course_lib.models import ConvolutionalStem, ResidualBlock, SmallCNN, small_vit, stem_vit, trained_vit
from course_lib.recording import record_attention
from course_lib.spatial.vision_transformer import rollout
from course_lib.training import accuracy, fit
from tests.properties import assert_same, features, randomise


def test_the_slot_stands_on_the_branch_before_the_addition():
    class Zero(nn.Module):
        def forward(self, x):
            return 0 * x

    x = features(2, 6, 5, 7)
    assert_same(randomise(ResidualBlock(6, Zero()))(x), x.relu())
    block = randomise(ResidualBlock(6, nn.Identity()))
    assert_same(block(x), (x + block.branch(x)).relu())


def test_every_block_gets_a_mechanism_of_its_own():
    model = SmallCNN(3, 5, width=8, blocks=3, slot=lambda c: SqueezeExcitation(c, reduction=2)).eval()
    with record_attention(model) as maps:
        assert model(torch.zeros(2, 3, 16, 20)).shape == (2, 5)
    assert [one[0].shape for one in maps.values()] == [(2, 8, 1, 1)] * 3


@pytest.mark.parametrize("pool,positions", [("max", 1), ("average", 1), ("none", 8 * 10)])
def test_heads(pool, positions):
    model = SmallCNN(1, 4, width=8, pool=pool, positions=positions)
    assert model(torch.zeros(2, 1, 16, 20)).shape == (2, 4)
    with pytest.raises(ValueError, match="average, max, none"):
        SmallCNN(1, 4, pool="mean")


@pytest.mark.parametrize("model", [lambda: SmallCNN(1, 10, width=12, blocks=2), lambda: small_vit(8, 2)])
def test_learns_digits_in_seconds(model):
    digits = load_digits()
    torch.manual_seed(0)
    model = model()
    fit(model, digits.train_images[:, None], digits.train_labels, steps=150, learning_rate=4e-3, batch_size=96)
    assert accuracy(model, digits.test_images[:, None], digits.test_labels) > 0.85


def test_the_stem_makes_one_token_for_each_square_row_by_row():
    stem, x = randomise(ConvolutionalStem(3, 12)), features(2, 3, 16, 24)
    assert stem(x).shape == (2, 6, 12)
    changed = x.clone()
    changed[:, :, 10, 21] += 1  # in the second row, third column of squares
    assert (stem(changed) - stem(x))[0].abs().amax(dim=1).argmax() == 5


def test_the_shipped_vit_reads_and_finds_digits_that_it_never_saw():
    made = pasted_digits(200, test=True, seed=3)
    vit = trained_vit()
    assert not vit.training and accuracy(vit, made.images, made.labels) > 0.8
    inside = F.avg_pool2d(made.squares[:, None].float(), 8).flatten(1)  # b n

    def found(model):
        with torch.no_grad():
            weights = rollout(model.attention(made.images))[:, 0, 1:]
        return ((weights * inside).sum(1) / weights.sum(1)).mean()

    torch.manual_seed(0)
    assert found(vit) > 1.5 * inside.mean() and abs(found(stem_vit().eval()) - inside.mean()) < 0.05
