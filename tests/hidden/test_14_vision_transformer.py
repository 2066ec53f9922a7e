"""Grades exercise 14 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_same, number

# --- task 1: tubelets ---


def cut(clip, f, p):
    """One box after the other, pixel by pixel: c t h w -> n (c f p p)."""
    c, t, h, w = clip.shape
    inside = [(k, a, y, x) for k in range(c) for a in range(f) for y in range(p) for x in range(p)]
    corners = [(first, top, left) for first in range(0, t, f) for top in range(0, h, p) for left in range(0, w, p)]
    rows = [
        torch.stack([clip[k, first + a, top + y, left + x] for k, a, y, x in inside]) for first, top, left in corners
    ]
    return torch.stack(rows)


@task(
    "task_14_1",
    without=("course_lib",),
    hint="Cut pixel by pixel: boxes by time, then row by row; inside a box channel, frame, row, column.",
)
def test_boxes_are_cut_in_reading_order(student, draw):
    times, rows, columns = draw.primes(3, high=7)
    for f, p in ((2, 3), (3, 2)):
        clip = draw.normal(2, 2, f * times, p * rows, p * columns)
        assert_same(student.tubelets(clip, f, p), torch.stack([cut(one, f, p) for one in clip]))


@task("task_14_1", hint="Times the flattened weight of a 3-D convolution, boxes must give the convolution's result.")
def test_boxes_fit_a_convolution(student, draw):
    c, times, rows, columns = draw.primes(4, high=11)
    (d,) = draw.primes(1)
    f, p = (2, 3) if draw.number(0, 1) < 0.5 else (3, 2)
    clip, weight = draw.normal(2, c, f * times, p * rows, p * columns), draw.normal(d, c, f, p, p)
    expected = F.conv3d(clip, weight, stride=(f, p, p)).flatten(2).mT
    assert_same(student.tubelets(clip, f, p) @ weight.flatten(1).mT, expected)


def _tubelets(clip, f, p, order=(0, 2, 4, 6, 1, 3, 5, 7)):
    """The right answer, whose eight axes, b c k f i y j x, a wrong answer puts into another order."""
    b, c, t, h, w = clip.shape
    parts = clip.reshape(b, c, t // f, f, h // p, p, w // p, p).permute(order)
    return parts.reshape(b, t // f * (h // p) * (w // p), c * f * p * p)


@wrong("task_14_1")
def tubelets__as_in_the_lesson(clip, frames, patch_size):
    """Each frame was cut by itself, as the lesson cuts an image; a tubelet holds several frames."""
    return _tubelets(clip, 1, patch_size)


@wrong("task_14_1")
def tubelets__only_reshaped(clip, frames, patch_size):
    """The clip was reshaped without permuting its axes, so a row of the result is no box."""
    return _tubelets(clip, frames, patch_size, order=(0, 1, 2, 3, 4, 5, 6, 7))


@wrong("task_14_1")
def tubelets__column_by_column(clip, frames, patch_size):
    """The boxes come column by column; they come row by row, as one reads a page."""
    return _tubelets(clip, frames, patch_size, order=(0, 2, 6, 4, 1, 3, 5, 7))


@wrong("task_14_1")
def tubelets__time_last(clip, frames, patch_size):
    """All boxes of one place come before the next place; all places of one time come before the next time."""
    return _tubelets(clip, frames, patch_size, order=(0, 4, 6, 2, 1, 3, 5, 7))


@wrong("task_14_1")
def tubelets__channel_last(clip, frames, patch_size):
    """Inside a box the channel runs fastest; a convolution's weight has channel, frame, row, column."""
    return _tubelets(clip, frames, patch_size, order=(0, 2, 4, 6, 3, 5, 7, 1))


@wrong("task_14_1")
def tubelets__frame_before_channel(clip, frames, patch_size):
    """Inside a box each frame comes with all its channels; each channel comes with all its frames."""
    return _tubelets(clip, frames, patch_size, order=(0, 2, 4, 6, 3, 1, 5, 7))


@wrong("task_14_1")
def tubelets__box_transposed(clip, frames, patch_size):
    """Inside a box rows and columns are exchanged."""
    return _tubelets(clip, frames, patch_size, order=(0, 2, 4, 6, 1, 3, 7, 5))


