# %% [markdown]
# # 19 · Which one
#
# **All modules of this course on the same tasks, with the same budget: which would you use?**
#
# After this lesson you will be able to
#
# - count, before any training, what a module can carry from place to place;
# - read a comparison with its costs, its front and its rivals, and tell "cannot" from "slow";
# - choose a module for a task, and name the number that made you choose.
#
# *Minutes:* 32, deeper 4 · *Needs:* 04, 05, 10, 11, 12, 13, 14, 15, 16, 17, 18 · *Paper:* Guo et al., Attention Mechanisms in Computer Vision: A Survey, 2022, arXiv 2111.07624 · *Exercise:* [19 which one](../exercises/19_which_one.ipynb) · *Module:* [slot.py](../course_lib/comparison/slot.py), [tasks.py](../course_lib/comparison/tasks.py), [construction.py](../course_lib/comparison/construction.py)
#
# Out of scope: whole networks, and accuracy on ImageNet.

# %%
import textwrap
from statistics import mean

import torch

from course_lib.channel.efficient_channel import EfficientChannel
from course_lib.channel.style_recalibration import StyleRecalibration
from course_lib.comparison.construction import STRIP, across, crossing, rank, some_image, wide_awake
from course_lib.comparison.slot import LEFT_OUT, RIVALS, fill
from course_lib.comparison.stored import load_rows
from course_lib.comparison.tasks import TASKS
from course_lib.costs import multiply_adds
from course_lib.data.photographs import load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, describe, new_figure, plot_runs, show_asked, show_image, show_row
from course_lib.trunk import load_trunk

# %% [markdown]
# ## One slot, five tasks
#
# Each lesson had its own task, network and steps, so scores of two lessons cannot be compared. Here every module stands in a **slot**: it gets features b c h w and returns as many. Around the slot is a small network, one for each task. All else, the **budget**, is the same for all: images, steps, batch, learning rate (none is tuned), three seeds.
#
# | task | what the slot must do | lesson | score |
# |---|---|---|---|
# | cued channel | choose a channel by what is seen elsewhere | 03 | share right |
# | recall | find the place that holds the answer to this place's question | 09 | share right |
# | shift | read at a distance that differs from place to place | 08 | share of variance explained |
# | salient frame | let one moment count for more than the others | 17 | share right |
# | clutter | see one thing among pieces of others | 06 | share right |


# %% tags=["folded"]
def show_recall(axes, image):
    """Coloured pixels that hold a number, and coloured pixels that ask for one: 10 h w."""
    for i, j in (image.abs().sum(dim=0) > 0).nonzero().tolist():
        axes.plot(j, i, "s", ms=14, color=COLOURS[int(image[:4, i, j].argmax())])
        text = "?" if image[9, i, j] > 0 else int(image[4:8, i, j].argmax())
        axes.text(j, i, text, ha="center", va="center", color="white")
    axes.set(xlim=(-0.6, 7.6), ylim=(7.6, -0.6), aspect="equal", xticks=[], yticks=[])
    axes.set_title("recall: my colour's number?")


# %% tags=["folded"]
examples = {name: [one[0] for one in task.data(3, 1, True)] for name, task in TASKS.items()}
figure = new_figure(7.0, 4.9)
upper, middle, lower = figure.subfigures(3, 1, height_ratios=[0.9, 1.15, 2.9])
image, label = examples["cued channel"]
show_row(upper.subplots(), image.unbind(), [f"cued channel: say {label}", "", "", "says which counts"])
film, label = examples["salient frame"]
show_row(middle.subplots(), film[:, 0].T.view(8, 8, 8).unbind(), ["", f"salient frame: say {label}", *[""] * 6])
left, centre, right = lower.subplots(1, 3)
show_recall(left, examples["recall"][0])
inputs, target = examples["shift"]
scaled = [(one - one.min()) / (one.max() - one.min()) for one in (*inputs, target[0])]
show_row(centre, scaled, ["shift: read", "so far", "result"])
image, label = examples["clutter"]
show_image(right, image[0], title=f"clutter: say {label}")
describe(
    figure,
    "three rows. Cued channel: three dark channels with a digit each at their left end, and a fourth with stripes at its right end. Salient frame: eight frames with a digit each; one is bright. "
    "Last row: recall, a field with four coloured squares that hold a number and eight coloured squares with a question mark; shift, a smooth grey pattern, a second one that says how far to read, and the result; clutter, a digit with pieces of others.",
)

