# %% [markdown]
# # Exercise 12 · Graph reasoning
#
# You give GloRe images of different sizes in one batch, derive what it tells from pixel to pixel, repair a block that mixes up its places, let pixels compare
# what they have sampled, and smooth over a graph that is never built.
#
# *Minutes:* 58 · *Needs:* 12
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch

from course_lib.answers import drawn, rounded, same
from course_lib.exercises import Exercise

exercise = Exercise("12_graph_reasoning", points=[3, 3, 3, 3, 2])

# %% [markdown]
# ## task_12_1 · Two sizes in one batch
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# Images of different sizes are put into one batch by padding the smaller ones. The padding of `x` holds any numbers, perhaps ∞: none may reach a node, and nothing may be written to the padding.
#
# Write the way *to the nodes, through the talk and back*, without learned layers before or after: the nodes are averages over the **real** pixels of their own image, $V = \tfrac1N \sum_j b_j x_j^\top$ with N
# real pixels; they talk, $Z = (I + A_g)\, V$; each real pixel i reads $\sum_k b_{ki} Z_k$, each pixel of the padding gets 0. An image may have no real pixel at all: then all of it is 0.
#
# Shapes: `x` b c n, `assignment` b m n, `talk` ($A_g$) m m, `real` b n, True where a pixel is real -> b c n.
#
# <details><summary>Hint 1: how many pixels?</summary>
#
# Each image of the batch has its own N. Which tensor knows it? And what may you divide by if N is 0?
# </details>
#
# <details><summary>Hint 2: one mask, twice</summary>
#
# The assignment is used to write into the nodes and to read from them. An assignment of 0 does neither. But 0 · ∞ is no number: what must happen to x?
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# mask the assignment, and x; sum values into nodes (b m n and b c n make b m c); divide; let them talk (m m and b m c); read (b m n and b m c make b c n).
# </details>


# %% tags=["task_12_1"]
def there_and_back(x, assignment, talk, real):
    """To the nodes, through the talk and back, real pixels only: b c n, b m n, m m, b n -> b c n."""
    ### BEGIN SOLUTION
    assignment = torch.where(real[:, None], assignment, 0.0)  # b m n
    x = torch.where(real[:, None], x, 0.0)  # rubbish may be infinite
    count = real.sum(dim=1).clamp(min=1)[:, None, None]
    nodes = assignment @ x.mT / count  # b m c
    nodes = nodes + talk @ nodes
    return nodes.mT @ assignment  # b c m, b m n -> b c n
    ### END SOLUTION


# %% tags=["folded"]
two_nodes = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])  # the left pair, the right pair
four = torch.tensor([[8.0, 4.0, 2.0, 6.0]])
silent = torch.zeros(2, 2)


# %% tags=["folded"]
def check_all_real():
    """One image without padding: the division, the identity, the direction of the talk."""
    everyone = torch.ones(1, 4) > 0
    found = there_and_back(four[None], two_nodes[None], silent, everyone)
    assert found.shape == (1, 1, 4), f"the result has the shape of x, (1, 1, 4), not {tuple(found.shape)}"
    assert same(found, torch.tensor([[[3.0, 3.0, 2.0, 2.0]]])), (
        f"without talk the nodes hold (8 + 4)/4 = 3 and (2 + 6)/4 = 2, so the pixels read 3, 3, 2, 2, not {rounded(found)}"
    )
    first_listens = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    found = there_and_back(four[None], two_nodes[None], first_listens, everyone)
    assert same(found, torch.tensor([[[5.0, 5.0, 2.0, 2.0]]])), (
        f"A_g = (0 1; 0 0): node 0 adds what node 1 holds, so the pixels read 5, 5, 2, 2, not {rounded(found)}: who listens to whom?"
    )


# %% tags=["folded"]
def check_padding():
    """What stands in the padding, and what is written there."""
    batch, both = torch.stack([four, four]), torch.stack([two_nodes, two_nodes])
    real = torch.tensor([[True, True, True, False], [True, True, True, True]])
    found = there_and_back(batch, both, silent, real)
    assert same(found[1], torch.tensor([[3.0, 3.0, 2.0, 2.0]])), (
        f"the second image has four real pixels and must read 3, 3, 2, 2 as before, not {rounded(found[1])}: whose pixels are counted?"
    )
    assert found[0, 0, 3] == 0, f"pixel 3 of the first image is padding and must get 0, not {found[0, 0, 3]:.3f}"
    assert same(found[0], torch.tensor([[4.0, 4.0, 2 / 3, 0.0]])), (
        f"three real pixels: the nodes hold (8 + 4)/3 = 4 and 2/3, so 4, 4, 0.667, 0 are read, not {rounded(found[0])}"
    )