@wrong("task_14_1")
def tubelets__box_index_inside(clip, frames, patch_size):
    """Place in the box and number of the box are exchanged: each row collects one pixel of every box."""
    return _tubelets(clip, frames, patch_size, order=(0, 3, 5, 7, 1, 2, 4, 6))


@wrong("task_14_1")
def tubelets__overlapping(clip, frames, patch_size):
    """The window moves by one frame and one pixel, so the boxes overlap; it moves by its own size."""
    windows = clip.unfold(2, frames, 1).unfold(3, patch_size, 1).unfold(4, patch_size, 1)
    return windows.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4).flatten(1, 3)


@wrong("task_14_1")
def tubelets__sizes_exchanged(clip, frames, patch_size):
    """`frames` counts along time and `patch_size` along height and width; they are exchanged."""
    t, h, w = clip.shape[2:]
    whole = clip[:, :, : t // patch_size * patch_size, : h // frames * frames, : w // frames * frames]
    return _tubelets(whole, patch_size, frames)


# --- task 2: side by side ---


def random_block(student, draw):
    """Your block with random numbers everywhere, its state, and tokens."""
    heads, d, n = draw.primes(3, high=7)
    block = student.ParallelBlock(heads * d, heads).double()
    state = {name: draw.normal(*t.shape) / t.shape[-1] ** 0.5 for name, t in block.state_dict().items()}
    state["norm.weight"] = draw.uniform(heads * d) + 0.5
    block.load_state_dict(state)
    return block, state, heads, draw.normal(3, n, heads * d)


def apply(state, name, x):
    return x @ state[f"{name}.weight"].mT + state[f"{name}.bias"]


def normalise(state, name, x):
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{name}.weight"]
        + (state[f"{name}.bias"])
    )


def block_by_loops(state, heads, x):
    """One image, head by head and token by token: n D -> n D."""
    z = normalise(state, "norm", x)
    query, key, value = (apply(state, name, z) for name in ("query", "key", "value"))
    d, heard = x.shape[1] // heads, torch.empty_like(x)
    for s in range(heads):
        part = slice(s * d, (s + 1) * d)
        for i in range(len(x)):
            scores = torch.stack([query[i, part] @ key[j, part] / math.sqrt(d) for j in range(len(x))])
            heard[i, part] = scores.softmax(dim=0) @ value[:, part]
    hidden = apply(state, "expand", z)
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return x + apply(state, "project", heard) + apply(state, "contract", hidden)


@task(
    "task_14_2",
    without=("course_lib",),
    hint="Head by head, token by token: norm, scores / √d, softmax over keys, mix, project; MLP; add.",
)
def test_the_block_equals_the_loops(student, draw):
    block, state, heads, x = random_block(student, draw)
    assert_same(block(x), torch.stack([block_by_loops(state, heads, one) for one in x]))


@task("task_14_2", hint="With project and contract at zero, x must pass untouched, whatever its size.")
def test_silent_branches_leave_the_stream_alone(student, draw):
    block, state, _, x = random_block(student, draw)
    zero = [f"{name}.{leaf}" for name in ("project", "contract") for leaf in ("weight", "bias")]
    block.load_state_dict(state | {name: torch.zeros_like(state[name]) for name in zero})
    assert_same(block(50 * x), 50 * x)


@task("task_14_2", hint="Tokens in another order must come out in that order.")
def test_the_block_knows_no_order(student, draw):
    block, _, _, x = random_block(student, draw)
    order = draw.uniform(x.shape[1]).argsort()
    assert_same(block(x[:, order]), block(x)[:, order])


class _ParallelBlock(nn.Module):
    """The right answer in small steps, each of which a wrong answer changes."""

    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.query, self.key = nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)
        self.value, self.project = nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)
        self.expand, self.contract = nn.Linear(embed_dim, 4 * embed_dim), nn.Linear(4 * embed_dim, embed_dim)

    def split(self, t):
        return t.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def join(self, t):
        return t.transpose(1, 2).flatten(2)

    def weigh(self, query, key):
        return (query @ key.mT / math.sqrt(query.shape[3])).softmax(dim=-1)

    def mix(self, z):
        query, key, value = (self.split(layer(z)) for layer in (self.query, self.key, self.value))
        return self.project(self.join(self.weigh(query, key) @ value))

    def think(self, z):
        return self.contract(F.gelu(self.expand(z)))

    def forward(self, x):
        z = self.norm(x)
        return x + self.mix(z) + self.think(z)


