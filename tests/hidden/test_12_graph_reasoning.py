"""Grades exercise 12 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch

from course_lib.grading import task, wrong
from tests.properties import assert_same, number

# --- task 1: two sizes in one batch ---


def there_and_back_by_loops(x, assignment, talk, real):
    """Pixel by pixel and node by node: b c n -> b c n."""
    y = torch.zeros_like(x)
    for image, weights, told, who in zip(x, assignment, y, real, strict=True):
        pixels = [j for j in range(len(who)) if who[j]]
        nodes = [sum((w[j] * image[:, j] for j in pixels), image.new_zeros(len(image))) for w in weights]
        nodes = [node / max(len(pixels), 1) for node in nodes]
        heard = [
            node + sum(a * other for a, other in zip(row, nodes, strict=True))
            for node, row in zip(nodes, talk, strict=True)
        ]
        for i in pixels:
            told[:, i] = sum(w[i] * node for w, node in zip(weights, heard, strict=True))
    return y


@task("task_12_1", without=("course_lib",), hint="Padding neither writes nor reads, and each image has its own N.")
def test_the_way_there_and_back_equals_the_loops(student, draw):
    b, c, m, n = draw.primes(4, high=13)
    x, assignment, talk, real = draw.normal(b, c, n), draw.normal(b, m, n), draw.normal(m, m), draw.mask(b, n)
    assert_same(student.there_and_back(x, assignment, talk, real), there_and_back_by_loops(x, assignment, talk, real))


@task("task_12_1", hint="Images without padding, images that are nothing else, and padding that holds no number.")
def test_full_and_empty_images(student, draw):
    c, m, n = draw.primes(3, high=13)
    x, assignment, talk = draw.normal(4, c, n), draw.normal(4, m, n), draw.normal(m, m)
    real = torch.arange(n) < torch.tensor([n, 0, n - 1, 1])[:, None]
    expected = there_and_back_by_loops(x, assignment, talk, real)
    x[2, :, -1] = math.inf
    assert_same(student.there_and_back(x, assignment, talk, real), expected)


def _there(x, assignment, talk, real, *, count=None, write=True, read=True, turn=False, own=True):
    """The right answer with the parts that a wrong answer exchanges."""
    masked = torch.where(real[:, None], assignment, 0.0)
    x = torch.where(real[:, None], x, 0.0) if write else x
    n = real.sum(dim=1).clamp(min=1)[:, None, None] if count is None else count
    nodes = (masked if write else assignment) @ x.mT / n
    told = (talk.mT if turn else talk) @ nodes
    nodes = nodes + told if own else told
    return nodes.mT @ (masked if read else assignment)


@wrong("task_12_1")
def there_and_back__padding_counts(x, assignment, talk, real):
    """The sums were divided by n, padding included; N is the number of real pixels."""
    return _there(x, assignment, talk, real, count=x.shape[2])


@wrong("task_12_1")
def there_and_back__padding_writes(x, assignment, talk, real):
    """The rubbish of the padding reached the nodes."""
    return _there(x, assignment, talk, real, write=False)


@wrong("task_12_1")
def there_and_back__padding_reads(x, assignment, talk, real):
    """Pixels of the padding read from the nodes; they must get 0."""
    return _there(x, assignment, talk, real, read=False)


@wrong("task_12_1")
def there_and_back__a_sum(x, assignment, talk, real):
    """The nodes are sums; they must be averages."""
    return _there(x, assignment, talk, real, count=1)


@wrong("task_12_1")
def there_and_back__counts_the_batch(x, assignment, talk, real):
    """All images were divided by one number; each has its own N."""
    return _there(x, assignment, talk, real, count=real.sum() / len(real))


@wrong("task_12_1")
def there_and_back__talk_turned(x, assignment, talk, real):
    """The talk runs the wrong way: row k of A_g says whom node k listens to."""
    return _there(x, assignment, talk, real, turn=True)


@wrong("task_12_1")
def there_and_back__only_the_others(x, assignment, talk, real):
    """A node forgot what it held itself: I + A_g, not A_g."""
    return _there(x, assignment, talk, real, own=False)


@wrong("task_12_1")
def there_and_back__empty_is_nan(x, assignment, talk, real):
    """An image without a real pixel divided 0 by 0."""
    return _there(x, assignment, talk, real, count=real.sum(dim=1)[:, None, None])


@wrong("task_12_1")
def there_and_back__mask_by_product(x, assignment, talk, real):
    """The mask was multiplied with x: 0 · ∞ is no number."""
    nodes = (assignment * real[:, None]) @ x.mT / real.sum(dim=1).clamp(min=1)[:, None, None]
    return (nodes + talk @ nodes).mT @ (assignment * real[:, None])


# --- task 2: what one pixel tells another ---


def pixel_to_pixel_by_units(assignment, talk):
    """Send a 1 from each pixel in turn, and see what arrives: n n."""
    columns = []
    for j in range(assignment.shape[1]):
        nodes = assignment[:, j] / assignment.shape[1]
        nodes = nodes + torch.stack([row @ nodes for row in talk])
        columns.append(torch.stack([pixel @ nodes for pixel in assignment.mT]))
    return torch.stack(columns, dim=1)


@task("task_12_2", without=("course_lib",), hint="Send a 1 from one pixel: what arrives is a column of M.")
def test_the_matrix_equals_what_arrives(student, draw):
    m, n = sorted(draw.primes(2, high=13))
    assignment, talk = draw.normal(m, n), draw.normal(m, m)
    heard, most = student.pixel_to_pixel(assignment, talk)
    assert_same(heard, pixel_to_pixel_by_units(assignment, talk))
    assert number(most) == m


@task("task_12_2", hint="More nodes than pixels.")
def test_more_nodes_than_pixels(student, draw):
    n, m = sorted(draw.primes(2, high=13))
    assignment, talk = draw.normal(m, n), draw.normal(m, m)
    heard, most = student.pixel_to_pixel(assignment, talk)
    assert_same(heard, pixel_to_pixel_by_units(assignment, talk))
    assert number(most) == n


def _heard(assignment, talk, *, count=None, own=True, turn=False, most=None, read=None):
    """The right answer with the parts that a wrong answer exchanges."""
    m, n = assignment.shape
    told = (talk.mT if turn else talk) @ assignment
    nodes = assignment + told if own else told
    read = assignment if read is None else read
    return read.mT @ nodes / (n if count is None else count), min(m, n) if most is None else most


@wrong("task_12_2")
def pixel_to_pixel__turned(assignment, talk):
    """Rows and columns are exchanged: the hearing pixel stands in the rows."""
    return _heard(assignment, talk, turn=True)


@wrong("task_12_2")
def pixel_to_pixel__not_divided(assignment, talk):
    """The division by N is lost."""
    return _heard(assignment, talk, count=1)


@wrong("task_12_2")
def pixel_to_pixel__divided_by_the_nodes(assignment, talk):
    """It was divided by the number of nodes, not of pixels."""
    return _heard(assignment, talk, count=len(assignment))


@wrong("task_12_2")
def pixel_to_pixel__without_the_identity(assignment, talk):
    """I + A_g became A_g: what a node holds itself is lost."""
    return _heard(assignment, talk, own=False)


@wrong("task_12_2")
def pixel_to_pixel__minus(assignment, talk):
    """The sign of A_g is turned; here it is I + A_g."""
    return _heard(assignment, -talk)


@wrong("task_12_2")
def pixel_to_pixel__softmax(assignment, talk):
    """A softmax was put over the nodes; GloRe's assignment has none."""
    return _heard(assignment.softmax(dim=0), talk)


