"""Grades exercise 19 on sizes and values that the student has not seen, and names the mistakes people make."""

from course_lib.grading import task, wrong
from tests.properties import assert_same


@task("task_19_1", hint="FILL IN: all that a student who fails this test reads; never an expected value.")
def test_the_weights_of_a_place_are_its_exponentials_over_their_sum(student, draw):
    n, m = draw.primes(2)
    scores = draw.normal(n, m)
    assert_same(student.weights(scores), scores.exp() / scores.exp().sum(dim=1, keepdim=True))


@task("task_19_2", hint="FILL IN")
def test_a_look_is_the_sum_of_weighted_values(student, draw):
    n, m, d = draw.primes(3)
    weights, values = draw.uniform(n, m), draw.normal(m, d)
    assert_same(student.look(weights, values), (weights[:, :, None] * values).sum(dim=1))


@task("task_19_3", hint="FILL IN")
def test_each_place_asks_all_places(student, draw):
    n, d = draw.primes(2)
    x = draw.normal(n, d)
    shares = (x[:, None] * x).sum(dim=-1).exp()
    assert_same(student.attend(x), (shares[:, :, None] * x).sum(dim=1) / shares.sum(dim=1, keepdim=True))


# FILL IN: at least five wrong answers to each task. The docstring is the sentence that its author should read.


@wrong("task_19_1")
def weights__over_the_asking_places(scores):
    """FILL IN: Your weights sum to 1 over the asking places; they must sum to 1 for each of them."""
    return scores.softmax(dim=0)


@wrong("task_19_2")
def look__without_weights(weights, values):
    """FILL IN: You average the values; blend them by the weights."""
    return values.mean(dim=0).expand(len(weights), -1)


@wrong("task_19_3")
def attend__without_weights(x):
    """FILL IN: Your scores are no weights yet; they must sum to 1."""
    return x @ x.mT @ x