@wrong("task_14_2")
class ParallelBlock__as_in_the_lesson(_ParallelBlock):
    """This is the lesson's block: the MLP reads what the attention has written; side by side, both read the same."""

    def forward(self, x):
        x = x + self.mix(self.norm(x))
        return x + self.think(self.norm(x))


@wrong("task_14_2")
class ParallelBlock__post_norm(_ParallelBlock):
    """The norm stands after the addition; here it stands before the branches, and x itself is never touched."""

    def forward(self, x):
        return self.norm(x + self.mix(x) + self.think(x))


@wrong("task_14_2")
class ParallelBlock__norm_forgotten(_ParallelBlock):
    """The norm is never used: both branches read LN(x)."""

    def forward(self, x):
        return x + self.mix(x) + self.think(x)


@wrong("task_14_2")
class ParallelBlock__mlp_reads_the_raw_tokens(_ParallelBlock):
    """The MLP reads x; it reads LN(x), as the attention does."""

    def forward(self, x):
        return x + self.mix(self.norm(x)) + self.think(x)


@wrong("task_14_2")
class ParallelBlock__normed_shortcut(_ParallelBlock):
    """The normalised x is added instead of x, so every block wipes out the size of the stream."""

    def forward(self, x):
        z = self.norm(x)
        return z + self.mix(z) + self.think(z)


@wrong("task_14_2")
class ParallelBlock__without_shortcut(_ParallelBlock):
    """Nothing is added: the branches replace x."""

    def forward(self, x):
        z = self.norm(x)
        return self.mix(z) + self.think(z)


@wrong("task_14_2")
class ParallelBlock__x_added_twice(_ParallelBlock):
    """Each branch brings its own x; side by side, x is added once."""

    def forward(self, x):
        z = self.norm(x)
        return (x + self.mix(z)) + (x + self.think(z))


@wrong("task_14_2")
class ParallelBlock__divided_by_all_channels(_ParallelBlock):
    """The scores are divided by √embed_dim; divide by √d of one head."""

    def weigh(self, query, key):
        return (query @ key.mT / math.sqrt(query.shape[3] * self.num_heads)).softmax(dim=-1)


@wrong("task_14_2")
class ParallelBlock__unscaled(_ParallelBlock):
    """The scores are not divided by √d."""

    def weigh(self, query, key):
        return (query @ key.mT).softmax(dim=-1)


@wrong("task_14_2")
class ParallelBlock__softmax_over_queries(_ParallelBlock):
    """The softmax runs over the queries; each query's weights must sum to 1 over the keys, the last axis."""

    def weigh(self, query, key):
        return (query @ key.mT / math.sqrt(query.shape[3])).softmax(dim=-2)


@wrong("task_14_2")
class ParallelBlock__heads_viewed(_ParallelBlock):
    """b n D was viewed as b s n d: that cuts tokens, not channels; unflatten the channels, then transpose."""

    def split(self, t):
        return t.reshape(t.shape[0], self.num_heads, t.shape[1], -1)


@wrong("task_14_2")
class ParallelBlock__heads_not_brought_back(_ParallelBlock):
    """b s n d was viewed as b n D: transpose heads and tokens first, or the tokens are scrambled."""

    def join(self, t):
        return t.reshape(t.shape[0], t.shape[2], -1)


@wrong("task_14_2")
class ParallelBlock__heads_interleaved(_ParallelBlock):
    """Head s got every s-th channel; it gets channels s·d to (s+1)·d, which lie together."""

    def split(self, t):
        return t.unflatten(2, (-1, self.num_heads)).permute(0, 3, 1, 2)


@wrong("task_14_2")
class ParallelBlock__added_in_place(_ParallelBlock):
    """`x += …` overwrites the input, which is not yours; write `x = x + …`."""

    def forward(self, x):
        z = self.norm(x)
        x += self.mix(z) + self.think(z)
        return x


@wrong("task_14_2")
class ParallelBlock__relu(_ParallelBlock):
    """The MLP uses ReLU; a ViT uses GELU."""

    def think(self, z):
        return self.contract(self.expand(z).relu())


# --- task 3: rollout ---