# %% tags=["check_12_1"]
with exercise.check(1):
    check_all_real()
    check_padding()
    empty = torch.tensor([[False] * 4, [True] * 4])
    found = there_and_back(torch.stack([four, four]), torch.stack([two_nodes, two_nodes]), silent, empty)
    assert not found[0].isnan().any(), "an image without a real pixel gave NaN: what is 0 divided by 0?"
    assert not found[0].any(), f"an image without a real pixel must be 0 everywhere, not {rounded(found[0])}"
    rubbish = torch.tensor([[[8.0, 4.0, 2.0, float("inf")]]])
    found = there_and_back(rubbish, two_nodes[None], silent, torch.tensor([[True, True, True, False]]))
    assert not found.isnan().any(), "the padding held an infinite number, and NaN came out: 0 · ∞ is no number"

# %% [markdown]
# ## task_12_2 · What one pixel tells another
# difficulty 3/5 · importance 5/5 · 12 minutes
#
# Between its layers φ and W, GloRe takes only weighted sums. So for *given* assignments there is an n × n matrix M with $y_i = \sum_j M_{ij}\, x_j$: how much pixel i hears of pixel j. GloRe never builds it; you do, once, to see what it can be.
# Derive M from $V = \tfrac1N B X$, $Z = (I + A_g) V$ and $Y = B^\top Z$, where N is the number of pixels.
#
# Return M, and the **largest rank** that M can have for these sizes, whatever the numbers are.
#
# Shapes: `assignment` (B) m n, `talk` ($A_g$) m m -> n n with the *hearing* pixel in the rows, and a whole number.
#
# <details><summary>Hint 1: put one line into the next</summary>
#
# Replace V in the second formula by the first, and Z in the third by the second. Everything that stands left of X is M.
# </details>
#
# <details><summary>Hint 2: rank</summary>
#
# A product has no more rank than any of its factors. How many rows, how many columns has the narrowest one? Which of m and n is smaller is not said.
# </details>


# %% tags=["task_12_2"]
def pixel_to_pixel(assignment, talk):
    """What each pixel (row) hears of each pixel (column), and the largest possible rank: m n, m m -> n n, a number."""
    ### BEGIN SOLUTION
    m, n = assignment.shape
    heard = assignment.mT @ (assignment + talk @ assignment) / n  # n m, m n -> n n
    return heard, min(m, n)
    ### END SOLUTION