# %% [markdown]
# Forty-four modules of the catalogue fit into the slot (seven do not: deeper). Four **rivals** without attention stand beside them: nothing at all, and convolutions 1 × 1, 3 × 3 and 7 × 7.
#
# ## By construction: what crosses?
#
# What no setting of a slot's numbers carries, no training makes it carry. We try random ones, on a strip of features, 16 × 7 × 24, so long that no window reaches from end to end. **Nudge each of the 64 inputs in four places at the left end, and watch 64 outputs in four places at the right end.** This gives a table of derivatives, 64 × 64. Its **rank** says how many independent numbers cross.


# %%
def by_hand(slot, x, nudge=1e-4):
    """Nudge the first four places, watch the last four of the first row: places, channels, inputs."""
    follows = []
    for channel in range(16):
        for place in range(4):
            up, down = x.clone(), x.clone()
            up[0, channel, 0, place] += nudge
            down[0, channel, 0, place] -= nudge
            follows.append((slot(up) - slot(down))[0, :, 0, -4:] / (2 * nudge))  # c, places
    return torch.stack(follows, dim=-1).transpose(0, 1)


# %% [markdown]
# Three modules: a *gate* that squeezes 16 channels to 4 numbers (SE, 03); A² (11), which gathers four descriptors of 4 numbers and gives each place its own mixture of them; and a deformable convolution (08).
# *Before running: how many numbers reach one place at the right, and how many reach four places together?*

# %% tags=["answer"]
x = some_image(STRIP)  # 1 c h w, double precision
for name in ("SqueezeExcitation", "DoubleAttention", "DeformableConv2d"):
    slot = wide_awake(fill(name, *STRIP))  # every number random: nothing starts at 0
    with torch.no_grad():
        derivatives = by_hand(slot, x)
    torch.testing.assert_close(derivatives, across(slot, x), rtol=1e-5, atol=1e-9)
    one, four = rank(across(slot, x)[-1]), rank(across(slot, x).flatten(0, 1))
    print(f"{name:18} to one place: {one:2}   to four: {four:2}")

# %% [markdown]
# SE: 3 numbers (the ReLU silences one of its four), the *same* for all: four places know no more than one. A²: 4 to each place, each its own. The deformable convolution: none; with these numbers its samples lie near.
#
# **All of them.** (`crossing` does this for two random starts and takes the largest.)

# %% tags=["answer"]
table = load_rows()
names = list(table["recall"])
crosses = {name: crossing(lambda: fill(name, *STRIP)) for name in names}
groups = {"nothing crosses": [], "one message for all": [], "each place its own": []}
for name, (one, four) in crosses.items():
    groups[list(groups)[(four > 0) + (four > one)]].append(
        f"{name} {four}" if one == four else f"{name} {one}|{four}"
    )
for title, members in groups.items():
    print(textwrap.fill(f"{title.upper()} ({len(members)}): " + ", ".join(members), 110), "\n")

# %% [markdown]
# **Read it.** A rank is a lower bound: with other random starts fewer ReLUs are silent (eight starts: SE 4, GlobalContext 3). Five lines surprised us:
#
# - *NonLocal* brings 8 numbers to a place, not 16: by default it works with half of the channels;
# - *CompactNonLocal* (CGNL) is called non-local, yet all places get one message;
# - *DynamicConv2d* sends 3 numbers: the weights of its four kernels sum to 1;
# - *Gater* sends nothing that a nudge finds: its gates are 0 or 1. A rank counts slopes, not switches;
# - *DeformableConv2d* (and *DynamicGraph*): must it stay near? We move all its samples 20 columns to the left:

# %% tags=["answer"]
slot = wide_awake(fill("DeformableConv2d", *STRIP))
with torch.no_grad():
    slot.offset.bias[1::2] -= 20  # rows and columns take turns
print("moved:", rank(across(slot, x)[-1]), "to one place,", rank(across(slot, x).flatten(0, 1)), "to four")

