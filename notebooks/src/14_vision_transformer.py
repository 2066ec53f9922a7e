# %% [markdown]
# # 14 · Vision transformer
#
# **What is left of a vision network when only attention is left?**
#
# After this lesson you will be able to
#
# - turn an image into a sentence of patches, and write the encoder that reads it, with every shape;
# - say what a vision transformer knows about geometry before it has seen an image, and what that costs it;
# - draw the rollout of a trained one, and test whether the network needs what the map shows.
#
# *Minutes:* 43, deeper 35 · *Needs:* 01, 09 · *Paper:* Dosovitskiy et al., An Image is Worth 16x16 Words, 2021, arXiv 2010.11929 · *Exercise:* [14 vision transformer](../exercises/14_vision_transformer.ipynb) · *Module:* [vision_transformer.py](../course_lib/spatial/vision_transformer.py)
#
# Out of scope: attention in small windows (13), pre-training without labels, and detection or segmentation with these networks.

# %%
import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.data.digits import load_digits
from course_lib.data.pasted_digits import crops, pasted_digits
from course_lib.data.photographs import load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.models import SmallCNN, small_vit, stem_vit, trained_vit
from course_lib.plotting import COLOURS, describe, new_figure, ring, show_found, show_image, show_images, show_weights
from course_lib.spatial.vision_transformer import SIZES, EncoderBlock, PatchEmbedding, VisionTransformer, rollout
from course_lib.training import accuracy, fit, predict
from course_lib.trunk import ask, load_trunk

# %% [markdown]
# ## An image as a sentence
#
# Lesson 09 put one look-up into a convolutional network. A vision transformer (ViT) drops the convolutions. But the map of all
# pixels is too large: 224 × 224 pixels would make 2.5 billion weights. So its words are *patches*.
#
# **Cut the image into squares, and lay each square out as one row of numbers.** On a page of 4 × 6 numbers, with patches of
# 2 × 2, the first row is 0, 1, 6, 7. *Before running: what is the second row, and how many rows are there?*


# %%
def patchify(image, size):
    """Cut the image into squares, and lay each out as one row of numbers: b c h w -> b n (c p p)."""
    parts = image.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # b c i y j x: patch i j, in it y x
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # b i j c y x -> b (i j) (c y x)


# %% tags=["answer"]
page = torch.arange(24.0).view(1, 1, 4, 6)
patches = patchify(page, 2)
print(patches[0, :2].int().tolist(), "of", patches.shape[1])
assert patches[0, 1].tolist() == [2, 3, 8, 9] and patches.shape == (1, 6, 4)

# %% [markdown]
# **The same on a photograph**, 64 × 96 pixels in patches of 16 × 16. *Before running: how many words, and how many numbers in each?*

# %% tags=["folded", "answer"]
cat = load_photograph("cat", height=64)
words = patchify(cat[None], 16)
tiles = F.pad(words.view(4, 6, 3, 16, 16), (1, 1, 1, 1), value=1.0)  # i j c y x, a white edge around each
titles = ["64 × 96 pixels", f"{words.shape[1]} words of {words.shape[2]} numbers"]
describe(
    show_images([cat, tiles.permute(2, 0, 3, 1, 4).reshape(3, 72, 108)], titles),
    "a cat's face; and the same photograph cut into four rows of six squares with white gaps between "
    "them, each square showing a bit of fur, an eye or the nose. 24 words of 768 numbers.",
)

# %% [markdown]
# **Each word becomes a vector by one linear layer**, the same for all patches. That is a convolution whose stride is its size: it
# reads every patch once. *Before running: the layer makes 10 numbers of 768; which shape has the convolution's weight?*

# %% tags=["answer"]
torch.manual_seed(0)
embed = PatchEmbedding(3, 10, patch_size=16)
weight, bias = embed.projection.weight, embed.projection.bias  # d c p p, d
print("the convolution's weight:", list(weight.shape))

# %%
as_reshape = patchify(cat[None], 16) @ weight.flatten(1).mT + bias
as_convolution = F.conv2d(cat[None], weight, bias, stride=16).flatten(2).mT  # b d i j -> b n d
torch.testing.assert_close(as_reshape, as_convolution)
torch.testing.assert_close(as_reshape, embed(cat[None]))
print(f"largest difference ≈ {(as_reshape - as_convolution).abs().max():.0e}")

# %% [markdown]
# This fits because both flatten a patch in the order *channel, row, column*.
#
# ## The network

# %% tags=["folded"]
diagram(VisionTransformer)

# %% [markdown]
# $$z_0 = [x_\text{class};\; x_p^1 E;\; \ldots;\; x_p^N E] + E_\text{pos}$$
# $$z'_l = \mathrm{MSA}(\mathrm{LN}(z_{l-1})) + z_{l-1} \qquad z_l = \mathrm{MLP}(\mathrm{LN}(z'_l)) + z'_l \qquad l = 1 \ldots L$$
# $$\text{logits} = \mathrm{head}(\mathrm{LN}(z_L^0))$$
#
# | symbol | what it is | shape |
# |---|---|---|
# | $x_p^i$ | patch i, flattened; there are N | c·p·p |
# | $E$ | patch embedding (its bias is left out here) | c·p·p d |
# | $x_\text{class}$ | class token: a learned word that stands for no patch | d |
# | $E_\text{pos}$ | positions: a learned vector for each place in the sentence | n d, n = N + 1 |
# | $z_l$ | the sentence after l blocks | b n d |
# | MSA | the look-up of lesson 01 with s heads; everybody asks everybody | b n d → b n d |
# | MLP | d → 4d → d with GELU in between, for each token by itself | b n d → b n d |
# | LN | LayerNorm: each token to mean 0 and variance 1, then scale and shift | b n d → b n d |
#
# GELU is a ReLU with a soft corner: $u$ times the share of a standard normal distribution that lies below $u$.
#
# Only token 0 is read out at the end. "Where to look" is its row of the maps.
#
# **The block, token by token and head by head.** Each token reads all tokens and adds what it heard; then each thinks for itself.


