import pytest
import torch
from torch import nn
from tqdm.notebook import tqdm as notebook_tqdm

from course_lib import training
from course_lib.training import accuracy, fit, predict, repeat
from tests.properties import features


def two_clouds():
    targets = torch.arange(200) % 2
    return features(200, 3).float() + 3 * targets[:, None], targets


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


class Interrupted(nn.Linear):
    """Stopped by its user before the call after ``steps``."""

    def __init__(self, steps):
        torch.manual_seed(0)
        super().__init__(3, 2)
        self.steps = steps

    def forward(self, x):
        self.steps -= 1
        if self.steps < 0:
            raise KeyboardInterrupt
        return super().forward(x)


def test_learns_and_reports_a_loss_for_every_step():
    inputs, targets = two_clouds()
    model = linear()
    losses = fit(model, inputs, targets, steps=100, learning_rate=0.1)
    assert len(losses) == 100 and losses[-1] < losses[0] / 2
    assert accuracy(model, inputs, targets) > 0.95


@pytest.mark.parametrize("one_cycle,first_step", [(False, 0.1), (True, 0.1 / 25)])
def test_the_rate_stays_or_rises_from_a_twenty_fifth(one_cycle, first_step):
    inputs, targets = two_clouds()
    model = Interrupted(steps=1)
    before = model.weight.clone()
    fit(model, inputs, targets, steps=50, learning_rate=0.1, one_cycle=one_cycle)
    # the first step of Adam moves every number by the learning rate
    assert (model.weight - before).abs().mean().item() == pytest.approx(first_step, rel=0.05)


def test_one_seed_one_result():
    inputs, targets = two_clouds()
    runs = [fit(linear(), inputs, targets, steps=5, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_an_interrupt_keeps_what_was_learned(capsys):
    inputs, targets = two_clouds()
    model = Interrupted(steps=3)
    before = model.weight.clone()
    assert len(fit(model, inputs, targets, steps=50, learning_rate=0.1)) == 3
    assert not torch.equal(model.weight, before)
    assert "stopped after 3 of 50 steps; what was learned is kept" in capsys.readouterr().out


def test_a_loss_that_is_no_number_stops_with_the_cure():
    inputs, targets = two_clouds()
    with pytest.raises(ValueError, match="smaller learning_rate"):
        fit(linear(), inputs * float("nan"), targets, steps=3)
    with pytest.raises(ValueError, match="200 inputs and 199 targets"):
        fit(linear(), inputs, targets[1:], steps=3)


def test_predict_runs_in_eval_mode_batch_by_batch_and_restores_the_mode():
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.9)).train()
    inputs, _ = two_clouds()
    assert torch.allclose(predict(model, inputs, batch_size=7), model[0](inputs))
    assert model.training


def test_accuracy_counts_every_position_but_the_ignored_ones():
    logits = torch.tensor([[[2.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])  # n k positions: classes 0, 1, 1
    assert accuracy(nn.Identity(), logits, torch.tensor([[0, 0, -100]])) == 0.5


def test_repeat_seeds_torch_for_every_run():
    results = repeat(lambda seed: [torch.rand(()).item(), seed], seeds=(3, 4, 3))
    assert results.shape == (3, 2) and torch.equal(results[0], results[2]) and results[0, 0] != results[1, 0]


def test_a_bar_in_a_notebook_leaves_nothing_that_a_comparison_sees(monkeypatch):
    published = []
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr("IPython.display.publish_display_data", published.append)
    monkeypatch.setattr(training, "tqdm", notebook_tqdm)
    assert list(training.progress(range(3), desc="steps")) == [0, 1, 2]
    assert [list(data) for data in published] == [["application/vnd.jupyter.widget-view+json"]]