# %% [markdown]
# So "nothing crosses" is a proof for a window with fixed borders, and only a *start* for a module that chooses where it reads. And what *can* cross, training may leave unused.
#
# ## Predict first
#
# Four modules: **ECA** (EfficientChannel; one message), **NonLocal** (each place its own), **DeformableConv2d** (nothing crosses at the start, but each place chooses where it reads), and the rival **convolution 7 × 7**.
# *Before running: put the four in order for each of the five tasks.*
#
# Ours, made before the table was complete: *cued channel* ECA, NonLocal, others; *recall* NonLocal, others; *shift* DeformableConv2d, convolution, others; *salient frame* NonLocal, ECA, convolution, DeformableConv2d; *clutter* NonLocal, DeformableConv2d, ECA, convolution, all within 0.05.

# %% tags=["answer"]
FOUR = ["EfficientChannel", "NonLocal", "DeformableConv2d", "convolution 7 × 7"]
for task, rows in table.items():
    ordered = sorted(FOUR, key=lambda name: -rows[name].score)
    words = (f"{name} ≈ {rows[name].score:.2f}" for name in ordered)
    print(f"{task:13}", ", ".join(words))

# %% [markdown]
# **Read it.** *Recall* and *shift* came as we had said. *Cued channel*: NonLocal is level with ECA (their seeds overlap). *Salient frame*: we were badly wrong. ECA is last, no better than an empty slot. One message is not the reason: SRM, also a gate that all frames share, gets 0.92. And the deformable convolution does well (eight frames are no long strip). *Clutter*: the first two in the other order, and further apart than we said; but NonLocal's seeds alone lie 0.15 apart.
#
# ## The table
#
# `python -m benchmarks.tasks` has trained all 48 with three seeds on each task (all numbers: [tasks.md](../benchmarks/tasks.md)). A dot is a module, the mean of its seeds; its row is its group. Crosses are rivals.
# *Before running: on which tasks will the group decide?*

# %% tags=["folded"]
group_of = [(four > 0) + (four > one) for one, four in crosses.values()]
figure = new_figure(7.0, 5.2)
grid = figure.subplots(5, 1, sharex=True)
for axes, (task, rows) in zip(grid, table.items()):
    for name, group in zip(names, group_of):
        if name in rows:
            axes.plot(rows[name].score, group, "x" if name in RIVALS else "o", color=COLOURS[group], alpha=0.6)
    axes.set(yticks=range(3), yticklabels=["nothing crosses", "one message", "each its own"], ylim=(2.5, -0.5))
    axes.set_title(task, loc="left")
grid[-1].set(xlim=(0, 1.02), xlabel="score")
describe(
    figure,
    "five panels, one for each task, with three rows of dots, the groups, from score 0 to 1. Cued channel: nothing crosses from 0.35 to 0.46 with three exceptions up to 0.93; one message mostly from 0.7 to 0.94; each its own mostly near 0.9. "
    "Recall: beyond 0.6 lie only one dot of one message and most of each its own. Shift: two dots of nothing crosses at 1, nearly all of the others near 0.57. Salient frame: each its own from 0.83 to 0.96, the two other groups from 0.34 to 0.95. Clutter: all groups spread from 0.4 to 0.78.",
)


# %% tags=["answer"]
for task, rows in table.items():
    best = sorted(rows, key=lambda name: -rows[name].score)[:3]
    words = (f"{n} ≈ {rows[n].score:.2f} ({min(rows[n].scores):.2f} to {max(rows[n].scores):.2f})" for n in best)
    print(f"{task:13}", ", ".join(words))

# %%
recall = {name: row.score for name, row in table["recall"].items()}
own = {name for name, (one, four) in crosses.items() if four > one}
print("above 0.6 on recall, without a message for each:", {n for n in recall if recall[n] > 0.6} - own)
assert table["shift"]["DeformableConv2d"].score > 0.95 and table["shift"]["DynamicGraph"].score > 0.95
assert max(row.score for name, row in table["shift"].items() if name in own) < 0.9

