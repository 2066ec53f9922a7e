"""``student`` across the boundary: functions, modules, gradients, exceptions, as if they were here."""

import numpy
import pytest
import torch
from torch import nn

from course_lib.grading.assignment import read_assignment
from course_lib.grading.batch import Grader, Settings
from course_lib.grading.proxy import RemoteModule, Student, StudentError
from course_lib.grading.sandbox.host import Gone, Sandbox, Worker
from tests.grading.small import SLUG, small_course

CODE = """
import torch
from torch import nn

SCALE = 2.5
CALLS = []

def double(x): return 2 * x
def split(x, *, at=1): return x[:at], {"rest": x[at:], "at": at, 3: None}
def sizes(x): return x.shape
def grow(x): x.add_(1); return x
def poke(x): x.data.mul_(3); return x + 0
def detached(x): return x.detach()
def noise(n): return torch.randn(n)
def fail(kind): raise {"value": ValueError, "own": Own, "zero": ZeroDivisionError}[kind]("no such thing")
def collect(x): out = torch.zeros(len(x)); out[:] = x; return out
def ones(n): return torch.ones(n)
def keyword(x, *, scale): return x * scale
def with_module(module, x): return module(x) * 2
def make_adder(n): return lambda x: x + n
def arrays(x): return x.numpy() * 2
def both(x): return x * 2, x.detach() * 3, (x * 4).round().long()

class Own(ValueError): pass

class Net(nn.Module):
    def __init__(self, channels, dtype=torch.float32):
        super().__init__()
        self.channels = channels
        self.inner = nn.Sequential(nn.Linear(channels, 3, dtype=dtype), nn.BatchNorm1d(3))
        self.out = nn.Linear(3, 2, bias=False)
    def hidden(self, x): return self.inner(x)
    def forward(self, x): return self.out(self.hidden(x).relu())

class Counter:
    def __init__(self): self.n = 0
    def add(self, k): self.n += k; return self.n
"""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(memory=1.5) as sandbox:
        yield sandbox


@pytest.fixture
def worker(sandbox) -> Worker:
    worker = sandbox.spawn()
    yield worker
    worker.end()


@pytest.fixture
def student(worker) -> Student:
    assert worker.ask({"op": "cell", "name": "cell", "source": CODE}, 20) == {}
    names = worker.ask({"op": "names"}, 20)["names"]
    worker.ask({"op": "fresh", "seed": 1}, 20)
    return Student(lambda request: worker.ask(request, 20), names)


def test_functions_take_and_give_plain_data(student):
    x = torch.arange(4.0)
    assert torch.equal(student.double(x), 2 * x)
    first, rest = student.split(x, at=2)
    assert torch.equal(first, x[:2]) and torch.equal(rest["rest"], x[2:]) and rest["at"] == 2 and rest[3] is None
    assert student.sizes(torch.zeros(2, 3)) == (2, 3)
    assert isinstance(student.arrays(x), numpy.ndarray) and student.SCALE == 2.5
    assert torch.equal(student.keyword(x, scale=3), 3 * x)


def test_chance_is_the_same_each_time(student):
    assert torch.equal(student.noise(3), torch.randn(3, generator=torch.Generator().manual_seed(1)))


def test_what_an_answer_collects_in_is_as_precise_as_its_arguments(student):
    for dtype in (torch.float64, torch.float32, torch.float64):
        x = torch.rand(3, dtype=dtype)
        assert torch.equal(student.collect(x), x) and student.collect(x).dtype == dtype
    assert student.ones(2).dtype == torch.float32


def test_gradients_cross(student):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    (student.double(x) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, 8 * x.detach())
    assert torch.autograd.gradcheck(student.double, [x])
    assert not student.detached(x).requires_grad
    with torch.no_grad():
        assert not student.double(x).requires_grad
    twice, apart, whole = student.both(x)
    assert twice.requires_grad and not apart.requires_grad and whole.dtype == torch.int64
    twice.sum().backward()


def test_an_argument_that_is_changed_is_spoilt_and_one_that_is_not_stays(student):
    for function in (student.grow, student.poke):
        x = torch.ones(3)
        function(x)
        assert x.isnan().all()
    x, nan = torch.ones(3), torch.tensor([1.0, float("nan")])
    student.double(x), student.double(nan)
    assert torch.equal(x, torch.ones(3)) and nan[0] == 1
    whole = torch.tensor([0, 5])
    with pytest.raises(StudentError):
        student.grow(whole > 1)  # cannot add to booleans: raises over there
    student.grow(whole)
    assert not torch.equal(whole, torch.tensor([0, 5]))


def test_exceptions_are_the_built_in_ones(student):
    with pytest.raises(ValueError, match="no such thing"):
        student.fail("value")
    with pytest.raises(ValueError) as error:
        student.fail("own")  # a class of the student's own comes as what it derives from
    assert isinstance(error.value, StudentError)
    with pytest.raises(ZeroDivisionError):
        student.fail("zero")
    with pytest.raises(AttributeError, match="not defined"):
        student.nothing(1)


