"""What a task is to be answered without is found however an answer comes by it, and only if the answer uses it."""

import pytest
import torch

from course_lib.grading.forbidden import forbidden_use, names_in
from course_lib.grading.sandbox.guard import Forbidden, guard

PRELUDE = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
USES = {
    "an attribute": "def answer(x, w):\n    return F.conv1d(x, w)",
    "the whole path": "def answer(x, w):\n    return torch.nn.functional.conv1d(x, w)",
    "another name": "from torch.nn.functional import conv1d as helper\ndef answer(x, w):\n    return helper(x, w)",
    "a star": "from torch.nn.functional import *\ndef answer(x, w):\n    return conv1d(x, w)",
    "an import inside": "def answer(x, w):\n    from torch import conv1d as c\n    return c(x, w)",
    "a helper of a helper": "def one(*a): return F.conv1d(*a)\ndef two(*a): return one(*a)\n"
    "def answer(x, w): return two(x, w)",
    "a lambda": "f = lambda *a: F.conv1d(*a)\ndef answer(x, w):\n    return f(x, w)",
    "getattr": "def answer(x, w):\n    return getattr(F, 'conv1d')(x, w)",
    "exec": "def answer(x, w):\n    exec('y = F.conv1d(x, w)')",
    "an assignment": "answer = F.conv1d",
    "a name from the top": "def answer(x):\n    global w\n    w = helper\n    return w(x)\nhelper = F.conv1d",
    "a default": "f = F.conv1d\ndef answer(x, w, by=f):\n    return by(x, w)",
    "a name that a class takes over": "helper = F.conv1d\nclass answer:\n    helper = helper\n"
    "    def forward(self, x, w):\n        return self.helper(x, w)",
    "in an if": "if True:\n    def answer(x, w):\n        return F.conv1d(x, w)",
    "a method put in later": "class answer:\n    pass\nanswer.forward = lambda s, x, w: F.conv1d(x, w)",
    "after a magic": "%matplotlib inline\ndef answer(x, w):\n    return F.conv1d(x, w)",
}
FREE = {
    "a comparison beside it": "def answer(x):\n    return x\nprint(answer(torch.ones(1)) == F.conv1d(x, w))",
    "another answer": "def other(x, w):\n    return F.conv1d(x, w)\ndef answer(x):\n    return x",
    "variables of a check that are called as its parameters": "def answer(x, w):\n    return x * w\n"
    "with open('check'):\n    x, w = torch.ones(2)\n    assert F.conv1d(x, w) is not None",
    "in words": "def answer(x):\n    '''Like conv1d, but by hand.'''\n    return x  # not F.conv1d(x)",
    "a helper of its own called so": "def conv1d(x): return x\ndef answer(x, w):\n    return conv1d(x)",
}


@pytest.mark.parametrize("code", USES.values(), ids=USES)
def test_it_is_found(code):
    assert forbidden_use([PRELUDE, code], {"answer"}, ["autograd", "conv1d"]) == "conv1d"


@pytest.mark.parametrize("code", FREE.values(), ids=FREE)
def test_what_the_answer_does_not_use_is_free(code):
    assert forbidden_use([PRELUDE, code], {"answer"}, ["autograd", "conv1d"]) == ""


def test_the_library_counts_imported_and_pasted():
    imported = "from course_lib.channel.efficient_channel import EfficientChannelAttention as answer"
    assert forbidden_use([imported], {"answer"}, ["course_lib"]) == "course_lib"
    pasted = """
class answer(nn.Module):
    def attend(self, images):
        values = images.mean(dim=(2, 3))
        return self.layer(values[:, None]).squeeze(1).sigmoid()[..., None, None]
"""
    assert forbidden_use([PRELUDE, pasted], {"answer"}, ["course_lib"]) == ""


def test_the_library_s_own_functions_are_known_under_other_names():
    import ast
    import inspect

    from course_lib.basics.addressing import masked_softmax

    source = inspect.getsource(masked_softmax)
    renamed = source.replace("scores", "numbers").replace("attn_mask", "seen").replace("masked_softmax", "answer")
    ast.parse(renamed)
    assert forbidden_use([PRELUDE, renamed], {"answer"}, ["course_lib"]) == "the library's code"


def test_names_of_a_stub():
    assert names_in("def f(x):\n    y = 1\nclass G: pass\n") == {"f", "G"}


def test_the_worker_refuses_what_the_tree_does_not_show():
    hidden = getattr(torch.nn.functional, "conv" + "1d")
    x, w = torch.ones(1, 1, 3), torch.ones(1, 1, 1, requires_grad=True)
    with guard(["conv1d"]), pytest.raises(Forbidden, match="without conv1d"):
        hidden(x, w)
    with guard(["autograd"]):
        y = hidden(x, w).sum()
        with pytest.raises(Forbidden):
            y.backward()
        with pytest.raises(Forbidden):
            torch.autograd.grad(y, [w])
    with guard([]):
        hidden(x, w).sum().backward()


def test_the_worker_refuses_the_library_by_any_way():
    from course_lib.basics.addressing import dot_score

    with guard(["course_lib"]), pytest.raises(Forbidden, match="course_lib"):
        dot_score(torch.ones(2, 3), torch.ones(4, 3))
    assert dot_score(torch.ones(2, 3), torch.ones(4, 3)).shape == (2, 4)