def random_maps(draw, *, dropped, layers=3):
    """Maps of some layers on a grid that is not square; with ``dropped`` some of their entries are zero."""
    b, s, rows = draw.primes(3, high=7)
    columns = rows + 1
    maps = [draw.normal(b, s, 1 + rows * columns, 1 + rows * columns).softmax(dim=-1) for _ in range(layers)]
    if dropped:
        maps = [m * (draw.uniform(*m.shape) > 0.4) for m in maps]
    return maps, (rows, columns)


def rollout_by_paths(maps, grid):
    """The class token's row, pushed down through the layers, last one first: b rows columns."""
    b, _, n, _ = maps[0].shape
    share = torch.zeros(b, n, dtype=torch.float64)
    share[:, 0] = 1
    for attention in reversed(maps):
        below = torch.zeros_like(share)
        for i in range(n):
            row = attention[:, :, i].mean(dim=1) + torch.eye(n, dtype=torch.float64)[i]
            below += share[:, i : i + 1] * row / row.sum(dim=1, keepdim=True)
        share = below
    return torch.stack([share[:, 1 + r * grid[1] : 1 + (r + 1) * grid[1]] for r in range(grid[0])], dim=1)


@task(
    "task_14_3",
    without=("course_lib",),
    hint="Start at the class token; hand its share down, layer by layer, to the tokens that are read.",
)
def test_rollout_follows_all_paths(student, draw):
    for layers in (1, 3):
        maps, grid = random_maps(draw, dropped=False, layers=layers)
        assert_same(student.class_rollout(maps, grid), rollout_by_paths(maps, grid))


@task("task_14_3", hint="With entries set to zero the rows of the maps do not sum to 1: divide each by its own sum.")
def test_rollout_divides_rows_by_their_sums(student, draw):
    maps, grid = random_maps(draw, dropped=True)
    assert_same(student.class_rollout(maps, grid), rollout_by_paths(maps, grid))


@task("task_14_3", hint="If no token reads another, the class token gathers nothing from the patches.")
def test_rollout_of_blind_tokens(student, draw):
    rows, columns, s = draw.primes(3, high=7)
    blind = torch.eye(1 + rows * columns, dtype=torch.float64).expand(2, s, -1, -1)
    assert_same(student.class_rollout([blind, blind], (rows, columns)), torch.zeros(2, rows, columns).double())


def _rollout(maps, grid, *, heads=lambda m: m.mean(dim=1), add=1.0, norm=True, keepdim=True, left=True, pick=None):
    total = identity = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype)
    for attention in maps:
        step = heads(attention) + add * identity
        step = (
            step / (step.sum(dim=-1, keepdim=True) if keepdim else step.sum(dim=-1)[:, None, :]) if norm else step / 2
        )
        total = step @ total if left else total @ step
    return (total[:, 0, 1:] if pick is None else pick(total)).reshape(-1, *grid)


@wrong("task_14_3")
def class_rollout__multiplied_from_the_right(maps, grid):
    """Each new layer was multiplied from the right; the last layer stands leftmost, since it reads the others."""
    return _rollout(maps, grid, left=False)


@wrong("task_14_3")
def class_rollout__without_shortcuts(maps, grid):
    """The identity is missing: half of every token is what it was before, through the residual connection."""
    return _rollout(maps, grid, add=0.0)


@wrong("task_14_3")
def class_rollout__rows_not_divided(maps, grid):
    """A + I was halved, not divided by its rows' sums; after entries were dropped these are not 2."""
    return _rollout(maps, grid, norm=False)


@wrong("task_14_3")
def class_rollout__sums_without_keepdim(maps, grid):
    """Without `keepdim` the sums of the rows divide the columns; each row is divided by its own."""
    return _rollout(maps, grid, keepdim=False)


@wrong("task_14_3")
def class_rollout__largest_head(maps, grid):
    """The largest head was taken for each entry; take the average over the heads."""
    return _rollout(maps, grid, heads=lambda m: m.amax(dim=1))


@wrong("task_14_3")
def class_rollout__first_head(maps, grid):
    """Only the first head was followed; take the average over the heads."""
    return _rollout(maps, grid, heads=lambda m: m[:, 0])


@wrong("task_14_3")
def class_rollout__column_of_the_class_token(maps, grid):
    """The class token's *column* says who read it; its row says what it read."""
    return _rollout(maps, grid, pick=lambda total: total[:, 1:, 0])