# %% [markdown]
# **Read it.** *The group decides little by itself.*
#
# - *Recall*: nearly all that get past 0.6 give each place its own answer. One does not: GSoP (SecondOrderPooling), whose gates come from products of channels (04). (Whether that is why, we did not test.) Size is not it: the 7 × 7 convolution has 23 times NonLocal's numbers, and gets 0.42 (with ReLUs around it, tried once, too).
# - *Shift*: the best two are in the group that carries **nothing** across. Both choose where they read, near by. None that reads everywhere gets past 0.9.
# - *Cued channel*: one message is enough. (Twelve columns are no long strip: the 7 × 7 convolution gets 0.81.)
# - *Clutter*: a slot with *nothing* in it gets 0.72 (0.69 to 0.77); only four modules get more. Is FramePooling, 0.78, better? With new seeds (3 to 8, measured apart) it gets 0.67, nothing 0.71. **It was luck: the best of many noisy scores mostly is.**
# - Seeds differ: SE on the cued channel gives 0.60, 0.92 and 0.81.
#
# **Is the stored table still true?** A slice, trained now: recall, seed 0.


# %%
def train_longer(name, times, seed=0):
    """The score on recall after so many times the budget's steps."""
    task = TASKS["recall"]
    budget = task.budget | {"steps": times * task.budget["steps"]}
    return task._replace(budget=budget).run(lambda: fill(name, *task.size), seed)


# %%
for name in ("EfficientChannel", "SimplifiedNonLocal", "NonLocal"):
    now, kept = train_longer(name, 1), table["recall"][name].scores[0]
    print(f"{name:18} now ≈ {now:.2f}, stored ≈ {kept:.2f}")
    assert abs(now - kept) < 0.1

# %% [markdown]
# ## Score against cost
#
# The cost: measured milliseconds of a training step of the whole network. A module is on the **front** if nothing that costs less is as good. Seeds scatter: *each* of its seeds must beat the mean of all that cost less.


# %%
def front(points):
    """Names whose worst seed beats the mean of all that cost less: {name: (cost, scores)} -> names, cheapest first."""
    kept, best = [], -torch.inf
    for name, (_, scores) in sorted(points.items(), key=lambda item: (item[1][0], -mean(item[1][1]))):
        if min(scores) > best:
            kept.append(name)
        best = max(best, mean(scores))
    return kept


tried = {"a": (1, [0.5]), "tie": (1, [0.6]), "worse": (2, [0.4]), "better": (3, [0.9]), "wide": (4, [0.8, 1.0])}
assert front(tried) == ["tie", "better"]


# %% tags=["folded"]
def points_of(task):
    """Cost and scores of each module."""
    return {name: (row.milliseconds, row.scores) for name, row in table[task].items()}


def draw_front(figure, task="recall"):
    """Score against milliseconds; the front is joined and named."""
    axes, points = figure.subplots(), points_of(task)
    dots = {name: (cost, mean(scores)) for name, (cost, scores) in points.items()}
    axes.plot(*zip(*(dots[name] for name in dots if name not in RIVALS)), "o", color=COLOURS[0], alpha=0.5)
    axes.plot(*zip(*(dots[name] for name in dots if name in RIVALS)), "x", color=COLOURS[1], alpha=0.5)
    kept = front(points)
    corners = [dots[name] for name in kept]
    axes.plot(*zip(*corners), color="black", lw=1, zorder=0)
    words = "\n".join(f"{cost:5.1f} ms  {score:.2f}  {name}" for name, (cost, score) in zip(kept, corners))
    axes.text(1.02, 1.0, "on the front:\n" + words, transform=axes.transAxes, va="top")
    axes.set(xscale="log", xlabel="ms for a step (log)", ylabel="score", title=task)
    axes.set(xticks=[1, 10, 100], xticklabels=[1, 10, 100], yticks=[0, 0.5, 1], xlim=(0.9, 130))
    axes.minorticks_off()


# %% [markdown]
# **Change the task.** *Before moving: is there a module that is on the front of all five?* (Crosses: the rivals.)

# %% tags=["widget"]
steer(draw_front, height=2.8, task=slider("task", list(TASKS), value="recall"))

# %% [markdown]
# The same without a widget:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 5.4)
for panel, task in zip(figure.subfigures(2, 1), ("cued channel", "recall")):
    draw_front(panel, task)