@wrong("task_12_2")
def pixel_to_pixel__rank_of_the_pixels(assignment, talk):
    """The rank cannot be n where fewer nodes stand between the pixels."""
    return _heard(assignment, talk, most=assignment.shape[1])


@wrong("task_12_2")
def pixel_to_pixel__rank_of_the_nodes(assignment, talk):
    """The rank cannot be m where there are fewer pixels than nodes."""
    return _heard(assignment, talk, most=len(assignment))


# --- task 3: repair a block that mixes up its places ---


def reasoning_by_loops(x, theta, phi, talk, extend):
    """Pixel by pixel, for one image: c h w -> c h w."""
    _, h, w = x.shape
    pixels = [x[:, i, j] for i in range(h) for j in range(w)]
    weights = [theta @ pixel for pixel in pixels]
    states = [phi @ pixel for pixel in pixels]
    nodes = [sum(b[k] * s for b, s in zip(weights, states, strict=True)) / (h * w) for k in range(len(theta))]
    heard = [
        node + sum(a * other for a, other in zip(row, nodes, strict=True))
        for node, row in zip(nodes, talk, strict=True)
    ]
    y = torch.empty_like(x)
    for place, b in enumerate(weights):
        y[:, place // w, place % w] = extend @ sum(b[k] * z for k, z in enumerate(heard))
    return x + y


@task("task_12_3", without=("course_lib",), hint="An average over the positions, and each pixel gets its own answer.")
def test_the_repaired_block_equals_the_loops(student, draw):
    c, m, s, h, w = draw.primes(5, high=13)
    x, theta, phi = draw.normal(3, c, h, w), draw.normal(m, c), draw.normal(s, c)
    talk, extend = draw.normal(m, m), draw.normal(c, s)
    expected = torch.stack([reasoning_by_loops(image, theta, phi, talk, extend) for image in x])
    assert_same(student.global_reasoning(x, theta, phi, talk, extend), expected)


def _reasoning(x, theta, phi, talk, extend, *, count=None, back=None, turn=False, own=True):
    """The right answer with the parts that a wrong answer exchanges."""
    pixels = x.flatten(2)
    assignment = theta @ pixels
    nodes = assignment @ (phi @ pixels).mT / (pixels.shape[2] if count is None else count)
    told = (talk.mT if turn else talk) @ nodes
    y = assignment.mT @ (nodes + told if own else told) @ extend.mT  # b n c
    return x + (y.mT.reshape(x.shape) if back is None else back(y, x))


def _scrambled(y, x):
    return y.reshape(x.shape)


@wrong("task_12_3")
def global_reasoning__not_repaired(x, theta, phi, talk, extend):
    """Nothing was repaired."""
    return _reasoning(x, theta, phi, talk, extend, count=len(theta), back=_scrambled)


@wrong("task_12_3")
def global_reasoning__still_scrambled(x, theta, phi, talk, extend):
    """The answers still land at the wrong places: b n c was reshaped as if it were b c n."""
    return _reasoning(x, theta, phi, talk, extend, back=_scrambled)


@wrong("task_12_3")
def global_reasoning__still_the_nodes(x, theta, phi, talk, extend):
    """The sum over positions is still divided by the number of nodes."""
    return _reasoning(x, theta, phi, talk, extend, count=len(theta))


@wrong("task_12_3")
def global_reasoning__a_sum(x, theta, phi, talk, extend):
    """The division was taken away; the nodes must be averages over the positions."""
    return _reasoning(x, theta, phi, talk, extend, count=1)


@wrong("task_12_3")
def global_reasoning__divided_by_the_channels(x, theta, phi, talk, extend):
    """It is divided by the number of channels."""
    return _reasoning(x, theta, phi, talk, extend, count=x.shape[1])


@wrong("task_12_3")
def global_reasoning__rows_for_columns(x, theta, phi, talk, extend):
    """h and w are exchanged on the way back."""
    return _reasoning(
        x, theta, phi, talk, extend, back=lambda y, x: y.mT.reshape(*x.shape[:2], x.shape[3], x.shape[2]).mT
    )


@wrong("task_12_3")
def global_reasoning__talk_turned(x, theta, phi, talk, extend):
    """The talk was turned; that part was right."""
    return _reasoning(x, theta, phi, talk, extend, turn=True)


@wrong("task_12_3")
def global_reasoning__identity_lost(x, theta, phi, talk, extend):
    """What a node holds itself is lost; that part was right."""
    return _reasoning(x, theta, phi, talk, extend, own=False)


@wrong("task_12_3")
def global_reasoning__x_not_added(x, theta, phi, talk, extend):
    """x is no longer added; that part was right."""
    return _reasoning(x, theta, phi, talk, extend) - x


# --- task 4: what to believe ---


def believe_by_loops(query, keys, values, inside):
    """Pixel by pixel and place by place: b c h w."""
    b, d, h, w = query.shape
    y = values.new_zeros(b, values.shape[1], h, w)
    for n in range(b):
        for i in range(h):
            for j in range(w):
                places = [k for k in range(keys.shape[2]) if inside[n, k, i, j]]
                shares = [math.exp(query[n, :, i, j] @ keys[n, :, k, i, j] / math.sqrt(d)) for k in places]
                for share, k in zip(shares, places, strict=True):
                    y[n, :, i, j] += share / sum(shares) * values[n, :, k, i, j]
    return y


@task("task_12_4", without=("course_lib",), hint="Each pixel compares, and only its places inside share its weight.")
def test_the_comparison_equals_the_loops(student, draw):
    b, c, d, k = draw.primes(4, high=11)
    h, w = 2, 4
    inside = draw.mask(b, k, h, w) & draw.mask(b, k, h, w)
    inside[:, :, 0, 0] = False  # a pixel that has no place at all
    query, keys, values = draw.normal(b, d, h, w), draw.normal(b, d, k, h, w), draw.normal(b, c, k, h, w)
    assert_same(student.believe(query, keys, values, inside), believe_by_loops(query, keys, values, inside))


def _believe(query, keys, values, inside, *, root=None, axis=1, outside=-math.inf, nan=True):
    """The right answer with the parts that a wrong answer exchanges."""
    scores = (query[:, :, None] * keys).sum(dim=1) / (query.shape[1] ** 0.5 if root is None else root)
    scores = scores.masked_fill(~inside, outside)
    weights = scores.flatten(2).softmax(dim=axis).view_as(scores)
    return (values * (torch.where(inside, weights, 0.0) if nan else weights)[:, None]).sum(dim=2)


@wrong("task_12_4")
def believe__not_divided(query, keys, values, inside):
    """The scores are not divided by √d."""
    return _believe(query, keys, values, inside, root=1)


@wrong("task_12_4")
def believe__divided_by_d(query, keys, values, inside):
    """The scores are divided by d, not by its root."""
    return _believe(query, keys, values, inside, root=query.shape[1])


@wrong("task_12_4")
def believe__over_the_pixels(query, keys, values, inside):
    """The weights sum to 1 over the pixels; they must sum to 1 over the k places of each."""
    return _believe(query, keys, values, inside, axis=2)


@wrong("task_12_4")
def believe__outside_shares(query, keys, values, inside):
    """Places outside have a score of 0 and take their share of the weight, though they give nothing."""
    return _believe(query, keys, values, inside, outside=0.0)


@wrong("task_12_4")
def believe__nobody_looked_whether_inside(query, keys, values, inside):
    """Places outside are read like the others."""
    return _believe(query, keys, values, torch.ones_like(inside))


@wrong("task_12_4")
def believe__nan(query, keys, values, inside):
    """A pixel whose places all lie outside gave NaN; it must get 0."""
    return _believe(query, keys, values, inside, nan=False)


@wrong("task_12_4")
def believe__without_comparing(query, keys, values, inside):
    """All places inside are believed alike; the query was not asked."""
    return _believe(0 * query, keys, values, inside)


@wrong("task_12_4")
def believe__the_best_only(query, keys, values, inside):
    """Only the best place is read; the weights are a softmax."""
    return _believe(1e6 * query, keys, values, inside)


@wrong("task_12_4")
def believe__inside_means_outside(query, keys, values, inside):
    """The mask is inverted: True means that the place lies in the image."""
    return _believe(query, keys, values, ~inside)


# --- task 5: a walk over a graph that is never built ---


def walk_by_loops(x, features, weights, steps):
    """Every pixel asks every other, step by step: n c -> n c."""
    for _ in range(steps):
        after = []
        for i, own in enumerate(x):
            likeness = [sum(w * p * q for w, p, q in zip(weights, features[i], phi, strict=True)) for phi in features]
            total = sum(likeness)
            after.append(sum(a * other for a, other in zip(likeness, x, strict=True)) / total if total > 0 else own)
        x = torch.stack(after)
    return x


@task("task_12_5", without=("course_lib",), hint="One-sided: averages over like pixels, repeated.")
def test_the_walk_equals_the_loops(student, draw):
    n, c, m = draw.primes(3, high=13)
    x, features, weights = draw.normal(n, c), draw.normal(n, m).clamp(min=0), draw.uniform(m) + 0.1
    features[0] = 0
    features[1] *= 1e-3  # like the others, if only a little
    for steps in (0, 1, 3):
        assert_same(student.walk(x, features, weights, steps), walk_by_loops(x, features, weights, steps))


def _walk(x, features, weights, steps, *, left=1.0, right=0.0, keep=True, rest=False):
    """The right answer with the parts that a wrong answer exchanges."""
    degree = (features @ (weights * features.sum(dim=0)))[:, None]
    linked = degree > 0
    degree = torch.where(linked, degree, 1.0) if keep else degree
    for _ in range(steps):
        average = features @ (weights[:, None] * (features.mT @ (x / degree**right))) / degree**left
        average = x - average if rest else average
        x = torch.where(linked, average, x) if keep else average
    return x


@wrong("task_12_5")
def walk__both_sides(x, features, weights, steps):
    """Normalised from both sides, as in the lesson; here each pixel gets an average."""
    return _walk(x, features, weights, steps, left=0.5, right=0.5)


@wrong("task_12_5")
def walk__columns(x, features, weights, steps):
    """The columns were normalised: what a pixel gives away sums to 1, not what it hears."""
    return _walk(x, features, weights, steps, left=0.0, right=1.0)


@wrong("task_12_5")
def walk__not_normalised(x, features, weights, steps):
    """Nothing was normalised."""
    return _walk(x, features, weights, steps, left=0.0)


@wrong("task_12_5")
def walk__without_the_weights(x, features, weights, steps):
    """Λ is lost: the features of φ count differently."""
    return _walk(x, features, torch.ones_like(weights), steps)


@wrong("task_12_5")
def walk__one_step(x, features, weights, steps):
    """Only one step was made, or each started from the first x."""
    return _walk(x, features, weights, min(steps, 1))


@wrong("task_12_5")
def walk__nan(x, features, weights, steps):
    """A pixel whose φ is zero divided by 0; it keeps what it had."""
    return _walk(x, features, weights, steps, keep=False)


@wrong("task_12_5")
def walk__forgets_who_is_alone(x, features, weights, steps):
    """A pixel whose φ is zero became 0; it keeps what it had."""
    degree = (features @ (weights * features.sum(dim=0)))[:, None].clamp(min=1e-9)
    for _ in range(steps):
        x = features @ (weights[:, None] * (features.mT @ x)) / degree
    return x


@wrong("task_12_5")
def walk__the_rest(x, features, weights, steps):
    """The average was subtracted, as in the Laplacian; here it takes the place of x."""
    return _walk(x, features, weights, steps, rest=True)