@wrong("task_14_3")
def class_rollout__last_token_dropped(maps, grid):
    """The class token is token 0: drop the first entry of the row, not the last."""
    return _rollout(maps, grid, pick=lambda total: total[:, 0, :-1])


@wrong("task_14_3")
def class_rollout__last_layer_only(maps, grid):
    """Only the last layer is shown; multiply all of them."""
    return _rollout(maps[-1:], grid)


@wrong("task_14_3")
def class_rollout__grid_exchanged(maps, grid):
    """The patches were laid out column by column; they lie row by row."""
    return _rollout(maps, (grid[1], grid[0])).mT


# --- task 4: repair an interpolation ---


def stretch(rows, columns, new_rows, new_columns, table):
    """Bicubic by its definition: weights of the four nearest in each direction, edges repeated: m d."""

    def weights(new, old):
        matrix = torch.zeros(new, old, dtype=torch.float64)
        for i in range(new):
            at = (i + 0.5) * old / new - 0.5
            for k in range(math.floor(at) - 1, math.floor(at) + 3):
                t, a = abs(at - k), -0.75
                near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
                matrix[i, min(max(k, 0), old - 1)] += near if t <= 1 else far if t < 2 else 0
        return matrix

    cells = table.reshape(rows, columns, -1)
    return torch.einsum("ia,jb,abd->ijd", weights(new_rows, rows), weights(new_columns, columns), cells).flatten(0, 1)


@task(
    "task_14_4",
    without=("course_lib",),
    hint="Vectors of patches on a grid that is not square, stretched by bicubic weights, row by row.",
)
def test_positions_are_stretched_like_a_picture(student, draw):
    rows, columns, new_rows, new_columns, d = draw.primes(5, high=13)
    table = draw.normal(1, 1 + rows * columns, d)
    expected = torch.cat([table[0, :1], stretch(rows, columns, new_rows, new_columns, table[0, 1:])])[None]
    assert_same(student.interpolate_positions(table, (rows, columns), (new_rows, new_columns)), expected)


@task("task_14_4", hint="The same grid again must return the same table.")
def test_the_same_grid_keeps_the_table(student, draw):
    rows, columns, d = draw.primes(3, high=11)
    table = draw.normal(1, 1 + rows * columns, d)
    assert_same(student.interpolate_positions(table, (rows, columns), (rows, columns)), table)


def _stretch(positions, grid, new_grid, *, back=None, **options):
    picture = positions[:, 1:].mT.unflatten(2, grid)
    options = {"mode": "bicubic", "align_corners": False} | options
    picture = F.interpolate(picture, size=new_grid, **options)
    table = picture.flatten(2).mT if back is None else back(picture)
    return torch.cat([positions[:, :1], table], dim=1)


@wrong("task_14_4")
def interpolate_positions__as_it_was(positions, grid, new_grid):
    """This is still the code of the task: n and d are never exchanged, and rows are taken for columns."""
    d = positions.shape[2]
    table = positions[:, 1:].reshape(1, d, grid[1], grid[0])
    table = F.interpolate(table, size=(new_grid[1], new_grid[0]), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], table.reshape(1, -1, d)], dim=1)


@wrong("task_14_4")
def interpolate_positions__only_rows_and_columns(positions, grid, new_grid):
    """Rows and columns are right now, but n and d are still reshaped instead of exchanged."""
    d = positions.shape[2]
    table = F.interpolate(positions[:, 1:].reshape(1, d, *grid), size=new_grid, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], table.reshape(1, -1, d)], dim=1)


@wrong("task_14_4")
def interpolate_positions__only_exchanged(positions, grid, new_grid):
    """The axes are exchanged now, but rows are still taken for columns; that goes unnoticed on square grids."""
    return _stretch(positions, grid[::-1], new_grid[::-1])


@wrong("task_14_4")
def interpolate_positions__not_exchanged_back(positions, grid, new_grid):
    """After stretching, 1 d rows columns was reshaped to 1 m d: exchange the axes on the way back too."""
    return _stretch(positions, grid, new_grid, back=lambda p: p.reshape(1, -1, p.shape[1]))


@wrong("task_14_4")
def interpolate_positions__laid_out_by_columns(positions, grid, new_grid):
    """The stretched patches are laid out column by column; they must lie row by row."""
    return _stretch(positions, grid, new_grid, back=lambda p: p.mT.flatten(2).mT)