describe(
    figure,
    "two panels of dots, score against milliseconds. Cued channel: the front rises steeply at the left end, from nothing, 0.35, over GatherExcite, SqueezeExcitation, ChannelAttention and StyleRecalibration to CrossFrameGlobalAttention, 0.93; modules that cost up to nine times more score hardly better. "
    "Recall: the front rises from nothing, 0.25 at 1.6 ms, over SimplifiedNonLocal, ChannelAttention, StyleRecalibration and DoubleAttention to NonLocal, 1.00 at 6.2 ms.",
)

# %% tags=["answer"]
fronts = {task: front(points_of(task)) for task in TASKS}
for name in sorted(names, key=lambda name: -sum(name in kept for kept in fronts.values())):
    if sum(name in kept for kept in fronts.values()) > 1:
        print(f"{name:20} on the front of", ", ".join(task for task, kept in fronts.items() if name in kept))

# %% [markdown]
# No module stands on all five; only *nothing* does, as the cheapest always will. At the dear end stand three that do just what their task asks: NonLocal for recall, DeformableConv2d for shift, FramePooling (17) for the salient frame. (On clutter FramePooling stands by luck.) SRM, on two fronts, squeezes a channel to its mean *and* its standard deviation:

# %% tags=["folded"]
diagram(StyleRecalibration)

# %% [markdown]
# ## Cannot, or slow?
#
# A low score has two causes: the module *cannot*, or it has *not learned yet*. **More steps** tell them apart. Three low ones on recall: convolution 3 × 3 (nothing crosses), ECA (one message), ExternalAttention (each place its own).
#
# What can one message give? Say that it holds how often each number occurs. Then the best answer is the most frequent one.

# %%
images, answers = TASKS["recall"].data(1000, 1000, True)
often = images[:, 4:8].sum(dim=(2, 3))  # b 4: how often each number occurs
asks = answers >= 0
most = often.argmax(dim=1)[:, None, None].expand_as(answers)
counting = (most == answers)[asks].float().mean().item()
print(f"the most frequent number is right: {counting:.2f}")

# %% [markdown]
# **We predicted**: with three times the steps the convolution stays, ECA stays, ExternalAttention reaches 1. *Before running: do you agree?*

# %% tags=["answer"]
low = {"convolution 3 × 3": 1, "EfficientChannel": 3, "ExternalAttention": 2}  # seeds
after = {name: [train_longer(name, 3, seed) for seed in range(seeds)] for name, seeds in low.items()}
after["ECA, six times"] = [train_longer("EfficientChannel", 6)]
for name, scores in after.items():
    print(f"{name:18} right ≈ {' '.join(f'{one:.2f}' for one in scores)}")

# %%
assert after["convolution 3 × 3"][0] < 0.4 and abs(after["ECA, six times"][0] - counting) < 0.05
assert max(after["EfficientChannel"]) < counting + 0.05 and min(after["ExternalAttention"]) > 0.8

# %% tags=["folded"]
figure = new_figure(7.0, 2.4)
axes = figure.subplots()
once = {f"{name}, once": table["recall"][name].scores for name in low}
plot_runs(
    axes,
    once
    | {f"{name}, three times": after[name] for name in low}
    | {name: after[name] for name in after if name not in low},
    guess=counting,
)
axes.set_xlabel("share right (dotted: the most frequent number)")
describe(
    figure,
    "seven rows of dots and a dotted line at 0.53. Once: convolution at 0.31, ECA at 0.25, ExternalAttention from 0.36 to 0.46. Three times: convolution at 0.31, ECA from 0.31 to 0.38, ExternalAttention at 1. ECA, six times: on the dotted line.",
)

# %% [markdown]
# **Read it.** *ECA did not stay; the others did as predicted.* The convolution cannot, ExternalAttention was slow. ECA climbs, and after six times the steps it stands where counting stands: it was slow, *and* the count says where to expect its ceiling. (Trained seven, eight, nine and ten times as long, tried with one seed, it got 0.52 or 0.53; with a ReLU before the slot, 0.53 too.)
#
# ## On a photograph
#
# **Who has a say in what one place hears, on a photograph?** Features of the trunk (03, block 4, 40 channels). We ask at the cat's left eye, and colour each place by the size of its derivatives. The modules are random again.
# *Before running: three modules, three maps. What do they look like?*