# %%
def block_by_loops(block, x):
    """Each token reads all tokens, head by head, and adds what it heard; then each thinks for itself: n d -> n d."""
    z = block.attention_norm(x)
    query, key, value = (f(z).unflatten(1, (block.num_heads, -1)) for f in (block.query, block.key, block.value))
    heard = torch.zeros_like(query)  # n s e, with e = d / s
    for i in range(len(x)):
        for s in range(block.num_heads):
            scores = key[:, s] @ query[i, s] / math.sqrt(query.shape[2])
            heard[i, s] = scores.softmax(dim=0) @ value[:, s]
    x = x + block.project(heard.flatten(1))
    return x + block.contract(F.gelu(block.expand(block.mlp_norm(x))))


# %% [markdown]
# As matrices, all heads at once. *Before running: 2 sentences of 7 tokens, 3 heads; which shape has the map?*


# %%
def block_by_matrices(block, x):
    """The same for a batch: b n d -> b n d."""
    value = block.split(block.value(block.attention_norm(x)))  # b n d -> b s n e
    heard = block.attention(x) @ value  # b s n n, b s n e -> b s n e
    x = x + block.project(heard.transpose(1, 2).flatten(2))  # b s n e -> b n (s e)
    return x + block.think(block.mlp_norm(x))


# %% tags=["answer"]
torch.manual_seed(0)
block, x = EncoderBlock(12, 3), torch.randn(2, 7, 12)
torch.testing.assert_close(block_by_matrices(block, x), torch.stack([block_by_loops(block, one) for one in x]))
torch.testing.assert_close(block_by_matrices(block, x), block(x))
print("the map:", list(block.attention(x).shape))

# %% [markdown]
# **And the whole network is five lines.** The class token joins *before* the positions are added.

# %%
torch.manual_seed(0)
vit = VisionTransformer((8, 12), patch_size=4, channels=3, embed_dim=12, depth=2, num_heads=3, num_classes=5)
image = torch.rand(2, 3, 8, 12)

# %%
z = torch.cat([vit.class_token.expand(2, -1, -1), vit.patches(image)], dim=1) + vit.positions
for block in vit.blocks:
    z = block(z)
logits = vit.head(vit.norm(z[:, 0]))
torch.testing.assert_close(logits, vit(image))
print("sentence", list(z.shape), "logits", list(logits.shape))

# %% [markdown]
# ## What it cannot do: see where a patch lies
#
# **Without $E_\text{pos}$ a ViT sees a bag of patches.** We shuffle the patches of an image. *Before running: do the logits change if all positions
# are zero? If not? And if the rows of the table are shuffled along with the patches?*


# %%
def assemble(patches, grid, size):
    """The image whose patches these are: b n (c p p) -> b c h w."""
    return F.fold(patches.mT, (grid[0] * size, grid[1] * size), kernel_size=size, stride=size)


def logits_with(positions, image):
    """What the ViT says with another table of positions."""
    return torch.func.functional_call(vit, {"positions": positions}, image)


# %% tags=["answer"]
order = torch.tensor([4, 2, 0, 5, 1, 3])
shuffled = assemble(patchify(image, 4)[:, order], (2, 3), 4)
zero, along = torch.zeros_like(vit.positions), vit.positions[:, [0, *(order + 1)]]
changes = {
    "positions zero": logits_with(zero, shuffled) - logits_with(zero, image),
    "positions stay": vit(shuffled) - vit(image),
    "positions shuffled along": logits_with(along, shuffled) - vit(image),
}
for name, change in changes.items():
    print(f"{name:25} change ≈ {change.abs().max():.4f}")
    assert (change.abs().max() > 1e-3) == (name == "positions stay")

# %% [markdown]
# The last line has a consequence. A fresh table is random, and a shuffled one is just as random. So *a ViT learns images as well when the patches
# of all of them are shuffled, if it is one shuffle for all*. It does not know that patches 1 and 2 are neighbours.
#
# ## The experiment: a ViT against a CNN of equal size
#
# The handwritten digits of lesson 01: 8 × 8 pixels, 1300 for training, here in patches of 2 × 2. Four networks of about 27,000 numbers:
#
# - a **ViT**, two layers of four heads; and the same with **no positions**: its table is zero and stays zero;
# - a **CNN** of five convolutions, whose last layer is a *global max-pool*: of each channel it keeps the largest value, wherever it stands;
# - a **CNN without that pool**: it lays all places out in a row, and its last layer is linear.


# %%
def no_positions():
    """The ViT with the table of positions at zero, and kept there."""
    model = small_vit(8, 2, width=32)
    nn.init.zeros_(model.positions).requires_grad_(False)
    return model


networks = {
    "ViT": lambda: small_vit(8, 2, width=32),
    "ViT, no positions": no_positions,
    "CNN, max-pool": lambda: SmallCNN(1, 10, width=27),
    "CNN, no pool": lambda: SmallCNN(1, 10, width=25, pool="none", positions=16),
}

# %% [markdown]
# *We predict:* the CNNs win, since they know about neighbours and 1300 images are few. Without positions the ViT loses much.
#
# **Four networks, three seeds; 120 steps of 32 images and one learning rate for all**, chosen so that twelve
# trainings take 15 seconds on a CPU. They need not be the best for any of the four; a deeper section gives the ViT three times the steps.


# %%
digits = load_digits()
images, labels = digits.train_images[:, None], digits.train_labels
test, truth = digits.test_images[:, None], digits.test_labels


def train(make, seed, inputs, targets, steps=120):
    """A network of this kind, trained."""
    torch.manual_seed(seed)
    model = make()
    fit(model, inputs, targets, steps=steps, learning_rate=8e-3, batch_size=32, seed=seed)
    return model


# %%
trained = {name: [train(make, seed, images, labels) for seed in (0, 1, 2)] for name, make in networks.items()}

