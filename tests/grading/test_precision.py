"""A right answer in single precision earns its points, a wrong one does not, and one that computes in double is not
judged by less."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_lib.grading.hidden import Hidden, judge, task
from tests.properties import assert_same

SCALE = torch.tensor([0.1])  # a constant, as a notebook makes it


@task("task_07_1", hint="")
def scaled(student, draw):
    x = draw.normal(*draw.primes(2)).requires_grad_()
    result = student.scaled(x)
    assert_same(result, x * 0.1)
    assert_same(*torch.autograd.grad(result.sum(), [x]), torch.full_like(x, 0.1))


@task("task_07_1", hint="", double=True)
def scaled_exactly(student, draw):
    x = draw.normal(*draw.primes(2))
    assert_same(student.scaled(x), x * 0.1)


def failed(answer, *tests) -> bool:
    hidden = Hidden([test.mark for test in tests], [])
    return any(verdict.error for verdict in judge(hidden, SimpleNamespace(scaled=answer), seed="a seed"))


RIGHT = {
    "in double": lambda x: x * 0.1,
    "with a constant": lambda x: x * SCALE,
    "in float": lambda x: x.float() * 0.1,
    "in a matrix that cannot be mixed": lambda x: x @ (0.1 * torch.eye(x.shape[-1], dtype=torch.float32)),
}
WRONG = {
    "a thousandth off": lambda x: x.float() * 0.1001,
    "a little off, in double": lambda x: x * (0.1 + 1e-8),
    "zeros": lambda x: torch.zeros_like(x).float(),
    "one value off": lambda x: (x * SCALE).index_add(0, torch.tensor([0]), 1e-4 * torch.ones_like(x[:1])),
    "half precision": lambda x: (x * 0.1).half(),
    "not a number": lambda x: x.float() * float("nan"),
    "another shape": lambda x: (x.float() * 0.1)[None],
    "without its gradient": lambda x: x.detach().float() * 0.1,
}


@pytest.mark.parametrize("answer", RIGHT.values(), ids=RIGHT)
def test_a_right_answer_passes_at_its_own_precision(answer):
    assert not failed(answer, scaled)


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_does_not_pass_by_computing_in_single_precision(answer):
    assert failed(answer, scaled)


def test_a_test_about_double_precision_asks_for_it():
    assert failed(RIGHT["with a constant"], scaled_exactly) and not failed(RIGHT["in double"], scaled_exactly)


@task("task_07_1", hint="")
def module(student, draw):
    net, x = student.scaled(3).double(), draw.normal(2, 3)
    net.load_state_dict({"shift": (shift := draw.normal(3))})
    assert_same(net(x), x * 0.1 + shift)


class Scaled(nn.Module):
    """A module whose buffer was made in single precision; ``slope`` 1 is right."""

    def __init__(self, channels, slope=1.0):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("scale", torch.tensor(0.1 * slope), persistent=False)

    def forward(self, x):
        return x * self.scale + self.shift


def test_a_module_with_a_buffer_of_its_own():
    assert not failed(Scaled, module)
    assert failed(lambda channels: Scaled(channels, slope=1.001), module)