# %%
def who_has_a_say(name, features, place):
    """How strongly each place's features move the answer at one place: 1 c h w -> h w."""
    slot = wide_awake(fill(name, *features.shape[1:]))
    x = features.double().requires_grad_()
    answer = slot(x)[0, :, *place]  # c
    weights = torch.randn(len(answer), generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    [derivatives] = torch.autograd.grad(answer @ weights, x)
    return derivatives[0].norm(dim=0).float()


# %% tags=["folded"]
cat = load_photograph("cat", height=200)
features = load_trunk()(cat[None], block=4)
features = 0.3 * (features - features.mean(dim=(2, 3), keepdim=True)) / features.std()  # no softmax is full
place = (9, 15)
figure = new_figure(7.0, 2.2)
says = {name: who_has_a_say(name, features, place) for name in ("convolution 7 × 7", "EfficientChannel", "NonLocal")}
for axes, (name, say) in zip(figure.subplots(1, 3), says.items()):
    show_asked(axes, cat, say, place, title=name)
describe(
    figure,
    "a cat's face three times, a ring at its left eye. Convolution: a square of 7 × 7 coloured cells around the ring. EfficientChannel: all cells in one bright colour. NonLocal: all cells faintly coloured, some more; the brightest one lies in the other eye.",
)

# %% [markdown]
# **Read it.** The convolution hears its window. ECA hears all others *alike*, each very little beside the place's own say. NonLocal hears all *unequally*. With these random numbers the other eye leads; a trained block may ask others.
#
# ## Are the papers' claims about cost true?
#
# We counted seventeen ([claims.md](../benchmarks/claims.md), by `python -m benchmarks.claims`): **fourteen held, three did not.** (One, a speed on a GPU, held on a processor, with a smaller map.)
#
# | the claim | here |
# |---|---|
# | ECA has 80 parameters in ResNet-50 | 86 by the paper's own rule |
# | criss-cross needs 11 times less memory than Non-local | 2.6 times less; its maps alone 24 times |
# | a pyramid of keys needs 28 times less | 13.4 times less; its maps alone 298 times |
#
# With today's fused kernel, which stores no map, *Non-local keeps less than criss-cross*: 111 MiB against 175. ECA's rule, counted for the 16 blocks:

# %%
STAGES = {256: 3, 512: 4, 1024: 6, 2048: 3}  # ResNet-50: channels, blocks
print(sum(blocks * EfficientChannel(c).conv.weight.numel() for c, blocks in STAGES.items()), "parameters")

# %% [markdown]
# ## The page for your wall
#
# | if you need | start with | the number that says so |
# |---|---|---|
# | a channel, chosen by what is seen elsewhere | SRM or ECA (04, 05) | cued channel 0.92 and 0.89, less than 1 ms more than nothing |
# | a place to find another one | Non-local (09) | recall 1.00 with each seed, in the shortest time |
# | the same on a large map | asymmetric pyramid (11) or GloRe (12) | recall 1.00; work that grows by about 4 for 4 times the places, Non-local's by 15 |
# | to read near by, each place elsewhere | deformable convolution (08) | shift 1.00; next other kind: a 7 × 7 convolution, 0.85 |
# | one moment of a few | frame pooling (17) | salient frame 0.95, cheaper than NonLocal's 0.96 |
# | one thing among others | nothing at all | clutter 0.72; the best of 44, 0.78, fell to 0.67 with new seeds |
# | you do not know what | a larger convolution, as rival | shift: the 7 × 7 beats 42 of 44; elsewhere 13 to 19 |
#
# *Before running: which line would you trust least?*

# %%
rows = {task: {name: row.score for name, row in found.items()} for task, found in table.items()}
assert min(rows["cued channel"]["StyleRecalibration"], rows["cued channel"]["EfficientChannel"]) > 0.88
assert all(min(table["recall"][n].scores) > 0.99 for n in ("NonLocal", "AsymmetricPyramid", "GlobalReasoning"))
assert rows["salient frame"]["FramePooling"] > 0.93
for task in TASKS:
    beaten = sum(rows[task][name] < rows[task]["convolution 7 × 7"] for name in rows[task] if name not in RIVALS)
    print(f"{task:13} the 7 × 7 convolution beats {beaten} of {len(rows[task]) - len(RIVALS)} modules")
for name in ("AsymmetricPyramid", "GlobalReasoning", "NonLocal"):
    small, large = (multiply_adds(fill(name, 64, n, n), torch.zeros(1, 64, n, n)) for n in (32, 64))
    print(f"{name:17} four times the places: {large / small:.1f} times the work")

# %% [markdown]
# ## The bridge
#
# | | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | nothing crosses, chosen samples (08) | the place | – | four pixels around each sample | b k h w | distance, sums to 1 | k · c² · n |
# | one message (03, 05, 10) | the image, or one learned | channels, or places | the channels | b c, or b n | sigmoid, or softmax | c² or c · n |
# | each place its own (09) | the place | all places | all places | b n n | softmax | 2 c · n² |
# | … through few things (11, 12) | the place | m nodes, slots or pooled keys | the same | b n m | softmax, or none | 2 c · n · m |
#
# ## Three things to keep
#
# 1. Before any training, count what crosses a long way: nothing, one message, or each place its own. What cannot cross, with any numbers, cannot be learned.
# 2. A low score says "cannot" or "slow". More steps, and a count of what can cross, tell which.
# 3. No module is the best on all five tasks. Ask what the task needs, then put a plain convolution beside your choice.
#
# **Now the [exercise](../exercises/19_which_one.ipynb).**
#
# ## Deeper · What was left out (1 minute)
#
# Seven rows of the catalogue fit into no slot. *Before running: which ones would you leave out, and why?*

# %% tags=["answer"]
for name, why in LEFT_OUT.items():
    print(f"{name:30} {why}")

# %% [markdown]
# ## Deeper · Where five toy tasks mislead (3 minutes)
#
# *Before running: do dearer or larger modules score better?*
#
# - *One budget.* With three times the steps, ExternalAttention goes from 0.43 to 1.00 on recall. On clutter (tried once) an empty slot gets 0.82, NonLocal 0.76, FramePooling 0.84.
# - *Small maps.* On 8 × 8 places a window of 7 reaches nearly everything: stand-alone attention gets 0.60 on recall. On larger maps a window sees a smaller part.
# - *Few channels.* Inner layers keep a quarter of 16 or 32 channels, where papers keep a sixteenth of hundreds.
# - *Fitted.* Modules for films, sequences or two inputs get columns as frames, or the same input twice. Some modules add their answer to their input, others replace it.
# - *One slot.* Real networks have a slot in each of their blocks. What one 3 × 3 convolution cannot carry, sixteen can.
# - *One clock.* Milliseconds are those of our processor. Does counting give the same order?


# %%
def ranks(values):
    """The place of each value in their order."""
    return torch.tensor(values, dtype=torch.float64).argsort().argsort().double()


def agree(one, other):
    """Rank correlation: 1 for the same order, 0 for none."""
    return torch.corrcoef(torch.stack([ranks(one), ranks(other)]))[0, 1].item()


# %% tags=["answer"]
for task, found in table.items():
    columns = torch.tensor([[row.score, row.milliseconds, row.multiply_adds, row.numbers] for row in found.values()])
    score, clock, count, numbers = columns.double().T.tolist()
    words = {
        "clock and count": (clock, count),
        "score and clock": (score, clock),
        "score and numbers": (score, numbers),
    }
    print(f"{task:13}", ", ".join(f"{what} ≈ {agree(*pair):.2f}" for what, pair in words.items()))

# %% [markdown]
# Clock and count order the modules much alike, not the same. Dearer modules score better on recall, less so or not at all elsewhere; with the size of a module its score goes hardly.
#
# *References.* Guo, Xu, Liu, Liu, Jiang, Mu, Zhang, Martin, Cheng, Hu, Attention Mechanisms in Computer Vision: A Survey, Computational Visual Media 2022, arXiv 2111.07624. Tan, Le, EfficientNet, ICML 2019, arXiv 1905.11946. The modules' papers stand in their lessons.