# %%
right = {name: torch.tensor([accuracy(model, test, truth) for model in models]) for name, models in trained.items()}
for name, shares in right.items():
    size = sum(p.numel() for p in networks[name]().parameters())
    print(f"{name:18} {size} numbers   right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
with_places, bag, pooled, flat = right.values()
assert (torch.minimum(pooled, flat) > with_places + 0.05).all() and (with_places > bag + 0.1).all()

# %% [markdown]
# Both predictions hold. (The *reason* in the first does not; a deeper section tests it.) **Now move the test images by one pixel**, without training again.
# *Before running: who loses most, and is it the convolution or the pool that helps?*

# %% tags=["answer"]
moved_images = test.roll(1, dims=3)
moved = {name: torch.tensor([accuracy(m, moved_images, truth) for m in models]) for name, models in trained.items()}
lost = {name: 100 * (right[name] - moved[name]).mean().item() for name in networks}
for name, points in lost.items():
    print(f"{name:18} points lost ≈ {points:.0f}")
pool = (lost["CNN, no pool"] - lost["CNN, max-pool"]) / (lost["ViT"] - lost["CNN, max-pool"])
print(f"of what the ViT loses more than the CNN, the pool explains ≈ {pool:.2f}")
assert 0.2 < pool < 0.6 and lost["ViT"] > lost["CNN, no pool"] + 15

# %% tags=["folded"]
figure = new_figure(7.0, 2.5)
axes = figure.subplots()
for shares, label, colour, marker in (
    (right, "as they are", "black", "o"),
    (moved, "moved by a pixel", COLOURS[1], "s"),
):
    for k, name in enumerate(networks):
        axes.plot(shares[name], [k] * 3, marker, color=colour, markersize=5, label=label if k == 0 else None)
axes.axvline(0.1, color="grey", linestyle=":")
axes.set(yticks=range(4), yticklabels=networks, ylim=(3.4, -0.4), xlim=(0, 1.03), xlabel="share of right answers")
axes.legend(frameon=False, bbox_to_anchor=(1, 0.5), loc="center left")
describe(
    figure,
    "four rows of points, black for test images as they are and orange for images moved by one pixel, and a dotted line of "
    "guessing at 0.1. The ViT falls from about 0.83 to 0.35, without positions from 0.5 to 0.13, the CNN with max-pool "
    "from 0.99 to 0.95, the CNN without pool from 0.99 to 0.78.",
)

# %% [markdown]
# **Read it.** To the ViT, a digit one pixel further is made of other words. The CNN without the pool at the end loses about half as much, the one with it
# hardly anything. Of the shift that the CNN withstands and the ViT does not, the global pool explains about a third. (The rest may be the convolutions, or the small
# 2 × 2 pool between them; we did not separate them.) And digits of 8 × 8 pixels say nothing about large scale.
#
# ## A ViT that has learned, with a concession
#
# The repository holds a small ViT for 64 × 64 pixels, 8 × 8 words, four layers of four heads, made by [eight minutes of training](../course_lib/authoring/train_vit.py).
# Each picture is a piece of a photograph with one handwritten digit and pieces of others pasted on it; the answer is the whole digit. Nobody told it *where* that is.
#
# **In it, more than attention is left.** Three small convolutions make its words (a *stem*, that is what stands before the first block; Xiao et al., arXiv 2106.14881). So a
# word knows 15 × 15 pixels, not 8 × 8. Attention alone carries anything further.

# %%
reader = trained_vit()
pictures = pasted_digits(300, test=True, seed=1)  # photographs and digits that training never showed
with torch.no_grad():
    maps = reader.attention(pictures.images)  # four of b s n n
answers = predict(reader, pictures.images)  # b 10
is_right = answers.argmax(dim=1) == pictures.labels
print(f"{sum(p.numel() for p in reader.parameters())} numbers, right ≈ {is_right.float().mean():.2f}")
assert is_right.float().mean() > 0.8

# %% [markdown]
# ## What does the class token look at?
#
# The last layer's map shows one step: whom the class token asks at the end. But those patches have asked others before.
#
# **Attention rollout follows all steps** (Abnar et al., arXiv 2005.00928). It *assumes* that each layer hands on half of a token by its shortcut and half by attention, and multiplies the layers:
#
# $$R = \hat A_L \cdots \hat A_2 \hat A_1 \qquad \hat A_l = \tfrac12 (\bar A_l + I)$$
#
# with $\bar A_l$ the map of layer l averaged over heads, and I the shortcut. $R_{ij}$: how much of *first* token j is in *last* token i.
#
# **By hand, three tokens.** In layer 1 patch 1 reads patch 2; in layer 2 the class token reads patch 1; all others read themselves. *Before running: how much of patch 2 has
# reached the class token?*

# %% tags=["answer"]
eye = torch.eye(3)
layer_1, layer_2 = eye[[0, 2, 2]], eye[[1, 1, 2]]  # row i is what token i reads
total = ((layer_2 + eye) / 2) @ ((layer_1 + eye) / 2)
print("last layer:", layer_2[0].tolist(), " rollout:", total[0].tolist())
torch.testing.assert_close(rollout([layer_1[None, None], layer_2[None, None]])[0], total)

# %% [markdown]
# The last layer knows nothing of patch 2. Now on pictures. *Before running: which of the two maps will fit the digit better?*

# %% tags=["folded", "answer"]
last, rolled = maps[-1].mean(dim=1)[:, 0, 1:], rollout(maps)[:, 0, 1:]  # b 64
figure = new_figure(7.0, 3.7)
for k, column in enumerate(figure.subplots(3, 6).T):
    show_image(column[0], pictures.images[k], title=f"a {pictures.labels[k]}: “{answers[k].argmax()}”")
    show_weights(column[1], last[k].view(8, 8), title="last layer" if k == 0 else "")
    show_weights(column[2], rolled[k].view(8, 8), title="rollout" if k == 0 else "")
describe(
    figure,
    "six pictures, dark photographs of a coffee cup or a cat with a pale digit and pieces of others, each with its digit and the "
    "network's answer. Below each the map of the last layer, where one or a few cells are bright, some of them beside the "
    "digit; and the rollout, where several cells in the shape of the digit are bright and nearly all others are dark.",
)

# %% [markdown]
# **In numbers.** *How much of the map lies inside the digit's square?* Two controls: the square's share of the area, and a ViT with random weights.

# %%
torch.manual_seed(0)
with torch.no_grad():
    random_maps = stem_vit().eval().attention(pictures.images)
square = F.avg_pool2d(pictures.squares[:, None].float(), 8).flatten(1)  # b 64: which part of each patch is inside


def inside(weights):
    """The share of each picture's weights that lies inside the digit's square: b 64 -> b."""
    return (weights * square).sum(dim=1) / weights.sum(dim=1)


# %%
shares = {
    "area of the square": inside(torch.ones(300, 64)).mean(),
    "rollout, random weights": inside(rollout(random_maps)[:, 0, 1:]).mean(),
    "rollout": inside(rolled).mean(),
} | {f"layer {k}": inside(m.mean(dim=1)[:, 0, 1:]).mean() for k, m in enumerate(maps, start=1)}
for name, share in shares.items():
    print(f"{name:24} inside ≈ {share:.2f}")

# %%
assert abs(shares["rollout, random weights"] - shares["area of the square"]) < 0.03
assert shares["rollout"] > shares["layer 4"] + 0.1 and shares["rollout"] > 2 * shares["area of the square"]
assert shares["layer 1"] > 0.7 > 0.6 > max(shares[f"layer {k}"] for k in (2, 3, 4))

# %% [markdown]
# **Read it.** Rollout puts more than half into the square, the last layer about a third. And a surprise: the class token finds the digit *in the first layer*.
#
# **Does the network need what the map shows?** A map inside the square only proves that it agrees with *us*. So cover the eight patches (of 64) that a map ranks
# highest with the picture's mean colour, and ask again. Two controls: eight by chance, and eight by chance *in the digit's square*. *Before running: which costs most?*


# %%
def cover(ranks):
    """The pictures with the eight patches of highest rank in their mean colour."""
    highest = torch.zeros_like(ranks).scatter(1, ranks.topk(8, dim=1).indices, 1.0).view(-1, 1, 8, 8)
    mask = F.interpolate(highest, scale_factor=8)  # from patches to pixels
    return pictures.images * (1 - mask) + pictures.images.mean(dim=(2, 3), keepdim=True) * mask


def points_lost(ranks):
    """How many points of the answers are lost by covering."""
    return 100 * (is_right.float().mean() - accuracy(reader, cover(ranks), pictures.labels))


# %% tags=["answer"]
by_chance, first = torch.rand(300, 64, generator=torch.Generator().manual_seed(0)), maps[0].mean(dim=1)[:, 0, 1:]
ranks = {"rollout": rolled, "the first layer": first, "the last layer": last, "least rollout": -rolled}
ranks |= {"chance": by_chance, "chance, in the square": square + by_chance}
covered = {name: points_lost(rank) for name, rank in ranks.items()}
for name, points in covered.items():
    print(f"covered by {name:22} points lost ≈ {points:.0f}")

# %%
assert min(covered["the first layer"], covered["rollout"]) > covered["the last layer"] + 5
assert abs(covered["rollout"] - covered["chance, in the square"]) < 10
assert covered["rollout"] > 2 * covered["chance"] and covered["least rollout"] < 10

# %% [markdown]
# **Read it.** What rollout ranks highest costs far more answers than patches by chance or by the last layer, and what it ranks lowest costs next to nothing. So the map shows what is
# needed. *But eight patches drawn by chance in the digit's square cost as much*: rollout tells where the digit is. With eight patches covered little is left to lose, so this test cannot see anything finer. And the first layer alone does as well.
#
# ## Whom does a patch ask? Beside a CNN's features
#
# Every patch asks, not only the class token. Beside it stands what *likeness* would ask: the cosines of lesson 09, on features of the
# ImageNet-trained *trunk*. **The map at the right-hand side is a CNN's, and nothing in it was learned for digits.**
# *Before moving: does a place of the background ask the digit? In the ViT? By likeness?*

# %%
trunk = load_trunk()


def by_likeness(image):
    """Whom each place asks by the likeness of the CNN's features: 3 64 64 -> 64 64."""
    features = trunk(F.interpolate(image[None], scale_factor=2, mode="bilinear"), block=7)[0]  # c 8 8
    return torch.stack([ask(features, k // 8, k % 8).flatten() for k in range(64)])


# %% tags=["folded"]
alike = torch.stack([by_likeness(image) for image in pictures.images[:50]])  # b 64 64
tokens = [("class token", 0)] + [(f"row {k // 8}, column {k % 8}", k + 1) for k in range(64)]


def draw_token(figure, layer=1, head="all", token=0, chosen=0):
    """The picture with the asking place marked; whom it asks in the ViT; and by likeness of the CNN's features."""
    weights = maps[layer - 1][chosen, :, token, 1:]  # s 64
    weights = (weights.mean(dim=0) if head == "all" else weights[head - 1]).view(8, 8)
    left, middle, right_axes = figure.subplots(1, 3)
    show_image(left, pictures.images[chosen], title=f"asks: {tokens[token][0]}")
    show_found(
        middle,
        pictures.images[chosen],
        weights,
        title=f"ViT, layer {layer}, {'all heads' if head == 'all' else f'head {head}'}",
    )
    if token == 0:
        show_image(right_axes, torch.ones(64, 64), title="the CNN has no class token")
        return
    others = alike[chosen, token - 1].clone()
    others[token - 1] = 0
    show_found(right_axes, pictures.images[chosen], others.view(8, 8), title="CNN, by likeness")
    for axes in (left, middle, right_axes):
        ring(axes, 8 * ((token - 1) // 8) + 3.5, 8 * ((token - 1) % 8) + 3.5)


# %% tags=["widget"]
steer(
    draw_token,
    layer=slider("layer", [1, 2, 3, 4], value=1),
    head=slider("head", ["all", 1, 2, 3, 4], value="all"),
    token=slider("asks", tokens, value=55),
)

# %% [markdown]
# The same without a widget: a place of the background, and one on the digit.

# %% tags=["static", "folded"]
figure = new_figure(7.0, 5.4)
on_digit = 1 + int(first[0].argmax())
for panel, token in zip(figure.subfigures(2, 1), (55, on_digit)):
    draw_token(panel, token=token)
describe(
    figure,
    "a coffee cup's saucer on a table with a yellow 6 and pieces of digits, twice, each with two darkened copies. Above, a ring on the "
    "bare table: in the ViT the cells of the 6 are bright, by likeness cells of the table around the ring and along the right "
    "edge. Below, a ring on the 6: in the ViT about the same cells of the 6 are bright, by likeness the cells of the 6 around the ring.",
)


# %% [markdown]
# **In numbers**, on 50 pictures: how much of what a place asks of *others* falls into the digit's square? For places outside it, and inside. The control: a ViT with random weights.


# %%
def into_square(maps):
    """How much of what a place asks of others falls into the square: for places outside, for places inside it."""
    others = maps * (1 - torch.eye(64))  # b q k
    share = (others * square[:50, None]).sum(dim=2) / others.sum(dim=2)  # b q
    return share[square[:50] == 0].mean(), share[square[:50] == 1].mean()


# %%
of_patches = {"ViT, layer 1": maps[0], "ViT, random weights": random_maps[0]}
asked = {name: into_square(one[:50, :, 1:, 1:].mean(dim=1)) for name, one in of_patches.items()}
asked["CNN, likeness"] = into_square(alike)
for name, (outside, within) in asked.items():
    print(f"{name:20} asked from outside ≈ {outside:.2f}, from inside ≈ {within:.2f}")

# %%
assert min(asked["ViT, layer 1"]) > 0.6 and max(asked["ViT, random weights"]) < 0.35
assert asked["CNN, likeness"][0] < 0.25 and asked["CNN, likeness"][1] > 0.5

# %% [markdown]
# **Read it.** In the trained ViT's first layer every place asks the digit, whether it shows a stroke or a cat's fur. With random weights none does: training made it so. By likeness, background asks background and digit asks digit. (Near places are often alike; we did not separate the two.) What the
# picture does *not* show: whether places in other networks ask *different* questions. That is lesson 10.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 01 soft look-up | given | memory keys | memory values | n m | softmax over the keys | n · m · (d + v) |
# | 09 non-local block | θ(x) | φ(x) | g(x) | n n | softmax over the keys, or 1/n | n² · c + projections |
# | 14 ViT block | $W_q$ LN(z) | $W_k$ LN(z) | $W_v$ LN(z) | s n n | softmax over the keys | 2 n² d + 12 n d² |
#
# **What is left?** Without convolutions and positions, a bag of patches. All order comes from a table that must be learned; on 1300 small digits that is less than a CNN
# reaches in as many steps.
#
# ## Three things to keep
#
# 1. **Patches are words**: a reshape and one linear layer, which is a convolution of stride p. A class token collects, positions are added, and blocks do the rest.
# 2. Without positions a ViT reads a **bag of patches**; with them it must *learn* what lies where, and a moved image is new to it.
# 3. A map is evidence, not proof: **compare it** with area, with random weights, with single layers, and cover what it shows.
#
# **Now the [exercise](../exercises/14_vision_transformer.ipynb).** What follows goes deeper; each section can be read alone. Next lesson: 15, what and where at once.

# %% [markdown]
# ## Deeper · What it costs (2 minutes)
#
# A block makes $12\,n\,d^2$ multiplications in its linear layers and $2\,n^2 d$ in its maps. **For ViT-B/16 (d = 768), which share is
# quadratic in n?** *Before running: more or less than half at 224 × 224?*

# %% tags=["answer"]
d = SIZES["B"]["embed_dim"]
for side in (224, 384, 1024):
    n = (side // 16) ** 2 + 1
    linear, quadratic = 12 * n * d**2, 2 * n**2 * d
    print(f"{side:4} × {side}: {n:4} tokens, {100 * quadratic / (linear + quadratic):2.0f} % for the maps")
assert 2 * 197 < 12 * d, "at 224 × 224 the maps are far from half"

# %% [markdown]
# Patches have made attention cheap. The famous n² overtakes the rest only beyond 6d = 4608 tokens.
#
# ## Deeper · Does the map tell when the network errs? (3 minutes)
#
# We compare each right answer with each wrong one: how often has the right one more of its rollout inside the
# square? (This is the AUC. 0.5 is chance.) As a control, the same with the network's own largest probability. *Before running: which is the better sign?*


# %%
def auc(scores):
    """How often a right answer scores higher than a wrong one."""
    return (scores[is_right][:, None] > scores[~is_right]).float().mean()


by_map, by_probability = auc(inside(rolled)), auc(answers.softmax(dim=1).amax(dim=1))
chance = math.sqrt((len(is_right) + 1) / 12 / is_right.sum() / (~is_right).sum())  # the deviation by chance alone
print(f"AUC of the rollout ≈ {by_map:.2f}, of the probability ≈ {by_probability:.2f}; chance: 0.50 ± {chance:.2f}")
print(
    f"inside ≈ {inside(rolled)[is_right].mean():.2f} where it is right, ≈ {inside(rolled)[~is_right].mean():.2f} where it errs"
)
assert 0.4 < by_map < 0.6 and by_probability > 0.75 and inside(rolled)[~is_right].mean() > 0.45

# %% [markdown]
# The map does not tell. Often the network looks at the digit and misreads it. **A good map is no sign of a good answer**; the network's own probability is a far better one.
#
# ## Deeper · Longer, or with moved examples (4 minutes)
#
# The experiment gave all networks the same 120 steps, chosen for the time. **Was that fair to the ViT, and does anything but a pool help against a moved image?** We
# give the ViT three times the steps; or both the ViT and the CNN without pool training images moved by up to one pixel in each direction (120 steps as before). One seed.
# *Before running: which of them loses least when the test images move?*

# %%
nine = torch.cat([images.roll((down, aside), dims=(2, 3)) for down in (-1, 0, 1) for aside in (-1, 0, 1)])
others = {
    "ViT, three times the steps": train(networks["ViT"], 0, images, labels, steps=360),
    "ViT, moved examples": train(networks["ViT"], 0, nine, labels.repeat(9)),
    "CNN, no pool, moved examples": train(networks["CNN, no pool"], 0, nine, labels.repeat(9)),
}

# %% tags=["answer"]
found = {name: (accuracy(m, test, truth), accuracy(m, moved_images, truth)) for name, m in others.items()}
for name, (as_is, after) in found.items():
    print(f"{name:30} right ≈ {as_is:.2f}, moved ≈ {after:.2f}")

# %%
longer, after = found["ViT, three times the steps"]
assert with_places.mean() + 0.03 < longer < flat.mean() and longer - after > 0.3
for name in ("ViT, moved examples", "CNN, no pool, moved examples"):
    assert abs(found[name][0] - found[name][1]) < 0.06

# %% [markdown]
# **Read it.** More steps help the ViT; it stays below the CNNs, and loses as much as before when the image
# moves. So the loss does not come from learning too short. Moved examples do help: both networks then lose next to nothing. But the ViT has nine images to learn in place of
# one, and in 120 steps gets less far; the CNN without pool learns the same nine with ease.
#
# ## Deeper · Do the neighbours make the CNN win? (3 minutes)
#
# The CNN knows which patches are neighbours; the ViT does not. Is that why the CNN wins? **Take the neighbours away**: the sixteen patches of all images are shuffled *alike*. So each patch
# still has its place, but another one. (Inside a patch, four pixels stay neighbours.)


# %%
def shuffle_alike(images):
    """The patches of all images in one other order."""
    order = torch.rand(16, generator=torch.Generator().manual_seed(0)).argsort()
    return assemble(patchify(images, 2)[:, order], (4, 4), 2)


# %% tags=["folded"]
describe(
    show_images([test[0, 0], shuffle_alike(test)[0, 0]], ["as it is", "shuffled alike"], width=3.5),
    "a handwritten digit in 8 × 8 grey pixels, readable; and the same with its sixteen squares of 2 × 2 pixels in disorder, no longer readable.",
)

# %% [markdown]
# *We predicted* that the CNN with max-pool falls below the ViT, which, by the argument above, should not notice (we did not train it). One seed. *Before running: do you agree?*

# %% tags=["answer"]
again = accuracy(train(networks["CNN, max-pool"], 0, shuffle_alike(images), labels), shuffle_alike(test), truth)
print(f"CNN, shuffled alike: right ≈ {again:.2f}, as they are ≈ {pooled[0]:.2f}; ViT ≈ {with_places[0]:.2f}")
assert again > with_places.max() + 0.05 and again > pooled[0] - 0.06

# %% [markdown]
# *The prediction was wrong.* Images shuffled alike cost the CNN almost nothing. So knowing which patches are neighbours is not why it won here. Whether its convolutions learn the new
# arrangement, or need none, we did not separate; nor have we found out why it wins.
#
# ## Deeper · Is it the half? (4 minutes)
#
# Rollout assumes that half of a token goes through the shortcut. **We measure it**: the length of the class token before the look-up, against the length
# of what the look-up adds. *Before running: in which layer will the shortcut's share be smallest?*


# %%
def shortcut_shares(vit, images):
    """In each block, the class token's length as a share of its own and of what the look-up adds."""
    z, found = vit.tokens(images), []
    for block in vit.blocks:
        kept, added = z[:, 0].norm(dim=1), block.mix(block.attention_norm(z))[:, 0].norm(dim=1)
        found.append((kept / (kept + added)).mean().item())
        z = block(z)
    return found


# %% tags=["answer"]
with torch.no_grad():
    kept = shortcut_shares(reader, pictures.images)
print("share of the shortcut ≈", *(f"{share:.2f}" for share in kept))
assert kept[0] < 0.2 and kept[3] > 0.7

# %% [markdown]
# **Rollout with other shares**, and with those that we measured. *How much of it lies inside the square?*


# %%
def rollout_with(shares):
    """As rollout, but in each layer this share of a token comes by the shortcut: row 0, b 64."""
    total = eye = torch.eye(65)
    for share, layer in zip(shares, maps):
        total = (share * eye + (1 - share) * layer.mean(dim=1)) @ total
    return total[:, 0, 1:]


tried = {"a tenth": [0.1] * 4, "half": [0.5] * 4, "nine tenths": [0.9] * 4, "measured": kept}
by_share = {name: rollout_with(shares_) for name, shares_ in tried.items()}
for name, map_ in by_share.items():
    print(f"{name:12} inside ≈ {inside(map_).mean():.2f}")

# %%
torch.testing.assert_close(by_share["half"], rolled)
assert inside(by_share["measured"]).mean() > inside(rolled).mean() + 0.1

# %% [markdown]
# At the start the class token is the same for all pictures, and short; what it hears in the first layer is nearly all that it becomes. Later layers add
# less and less. With the measured shares the first layer counts most, and more of the map lies in the square. So *the half is a convention*, and another number gives another picture. And lengths are
# not all: values, projections and MLPs stay out of every rollout, and it is the same for all classes.
#
# ## Deeper · What it says when there is nothing to say (3 minutes)
#
# **Photographs without any digit.** *Before running: what will the network answer, how sure will it be, and what will the map show?*

# %% tags=["folded", "answer"]
plain = 0.5 * load_photograph("cat", height=64)[:, :, 16:80]  # as dark as in training
empty = 0.5 * crops(200, 64, test=True, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    plain_map = rollout(reader.attention(plain[None]))[0, 0, 1:].view(8, 8)
    sure, said = reader(empty).softmax(dim=1).max(dim=1)
    empty_maps = rollout(reader.attention(empty))[:, 0, 1:]
figure = new_figure(5.0, 2.6)
left, right_axes = figure.subplots(1, 2)
show_image(left, plain, title="no digit"), show_weights(right_axes, plain_map, title="rollout")
describe(
    figure,
    "a dark photograph of a cat's face without any digit; beside it a rollout in which nearly all cells "
    "are of the same middle brightness, two between the eyes and one at the lower edge brighter.",
)

# %% [markdown]
# **Read it.** The map lights up all over. We count the *effective number of patches* (lesson 01) that a rollout spreads over, and how sure the network is:


# %%
def effective(weights):
    """How many patches share the weights, on average: the exponential of the entropy."""
    return torch.special.entr(weights / weights.sum(dim=1, keepdim=True)).sum(dim=1).exp().mean()


print(f"patches ≈ {effective(rolled):.0f} with a digit, ≈ {effective(empty_maps):.0f} without, of 64")
print(
    f"its most frequent answer to nothing: {said.mode().values}, in ≈ {(said == said.mode().values).float().mean():.2f}"
)
print(f"more than 50 % sure in ≈ {(sure > 0.5).float().mean():.2f}")
assert effective(empty_maps) > 45 > 35 > effective(rolled) and 0.4 < (sure > 0.5).float().mean() < 0.65

# %% [markdown]
# The map is honest here: nothing found, look everywhere. The answer is not. There is no "no digit" among its ten classes, so it says something, and in about half of the
# photographs it is more than 50 % sure. A softmax must give its 1 away, in the head as in a map.
#
# ## Deeper · What positions look like (4 minutes)
#
# **How alike are the position vectors of two places?** Each small square below is one place, and shows the cosine of its vector with those of all 64 places. (Their common mean
# is subtracted first.) *Before running: nobody told the network that place 9 lies below place 1. Could it have found out?*

# %% tags=["folded", "answer"]
places = reader.positions[0, 1:].detach()
places = places - places.mean(dim=0)
cosine = F.cosine_similarity(places[:, None], places[None], dim=2)  # 64 64
tiles = F.pad(cosine.view(8, 8, 8, 8), (1, 1, 1, 1))  # row column y x
figure = new_figure(5.0, 4.2)
axes = figure.subplots()
drawn = axes.imshow(tiles.permute(0, 2, 1, 3).reshape(80, 80), cmap="PuOr_r", vmin=-1, vmax=1)
axes.set_axis_off()
figure.colorbar(drawn, shrink=0.7, label="cosine")
describe(
    figure,
    "eight rows of eight small squares of 8 × 8 cells. Those of places in the middle are brown, that is "
    "alike, in a blob around their own place and violet along the border. Those of the two left columns "
    "and of the right one are the other way round: brown at the left and right border and violet in the "
    "middle. Those of the top row are palest. A bar beside them shows the colours of cosines from -1, "
    "violet, to 1, brown.",
)

# %%
spot = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))
distance = torch.cdist(spot, spot)
near, far = cosine[distance == 1].mean(), cosine[distance > 4].mean()
fresh = stem_vit().positions[0, 1:].detach()  # the control: a table that nobody has trained
fresh_near = F.cosine_similarity(fresh[:, None], fresh[None], dim=2)[distance == 1].mean()
print(
    f"neighbours ≈ {near:.2f}, more than four patches apart ≈ {far:.2f}; neighbours in a fresh table ≈ {fresh_near:.2f}"
)
columns = cosine.view(8, 8, 8, 8).mean(dim=(0, 2))  # how alike two columns are
print(f"columns 1 and 7 ≈ {columns[1, 7]:.2f}, columns 1 and 4 ≈ {columns[1, 4]:.2f}")
assert near > far + 0.2 and abs(fresh_near) < 0.1 and columns[1, 7] > columns[1, 4] + 0.2

# %% [markdown]
# **Read it.** Training has sorted a random table: neighbours are alike. But it is no map. Columns 1 and 7, counted
# from 0, lie far apart and are alike; the middle between them is not. (We have no tested reason.)
#
# *Before running: put the same average vector at all places. How many answers are lost?*

# %% tags=["answer"]
without = copy.deepcopy(reader)
without.positions.data[:, 1:] = reader.positions[:, 1:].mean(dim=1, keepdim=True)
whole = is_right.float().mean().item()
fewer = 100 * (whole - accuracy(without, pictures.images, pictures.labels))
print(f"points lost ≈ {fewer:.0f}; the ViT on 8 × 8 digits, trained without ≈ {100 * (with_places - bag).mean():.0f}")
assert fewer < 10

# %% [markdown]
# **Few.** A guess, which we did not test: the stem's words see 15 × 15 pixels each and overlap, so a bag of them can be pieced together like
# a jigsaw. Whatever the reason: *a pretty picture of positions does not mean that the network needs them.*
#
# ## Deeper · Larger pictures (4 minutes)
#
# A ViT takes sentences of any length; only its table of positions has a size. **Stretch the table like a picture, and the same weights read 64 × 128 pixels.** The class token's row has no place and stays.

# %%
from course_lib.spatial.vision_transformer import interpolate_positions


def at_size(height, width, method="bicubic"):
    """The trained ViT for another size of image."""
    model = VisionTransformer(
        (height, width), patch_size=8, channels=3, embed_dim=64, depth=4, num_heads=4, num_classes=10
    )
    model.patches = stem_vit().patches
    stretched = interpolate_positions(reader.positions, model.grid, method=method)
    model.load_state_dict(reader.state_dict() | {"positions": stretched.detach()})
    return model.eval()


torch.testing.assert_close(at_size(64, 64).positions, reader.positions)
print("table:", list(reader.positions.shape), "→", list(at_size(64, 128).positions.shape))

# %% [markdown]
# Two pictures side by side hold two digits. *Before running: will it name one of them, or something in between?*

# %% tags=["answer"]
pairs = torch.cat([pictures.images[:150], pictures.images[150:300]], dim=3)  # b 3 64 128
wide = at_size(64, 128)
with torch.no_grad():
    named = wide(pairs).argmax(dim=1)
one_of_both = ((named == pictures.labels[:150]) | (named == pictures.labels[150:300])).float().mean()
print(f"it names one of the two in ≈ {one_of_both:.2f} of the pairs (guessing: 0.19)")
assert one_of_both > 0.7

# %% tags=["folded"]
with torch.no_grad():
    pair_maps = rollout(wide.attention(pairs[:3]))[:, 0, 1:].view(3, 8, 16)
figure = new_figure(7.0, 2.6)
for k, column in enumerate(figure.subplots(2, 3).T):
    show_image(
        column[0], pairs[k], title=f"a {pictures.labels[k]} and a {pictures.labels[150 + k]}, it says {named[k]}"
    )
    show_weights(column[1], pair_maps[k])
describe(
    figure,
    "three wide pictures, each made of two with a digit in either half, and their rollouts. In the first "
    "two both digits are bright, the digit on the right more, and it is the answer. In the third, a 2 and "
    "a 7, three places are bright and the answer is 4.",
)

# %% [markdown]
# **But more pixels are not the same as more picture.** Larger canvases with digits of the usual size, against the same pictures enlarged:

# %%
print(f"as trained ≈ {whole:.2f}")
more, model = pasted_digits(100, size=96, test=True, seed=1), at_size(96, 96)
enlarged = F.interpolate(pictures.images[:100], (96, 96), mode="bilinear", align_corners=False)
usual, big = accuracy(model, more.images, more.labels), accuracy(model, enlarged, pictures.labels[:100])
print(f"96 × 96: more picture ≈ {usual:.2f}, the same picture enlarged ≈ {big:.2f}")
assert big < whole - 0.1 < usual

# %% [markdown]
# More picture costs little: the words are the old ones, only more. Enlarged pictures have new words, strokes 1.5 times as wide, and accuracy falls, though the
# positions are the same. The paper *fine-tunes* at the new size. And code bases interpolate differently (`method=`): bicubic, with or without antialiasing, or
# bilinear with aligned corners. Use the one that the weights were trained with.
#
# ## Deeper · Published weights (7 minutes)
#
# Every code base has its own names for the same tensors. `published.load` translates those of timm, torchvision, Hugging Face and of the paper's own files. The
# paper's come from JAX and have their axes in another order as well: inputs first, heads in an axis of their own
# (a test of the library reads such a file). *Before running: what may the first block's query be called?*

# %% tags=["answer"]
import tempfile
from pathlib import Path

from course_lib import published

formats = published.TABLES[VisionTransformer].formats
for name in ("timm", "Hugging Face", "the paper's code"):
    print(f"{name:16}", next(theirs for theirs, ours in formats[name].names.items() if "query" in ours).format(0))

# %% [markdown]
# **timm stacks query, key and value in one layer; Hugging Face does not.** To show it without the internet, we write a small ViT to two files, as these would.


# %%
def rename(state, table):
    """The same tensors by their names elsewhere; what is one layer there is stacked."""
    renamed = {}
    for theirs, ours in table.items():
        *prefix, layers = ours.rsplit(".", 1)
        for block, leaf in ((block, leaf) for block in range(2) for leaf in ("", ".weight", ".bias")):
            names = [".".join([*prefix, layer]).format(block) + leaf for layer in layers.split()]
            if names[0] in state:
                renamed[theirs.format(block) + leaf] = torch.cat([state[name] for name in names])
    return renamed


# %%
torch.manual_seed(0)
sizes = {"patch_size": 8, "embed_dim": 12, "depth": 2, "num_classes": 5}
source, image, files = VisionTransformer(32, num_heads=3, **sizes), torch.rand(2, 3, 32, 32), {}
with tempfile.TemporaryDirectory() as folder:
    for name in ("timm", "Hugging Face"):
        torch.save(rename(source.state_dict(), formats[name].names), Path(folder, "vit.pth"))
        files[name] = torch.load(Path(folder, "vit.pth"), weights_only=True)

# %%
for name, weights in files.items():
    reading = VisionTransformer(32, num_heads=3, **sizes)
    published.load(reading, weights)
    torch.testing.assert_close(reading(image), source(image))
    print(f"{name:16} {len(weights)} tensors, the same logits")

# %% [markdown]
# A file says nothing of the number of heads, of the ε of the norms (1e-12 in Hugging Face), or of which GELU (the paper's code uses an approximation). *Build the model
# with another number of heads: it loads without an error, and is wrong.*

# %%
wrong = VisionTransformer(32, num_heads=4, **sizes)
published.load(wrong, files["timm"])
print(f"four heads instead of three: the logits change by ≈ {(wrong(image) - source(image)).abs().max():.2f}")
assert (wrong(image) - source(image)).abs().max() > 1e-3

# %% [markdown]
# **A real one, if you ask for it.** Set `DOWNLOAD = True` to fetch DeiT-Ti, 23 MB, and see its rollout on the cat. Nothing else in this course needs the internet, and
# no result of this cell is stored.

# %%
DOWNLOAD = False
if DOWNLOAD:
    import IPython.display

    url = "https://dl.fbaipublicfiles.com/deit/deit_tiny_patch16_224-a1311bcf.pth"
    deit = VisionTransformer(224, patch_size=16, **SIZES["Ti"])
    published.load(deit, torch.hub.load_state_dict_from_url(url, check_hash=True))
    face = load_photograph("cat", height=224)[:, :, 56:280]
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        deit_map = rollout(deit.attention(((face - mean) / deviation)[None]))[0, 0, 1:].view(14, 14)
    show_found((figure := new_figure(3.0, 3.0)).subplots(), face, deit_map)
    IPython.display.display(figure)

# %% [markdown]
# ## Deeper · What to believe (1 minutes)
#
# The paper's best ViT reaches 88.55 % on ImageNet after pre-training on 300 million private images; trained on ImageNet alone its ViTs stay *below* ResNets of the same size, and
# later recipes (DeiT) closed the gap with augmentation. So a number "of ViT" says little without its data and recipe. Our CNN won with 1300 images; 8 × 8 digits say
# nothing about large scale. And weights saved by code that flattens a patch in another order than *channel, row, column* must be permuted first; no shape will tell you.
#
# *References.* Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021, arXiv 2010.11929.
# Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, arXiv 2005.00928.
# Touvron et al., Training data-efficient image transformers & distillation through attention, 2021, arXiv 2012.12877.
# Xiao et al., Early Convolutions Help Transformers See Better, NeurIPS 2021, arXiv 2106.14881.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