@wrong("task_14_4")
def interpolate_positions__bilinear(positions, grid, new_grid):
    """The interpolation is bilinear; bicubic was asked for, and published weights differ in this."""
    return _stretch(positions, grid, new_grid, mode="bilinear")


@wrong("task_14_4")
def interpolate_positions__corners_aligned(positions, grid, new_grid):
    """align_corners=True keeps corners in corners; patches are squares, so align_corners=False was asked for."""
    return _stretch(positions, grid, new_grid, align_corners=True)


@wrong("task_14_4")
def interpolate_positions__class_token_last(positions, grid, new_grid):
    """The class token's row is row 0; it was put at the end."""
    return _stretch(positions, grid, new_grid).roll(-1, dims=1)


@wrong("task_14_4")
def interpolate_positions__class_token_stretched(positions, grid, new_grid):
    """All rows were stretched as one line, the class token among them; it has no place, and patches have two axes."""
    return F.interpolate(positions.mT, size=1 + new_grid[0] * new_grid[1], mode="linear").mT


# --- task 5: parameters ---


def shapes(height, width, p, c, d, depth, classes):
    """Every tensor of a ViT by its shape."""
    block = [(d,)] * 4 + [(d, d), (d,)] * 4 + [(4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    around = [(d, c, p, p), (d,), (1, d), (1 + height // p * (width // p), d), (d,), (d,), (classes, d), (classes,)]
    return around + depth * block


def count(sizes):
    return sum(math.prod(shape) for shape in shapes(*sizes))


@task("task_14_5", without=("course_lib",), hint="List every tensor of a ViT with its shape, and add up their sizes.")
def test_parameters_equal_the_sum_over_tensors(student, draw):
    for p in (2, 3, 5):
        rows, columns, c, d, depth, classes = draw.primes(6)
        sizes = (p * rows, p * columns, p, c, d, depth, classes)
        assert number(student.count_parameters(*sizes)) == count(sizes)


@wrong("task_14_5")
def count_parameters__no_position_for_the_class_token(*sizes):
    """The class token has a position vector too: there are N + 1."""
    *_, d, _, _ = sizes
    return count(sizes) - d


@wrong("task_14_5")
def count_parameters__without_positions(*sizes):
    """The table of positions is missing: N + 1 vectors of D numbers."""
    h, w, p, _, d, _, _ = sizes
    return count(sizes) - (h // p * (w // p) + 1) * d


@wrong("task_14_5")
def count_parameters__without_biases_in_attention(*sizes):
    """Query, key, value and project have a bias each: 4D² + 4D."""
    *_, d, depth, _ = sizes
    return count(sizes) - 4 * depth * d


@wrong("task_14_5")
def count_parameters__half_an_mlp(*sizes):
    """The MLP has two layers, D → 4D and 4D → D; one of them is missing."""
    *_, d, depth, _ = sizes
    return count(sizes) - depth * (4 * d * d + d)


@wrong("task_14_5")
def count_parameters__mlp_without_biases(*sizes):
    """The MLP's two layers have biases, 4D and D."""
    *_, d, depth, _ = sizes
    return count(sizes) - depth * 5 * d


@wrong("task_14_5")
def count_parameters__one_norm_in_a_block(*sizes):
    """Each block has two LayerNorms, with a weight and a bias for each channel: 4D."""
    *_, d, depth, _ = sizes
    return count(sizes) - depth * 2 * d


@wrong("task_14_5")
def count_parameters__without_the_last_norm(*sizes):
    """After the last block stands one more LayerNorm: 2D."""
    *_, d, _, _ = sizes
    return count(sizes) - 2 * d


@wrong("task_14_5")
def count_parameters__three_layers_of_attention(*sizes):
    """Query, key and value are three layers; the projection after the heads is the fourth."""
    *_, d, depth, _ = sizes
    return count(sizes) - depth * (d * d + d)


@wrong("task_14_5")
def count_parameters__patch_of_one_channel(*sizes):
    """A patch has P · P pixels of c channels each: c · P² · D weights."""
    _, _, p, c, d, _, _ = sizes
    return count(sizes) - (c - 1) * p**2 * d


@wrong("task_14_5")
def count_parameters__height_as_width(*sizes):
    """The image was taken for a square: N = (h / P) · (w / P)."""
    h, w, p, _, d, _, _ = sizes
    return count(sizes) + ((h // p) ** 2 - h // p * (w // p)) * d