def reference() -> nn.Module:
    inner = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    net = nn.ModuleDict({"inner": inner, "out": nn.Linear(3, 2, bias=False)}).double()
    net.forward = lambda x: net["out"](net["inner"](x).relu())
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return net


def test_a_module_is_compared_on_weights_of_this_side(student):
    expected, actual = reference(), student.Net(4).double()
    assert isinstance(actual, RemoteModule) and isinstance(actual, nn.Module) and actual.channels == 4
    actual.load_state_dict(expected.state_dict())
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    for mode in (True, False):
        actual.train(mode), expected.train(mode)
        torch.testing.assert_close(actual(x), expected.forward(x))
    torch.testing.assert_close(dict(actual.named_buffers()), dict(expected.named_buffers()))
    (ours,) = torch.autograd.grad(actual(x).square().sum(), [x])
    (theirs,) = torch.autograd.grad(expected.forward(x).square().sum(), [x])
    torch.testing.assert_close(ours, theirs)


def test_every_parameter_gets_its_gradient(student):
    expected, actual = reference(), student.Net(4).double()
    actual.load_state_dict(expected.state_dict())
    x = torch.randn(5, 4, dtype=torch.float64)
    actual(x).square().sum().backward()
    expected.forward(x).square().sum().backward()
    for (name, one), (other, two) in zip(actual.named_parameters(), expected.named_parameters(), strict=True):
        assert name == other
        torch.testing.assert_close(one.grad, two.grad)


def test_parts_methods_and_modules_as_arguments(student):
    net = student.Net(4, dtype=torch.float32).eval()
    x = torch.randn(2, 4)
    torch.testing.assert_close(net.out(net.hidden(x).relu()), net(x))
    torch.testing.assert_close(net.inner(x), net.hidden(x))
    torch.testing.assert_close(student.with_module(net, x), 2 * net(x))
    with torch.no_grad():
        net.out.weight.zero_()
    assert torch.equal(student.with_module(net, x), torch.zeros(2, 2))


def test_objects_and_functions_stay_there_and_can_be_used(student):
    counter = student.Counter()
    assert counter.add(2) == 2 and counter.add(3) == 5 and counter.n == 5
    assert student.make_adder(3)(4) == 7


def test_a_parameter_moves_by_an_optimiser_of_this_side(student):
    net = student.Net(4)
    before = net.out.weight.detach().clone()
    torch.optim.SGD(net.parameters(), lr=1.0).step(lambda: net(torch.randn(3, 4)).sum().backward())
    assert not torch.equal(net.out.weight, before)


def test_a_late_worker_is_dead_and_says_so(worker):
    with pytest.raises(Gone) as gone:
        worker.ask({"op": "cell", "name": "x", "source": "while True: pass"}, 0.3)
    assert gone.value.why == "timeout"
    with pytest.raises(Gone):
        worker.ask({"op": "names"}, 1)


def test_the_zygote_is_started_again_when_it_dies(sandbox):
    sandbox.process.kill()
    sandbox.process.wait()
    worker = sandbox.spawn()
    assert worker.ask({"op": "cell", "name": "x", "source": "1"}, 20) == {}
    worker.end()


def test_a_module_that_the_test_builds_from_names_of_python_is_refused(student, worker):
    patch = "worker.describe = lambda m: dict(parts=[], parameters=dict(forward=1))"
    worker.ask({"op": "cell", "name": "x", "source": f"from course_lib.grading.sandbox import worker\n{patch}"}, 20)
    from course_lib.grading.sandbox.frames import BadFrame

    with pytest.raises(BadFrame):
        student.Net(4)


# The named wrong answers of the exercise, and the whole path of one submission


def test_each_named_wrong_answer_is_recognised_in_a_submission(tmp_path):
    from course_lib.grading.batch import Job
    from tests.grading.small import answered

    grader = Grader(Settings(SLUG, "s", memory=1.5), small_course(tmp_path))
    try:
        for name, source, task in (
            ("softmax__over_the_first_axis", "def softmax(z):\n    return torch.softmax(z, dim=0)\n", 0),
            ("mean__of_rows", "def mean(values):\n    return sum(values.flatten())\n", 1),
            ("", "def mean(values):\n    return values.max()\n", 1),
        ):
            record = grader.grade(Job("s", "", "s.ipynb", answered({task + 1: source})))
            assert record.tasks[task].mistake == name and record.tasks[task].earned == 0
            assert sum(mark.earned == 0 for mark in record.tasks) == 1
    finally:
        grader.close()


def test_the_assignment_knows_what_the_exercise_says(tmp_path):
    assignment = read_assignment(SLUG, small_course(tmp_path))
    assert [(task.name, task.title, task.points) for task in assignment.tasks][:2] == [
        ("task_07_1", "Softmax", 2),
        ("task_07_2", "The mean", 1),
    ]
    assert assignment.points == 7 and set(assignment.modules) == {"torch", "course_lib.exercises"}
    assert "raise NotImplementedError" in assignment.stubs["task_07_2"]