# %% tags=["check_12_2"]
with exercise.check(2):
    lean = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    heard, most = pixel_to_pixel(lean, silent)
    assert heard.shape == (3, 3), f"two nodes, three pixels: M is (3, 3), not {tuple(heard.shape)}"
    assert same(heard[0], torch.tensor([1 / 3, 1 / 3, 0.0])), (
        f"without talk pixel 0 hears a third of pixels 0 and 1, which share its node, and nothing of pixel 2; not {rounded(heard[0])}"
    )
    assert same(heard[2, 2], torch.tensor(3.0)), (
        f"pixel 2 belongs to its node with 3: it writes 3 · x, reads 3 times, N = 3: so 3, not {heard[2, 2]:.3f}"
    )
    heard, _ = pixel_to_pixel(lean, torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    assert same(heard[0], torch.tensor([1 / 3, 1 / 3, 1.0])), (
        f"A_g = (0 1; 0 0): node 0 also hears node 1, so pixel 0 hears 1/3, 1/3, 1, not {rounded(heard[0])}: what is kept, who listens?"
    )
    assert same(heard[2], torch.tensor([0.0, 0.0, 3.0])), (
        f"A_g = (0 1; 0 0): node 1 hears nobody else, so pixel 2 hears 0, 0, 3, not {rounded(heard[2])}"
    )
    assert int(most) == 2, f"with two nodes and three pixels the rank is at most 2, not {most}"
    assert int(pixel_to_pixel(torch.ones(5, 3), torch.zeros(5, 5))[1]) == 3, "five nodes, three pixels: at most 3"

# %% [markdown]
# ## task_12_3 · Repair a block that mixes up its places
# difficulty 3/5 · importance 5/5 · 10 minutes
#
# Somebody wrote a GloRe block (without biases and norm). It runs, its shapes are right, it trains. It is wrong in two ways.
#
# ```python
# def global_reasoning(x, theta, phi, talk, extend):
#     pixels = x.flatten(2)  # b c n
#     assignment = theta @ pixels  # b m n
#     nodes = assignment @ (phi @ pixels).mT / theta.shape[0]  # b m s, the average over the positions
#     nodes = nodes + talk @ nodes
#     y = assignment.mT @ nodes @ extend.mT  # b n c
#     return x + y.reshape(x.shape)  # b c h w
# ```
#
# Find both by asking: what happens if every pixel is repeated, as in an image of twice the size? And where in the image does the answer of the first pixel arrive? Write it correctly.
#
# Shapes: `x` b c h w, `theta` m c, `phi` s c, `talk` m m, `extend` c s -> b c h w.
#
# <details><summary>Hint 1: a smaller image</summary>
#
# Try one row of two pixels with two channels. Write down `y` by hand, and then what `reshape` makes of it.
# </details>
#
# <details><summary>Hint 2: reshape does not move axes</summary>
#
# It reads the numbers in the order in which they lie and fills the new shape in that order. What must stand *before* the two axes h and w?
# </details>
#
# <details><summary>Hint 3: an average</summary>
#
# A sum over n positions becomes an average when it is divided by … Which tensor knows that number?
# </details>


# %% tags=["task_12_3"]
def global_reasoning(x, theta, phi, talk, extend):
    """To the nodes, through the talk and back; added to x: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    pixels = x.flatten(2)  # b c n
    assignment = theta @ pixels  # b m n
    nodes = assignment @ (phi @ pixels).mT / pixels.shape[2]  # b m s
    nodes = nodes + talk @ nodes
    y = assignment.mT @ nodes @ extend.mT  # b n c
    return x + y.mT.reshape(x.shape)
    ### END SOLUTION


# %% tags=["folded"]
def check_places():
    """Two pixels in a row, two channels, one node: everything in the head."""
    x = torch.tensor([[[[1.0, 2.0]], [[0.0, 4.0]]]])  # 1 2 1 2
    theta, one = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    found = global_reasoning(x, theta, one, torch.zeros(1, 1), one) - x
    assert found.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(found.shape)}"
    assert same(found[0, :, 0, 0], torch.tensor([2.5, 4.0])), (
        "assignments 1 and 2, pixels (1, 0) and (2, 4): the node holds (1·1 + 2·2, 1·0 + 2·4)/2 = (2.5, 4), and pixel 0 reads it once; "
        f"added to pixel 0 was {rounded(found[0, :, 0, 0])}: is it an average, and does each pixel get its own answer?"
    )
    assert same(found[0, :, 0, 1], torch.tensor([5.0, 8.0])), (
        f"pixel 1 reads the node (2.5, 4) twice: (5, 8), not {rounded(found[0, :, 0, 1])}"
    )


# %% tags=["check_12_3"]
with exercise.check(3):
    check_places()
    x, theta, phi, talk, extend = drawn((2, 5, 3, 4), (3, 5), (4, 5), (3, 3), (5, 4))
    result = global_reasoning(x, theta, phi, talk, extend)
    larger = global_reasoning(x.repeat_interleave(2, dim=3), theta, phi, talk, extend)
    assert same(larger[..., ::2], result), (
        "every pixel twice, in an image twice as wide: each must get what it got before; by what is the sum divided?"
    )
    turned = global_reasoning(x.mT, theta, phi, talk, extend).mT
    assert same(turned, result), (
        "an image that is turned (h and w exchanged) must give the turned result: whose answer lies where?"
    )
    assert same(global_reasoning(x[:1], theta, phi, talk, extend), result[:1]), (
        "another image of the batch changed this one"
    )
    heard = global_reasoning(x, theta, phi, torch.tensor([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]]), extend)
    assert same(heard, x), "talk = −I silences every node, I + A_g = 0, so nothing is added: is the identity there?"
    first = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    x = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    found = (global_reasoning(x, torch.eye(2), torch.eye(2), first, torch.eye(2)) - x)[0, :, 0]
    assert same(found, torch.tensor([[0.5, 0.0], [0.5, 0.5]])), (
        f"A_g = (0 1; 0 0): node 0 hears node 1, so pixel 0 also hears pixel 1, and not the other way; channels by pixels {rounded(found)}"
    )

# %% [markdown]
# ## task_12_4 · What to believe
# difficulty 3/5 · importance 5/5 · 12 minutes
#
# Every pixel has sampled k places, and some of them lie outside the image. Let it **compare**: its query with the key that was read at each place. The weights are a softmax over the k places of $(\text{query} \cdot \text{key}) / \sqrt d$, in which places outside get *no* weight,
# and the others share the whole of it. A pixel whose k places all lie outside gets 0.
#
# Shapes: `query` b d h w, `keys` b d k h w, `values` b c k h w, `inside` b k h w, True where the place lies in the image -> b c h w.
#
# <details><summary>Hint 1: which axis is shared?</summary>
#
# `query[:, :, None]` gives the query an axis for the places. After the product, over which axis do you sum, and which one is left for the softmax?
# </details>
#
# <details><summary>Hint 2: no weight</summary>
#
# A key of zeros still gets a score of 0, and e⁰ = 1 is a weight. Which score has the weight 0? And what is a softmax of nothing but such scores?
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# scores b k h w, −∞ where outside; softmax over k; where a pixel has no place, its weights are NaN and must become 0; multiply with values b c k h w and sum over k.
# </details>


# %% tags=["task_12_4"]
def believe(query, keys, values, inside):
    """Compare with what was sampled, and mix it: b d h w, b d k h w, b c k h w, b k h w -> b c h w."""
    ### BEGIN SOLUTION
    scores = (query[:, :, None] * keys).sum(dim=1) / query.shape[1] ** 0.5  # b k h w
    weights = scores.masked_fill(~inside, float("-inf")).softmax(dim=1)
    weights = torch.where(inside, weights, 0.0)  # NaN where no place is inside
    return (values * weights[:, None]).sum(dim=2)  # b c h w
    ### END SOLUTION


# %% tags=["folded"]
def one_pixel(query, keys, values, inside=None):
    """Your answer for one pixel: d, k d, k c, k -> c."""
    query, keys, values = (torch.tensor(one, dtype=torch.float32) for one in (query, keys, values))
    inside = torch.ones(len(keys)) > 0 if inside is None else torch.tensor(inside)
    found = believe(
        query[None, :, None, None],
        keys.mT[None, ..., None, None],
        values.mT[None, ..., None, None],
        inside[None, :, None, None],
    )
    assert found.shape == (1, values.shape[1], 1, 1), (
        f"one pixel, values of {values.shape[1]} numbers: the result is (1, {values.shape[1]}, 1, 1), not {tuple(found.shape)}"
    )
    return found[0, :, 0, 0]


# %% tags=["folded"]
def check_one_pixel():
    """Two or three places, numbers for the head."""
    found = one_pixel([0.0, 0, 0, 0], [[1.0, 0, 0, 0], [0, 1, 0, 0]], [[4.0], [8.0]])
    assert same(found, torch.tensor([6.0])), (
        f"a query of zeros believes both places alike: (4 + 8)/2 = 6, not {rounded(found)}"
    )
    log_3 = 1.0986123
    found = one_pixel([2 * log_3, 0, 0, 0], [[1.0, 0, 0, 0], [0, 1, 0, 0]], [[4.0], [8.0]])
    assert same(found, torch.tensor([5.0])), (
        f"query · key is 2 log 3 and 0, and √d = 2: weights ¾ and ¼, so 5, not {rounded(found)}: what is the score divided by?"
    )


# %% tags=["folded"]
def check_outside():
    """Places outside the image: no weight, and no NaN."""
    keys, values = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], [[4.0], [8.0], [0.0]]
    found = one_pixel([0.0, 0, 0, 0], keys, values, [True, True, False])
    assert same(found, torch.tensor([6.0])), (
        f"the third place lies outside; the two others share the whole weight: 6, not {rounded(found)}"
    )
    found = one_pixel([0.0, 0, 0, 0], keys, values, [False, False, False])
    assert not found.isnan().any(), "a pixel whose places all lie outside gave NaN: a softmax of −∞ alone has no sum"
    assert not found.any(), f"a pixel whose places all lie outside must get 0, not {rounded(found)}"


# %% tags=["check_12_4"]
with exercise.check(4):
    check_one_pixel()
    check_outside()
    query, keys, values, score = drawn((2, 3, 5, 7), (2, 3, 4, 5, 7), (2, 6, 4, 5, 7), (2, 4, 5, 7))
    inside = score > -1
    found = believe(query, keys, values, inside)
    assert found.shape == (2, 6, 5, 7), f"b c h w is (2, 6, 5, 7), not {tuple(found.shape)}"
    corner = believe(query[..., :2, :3], keys[..., :2, :3], values[..., :2, :3], inside[..., :2, :3])
    assert same(corner, found[..., :2, :3]), (
        "pixels elsewhere changed this one: over which axis do the weights sum to 1?"
    )
    order = [2, 0, 3, 1]
    assert same(believe(query, keys[:, :, order], values[:, :, order], inside[:, order]), found), (
        "the k places in another order changed the result: which key belongs to which value?"
    )
    everywhere = torch.ones_like(inside)
    assert same(believe(query, keys, torch.ones_like(values), everywhere), torch.ones(2, 6, 5, 7)), (
        "values of 1 everywhere must come out as 1: what do the weights sum to?"
    )

# %% [markdown]
# ## task_12_5 · A walk over a graph that is never built
# difficulty 3/5 · importance 3/5 · 12 minutes
#
# How alike are two pixels? Each has M features φ, none negative, and each feature a weight: $\hat A_{ij} = \sum_l \lambda_l\, \varphi_{il}\, \varphi_{jl}$, that is $\hat A = \varphi \Lambda \varphi^\top$ with the weights on the diagonal of Λ.
# (The deeper section on SpyGR has the same $\hat A$, normalised from both sides; you can do this task without it.) Here each pixel gets an *average* over the pixels like it: divide each **row** of $\hat A$ by its sum, $S = D^{-1} \hat A$, where D holds the row sums.
# Then do it several times: $X \leftarrow S X$. A pixel whose φ is zero is like no other: it keeps what it had.
#
# The matrix $\hat A$ is not needed: put the brackets so that the longest axis is summed first.
#
# Shapes: `x` n c, `features` (φ, none negative) n M, `weights` (the diagonal of Λ, positive) M, `steps` a whole number, 0 or more -> n c.
#
# <details><summary>Hint 1: the brackets</summary>
#
# $\varphi (\Lambda (\varphi^\top X))$: the inner product is M × c, whatever n is. The row sums are the same with a column of ones for X.
# </details>
#
# <details><summary>Hint 2: a row sum of zero</summary>
#
# Divide by something else there, and put the old values back afterwards. Do this in each step.
# </details>


# %% tags=["task_12_5"]
def walk(x, features, weights, steps):
    """Several averages over like pixels: n c, n M, M, a number -> n c."""
    ### BEGIN SOLUTION
    degree = features @ (weights * features.sum(dim=0))  # n
    linked = (degree > 0)[:, None]
    degree = torch.where(linked, degree[:, None], 1.0)
    for _ in range(steps):
        average = features @ (weights[:, None] * (features.mT @ x)) / degree  # M n, n c -> M c -> n c
        x = torch.where(linked, average, x)
    return x
    ### END SOLUTION


# %% tags=["check_12_5"]
with exercise.check(5):
    x, ones = torch.tensor([[2.0, 0.0], [6.0, 4.0], [9.0, 9.0]]), torch.ones(2)
    kinds = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # pixels 0 and 1 are alike, 2 is alone
    found = walk(x, kinds, ones, 1)
    assert found.shape == (3, 2), f"the result has the shape of x, (3, 2), not {tuple(found.shape)}"
    assert same(found, torch.tensor([[4.0, 2.0], [4.0, 2.0], [9.0, 9.0]])), (
        f"pixels 0 and 1 are alike and get their average (4, 2); pixel 2 is like itself alone; not {rounded(found)}"
    )
    assert same(walk(x, kinds, ones, 0), x), "no step changes nothing"
    found = walk(x, torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]]), ones, 1)
    assert same(found[0], torch.tensor([5.0, 3.0])), (
        f"φ = 1 and 3: both pixels hear ¼ of pixel 0 and ¾ of pixel 1, (5, 3), not {rounded(found[0])}: which side is normalised?"
    )
    bridge = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    found = walk(x[:, :1], bridge, torch.tensor([1.0, 2.0]), 1)
    assert same(found, torch.tensor([[4.0], [19 / 3], [7.5]])), (
        f"Λ = (1, 2), and pixel 1 is like both: Â = (1 1 0; 1 3 2; 0 2 2), so 4, 6.333, 7.5, not {rounded(found)}: what does Λ do?"
    )
    twice = walk(x[:, :1], bridge, torch.tensor([1.0, 2.0]), 2)
    assert same(twice, torch.tensor([[31 / 6], [19 / 3], [83 / 12]])), (
        f"a second step starts from the result of the first: 5.167, 6.333, 6.917, not {rounded(twice)}"
    )
    alone = walk(x, torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), ones, 3)
    assert same(alone[2], x[2]), f"the φ of pixel 2 is zero: it keeps (9, 9), not {rounded(alone[2])}"
    assert same(walk(torch.ones(3, 2), bridge, ones, 4), torch.ones(3, 2)), "averages of ones are ones"
