# %% [markdown]
# # 14 · Vision transformer
#
# **What is left of a vision network when only attention is left?**
#
# After this lesson you will be able to
#
# - turn an image into a sentence of patches, and write the encoder that reads it, with every shape;
# - say what a vision transformer knows about geometry before it has seen an image, and what that costs it;
# - draw, for a trained one, which patches reach the answer, and test whether the network needs what the map shows.
#
# *Minutes:* 42, deeper 43 · *Needs:* 01, 09 · *Paper:* Dosovitskiy et al., An Image is Worth 16x16 Words, 2021, arXiv 2010.11929 · *Exercise:* [14 vision transformer](../exercises/14_vision_transformer.ipynb) · *Module:* [vision_transformer.py](../course_lib/spatial/vision_transformer.py)
#
# Out of scope: attention in small windows (13), pre-training without labels, and detection or segmentation with these networks.

# %%
import copy
import itertools
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
# A vision transformer (ViT) drops the convolutions of lesson 09. But a map of all pixels is too large: 224 × 224 pixels would make 2.5 billion weights. So its words are *patches*.
#
# **Cut the image into squares, and lay each square out as one row of numbers.** On a page of 4 × 6 numbers, counted 0, 1, 2, … line by line, with patches of
# 2 × 2, the first patch gives 0, 1, 6, 7. *Before running: what does the second patch give, and how many patches are there?*


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
# **On a photograph**, 64 × 96 pixels in patches of 16 × 16. *Before running: how many words, and how many numbers in each?*

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
# reads every patch once. *Before running: the layer turns 768 numbers into 10; what is the shape of the convolution's weight?*

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
other_order = patchify(cat[None], 16) @ weight.permute(0, 2, 3, 1).flatten(1).mT + bias  # row, column, channel
far, wrong = ((one - as_convolution).abs().max() for one in (as_reshape, other_order))
print(f"largest difference ≈ {far:.0e}; with the weight as row, column, channel ≈ {wrong:.0e}")
assert wrong > 0.01

# %% [markdown]
# In another order the shapes fit, and the numbers are wrong.
#
# ## The network
#
# A *token* is a word or the *class token*, a learned word that stands for no patch. The picture shows one of L blocks; scores are divided by √e (lesson 01).

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
# | $x_\text{class}$ | class token | d |
# | $E_\text{pos}$ | positions: a learned vector for each place | n d, n = N + 1 |
# | $z_l$ | the sentence after l blocks | b n d |
# | MSA | the look-up of lesson 01 with s heads; everybody asks everybody | b n d → b n d |
# | MLP | d → 4d → d with GELU in between, token by token | b n d → b n d |
# | LN | each token to mean 0 and variance 1, then scale and shift | b n d → b n d |
#
# GELU is a ReLU with a soft corner.
#
# Every token asks; but the answer is read from token 0, so "where to look" is row 0 of the maps.
#
# **The block, token by token and head by head.**


# %%
def block_by_loops(block, z):
    """Each token reads all tokens, head by head, and adds what it heard; then each thinks for itself: n d -> n d."""
    normed = block.attention_norm(z)
    query, key, value = (f(normed).unflatten(1, (block.num_heads, -1)) for f in (block.query, block.key, block.value))
    heard = torch.zeros_like(query)  # n s e, with e = d / s
    for i in range(len(z)):
        for head in range(block.num_heads):
            scores = key[:, head] @ query[i, head] / math.sqrt(query.shape[2])
            heard[i, head] = scores.softmax(dim=0) @ value[:, head]
    z = z + block.project(heard.flatten(1))
    return z + block.contract(F.gelu(block.expand(block.mlp_norm(z))))


# %% [markdown]
# As matrices, all heads at once. *Before running: 2 sentences of 7 tokens, 3 heads; which shape has the map?*


# %%
def block_by_matrices(block, z):
    """The same for a batch: b n d -> b n d. (`attention` norms by itself, `split` cuts into heads, `think` is the MLP.)"""
    value = block.split(block.value(block.attention_norm(z)))  # b n d -> b s n e
    heard = block.attention(z) @ value  # b s n n, b s n e -> b s n e
    z = z + block.project(heard.transpose(1, 2).flatten(2))  # b s n e -> b n (s e)
    return z + block.think(block.mlp_norm(z))


# %% tags=["answer"]
torch.manual_seed(0)
block, z = EncoderBlock(12, 3), torch.randn(2, 7, 12)
torch.testing.assert_close(block_by_matrices(block, z), torch.stack([block_by_loops(block, one) for one in z]))
torch.testing.assert_close(block_by_matrices(block, z), block(z))
print("the map:", list(block.attention(z).shape))

# %% [markdown]
# **And the whole network is four lines.** The class token joins *before* the positions are added.

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
# **Without $E_\text{pos}$ a ViT sees a bag of patches.** We shuffle the patches of an image. *Before running: do the logits change (a) if all positions
# are zero, (b) if they are not, (c) if the rows of the table are shuffled along with the patches?*


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
# A consequence: a fresh table is random, and a shuffled one is just as random. So *a ViT should learn as well from images whose patches
# are shuffled, if it is one shuffle for all*. (A deeper section tries it.)
#
# ## The experiment: a ViT against a CNN of equal size
#
# The digits of lesson 01: 8 × 8 pixels, 1300 for training, in patches of 2 × 2. Four networks of about 27,000 numbers:
#
# - a **ViT**, two layers of four heads; and the same with **no positions**: its table is zero and stays zero;
# - a **CNN** of five convolutions; before its last, linear layer a *global max-pool* keeps of each channel the largest value, wherever it stands;
# - a **CNN without the global pool**: its last layer sees all places in a row.


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
    "CNN, no global pool": lambda: SmallCNN(1, 10, width=25, pool="none", positions=16),
}

# %% [markdown]
# *We predict:* the CNNs win, since they know about neighbours and 1300 images are few. Without positions the ViT loses much.
#
# **Four networks, three seeds; 100 steps of 32 images and one learning rate for all**, chosen for the time, not for
# any of the four.


# %%
digits = load_digits()
images, labels = digits.train_images[:, None], digits.train_labels
test, truth = digits.test_images[:, None], digits.test_labels


def train(make, seed, inputs, targets, steps=100):
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
    size = sum(p.numel() for p in networks[name]().parameters() if p.requires_grad)
    print(f"{name:19} {size} numbers   right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
with_places, bag, pooled, flat = right.values()
assert (torch.minimum(pooled, flat) > with_places + 0.05).all() and (with_places > bag + 0.1).all()

# %% [markdown]
# Both predictions hold. (But with three times the steps the ViT gets nearer, and the *reason* in our prediction is wrong: deeper sections.)
#
# **Now move the test images to the right**, by one, two and three pixels; what leaves comes in again at the left. By two, a whole patch, every *word* is an old one, and only its *place* is new.
# *Before running: which of the four loses more by two pixels than by one? Does one of them lose nothing?*

# %% tags=["answer"]
moved = {
    name: torch.tensor([[accuracy(m, test.roll(k, dims=3), truth) for m in models] for k in range(4)])
    for name, models in trained.items()
}  # pixels, seed
for name, shares in moved.items():
    still, one, two, three = shares.mean(dim=1)
    print(f"{name:19} right ≈ {still:.2f}, moved by one ≈ {one:.2f}, by two ≈ {two:.2f}, by three ≈ {three:.2f}")

# %%
lost = {name: (shares[0] - shares[1:]).mean(dim=1) for name, shares in moved.items()}  # by one, by two, by three
assert lost["ViT, no positions"][0] > 0.2 and abs(lost["ViT, no positions"][1]) < 0.005, "a bag of old words"
assert lost["ViT"].min() > 0.3 and lost["ViT"][1] > lost["ViT"][0] + 0.05, "old words at new places are no help"
assert lost["ViT"][2] > lost["ViT"][1] - 0.05, "nor are new words worse: how far counts"
assert (
    lost["CNN, max-pool"][:2].max()
    < 0.2
    < lost["CNN, no global pool"][0] + 0.1
    < lost["CNN, no global pool"][1] - 0.2
)

# %% tags=["folded"]
figure = new_figure(7.0, 2.7)
axes = figure.subplots()
looks = (
    ("as they are", "black", "o"),
    ("moved by one pixel", COLOURS[1], "s"),
    ("by two", COLOURS[0], "^"),
    ("by three", COLOURS[2], "v"),
)
for pixels, (label, colour, marker) in enumerate(looks):
    for k, shares in enumerate(moved.values()):
        axes.plot(shares[pixels], [k] * 3, marker, color=colour, markersize=5, label=None if k else label)
axes.axvline(0.1, color="grey", linestyle=":")
axes.set(yticks=range(4), yticklabels=networks, ylim=(3.4, -0.4), xlim=(0, 1.03), xlabel="share of right answers")
axes.legend(frameon=False, bbox_to_anchor=(1, 0.5), loc="center left")
describe(
    figure,
    "four rows of points, black for test images as they are, orange for images moved by one pixel, blue by two, green by three, and a dotted line of "
    "guessing at 0.1. The ViT falls from about 0.8 to 0.35, 0.15 and 0.1; without positions from 0.45 to 0.12, and by two pixels back to where it was; "
    "the CNN with max-pool stays above 0.85 up to two pixels and falls to 0.6 by three; the CNN without global pool falls from 0.98 to 0.8, 0.3 and 0.2.",
)

# %% [markdown]
# **Read it.** One pixel makes new words: without positions the ViT then guesses; two pixels it does not notice at all. With positions, a known word at a new
# place is no help: by two pixels the ViT loses more than by one. By three the words are new again, and nothing comes back (there many digits are cut at the edge, and even the max-pool loses a third).
# Convolutions alone are no cure: without its global pool the CNN falls, too, by two pixels nearly as far as the ViT.
#
# ## A trained ViT, and a small convolution before it
#
# The repository holds a small ViT for 64 × 64 pixels, 8 × 8 words, four layers of four heads, after eight minutes of training (`train_vit.py`).
# Each picture is a piece of a photograph with one handwritten digit and pieces of others pasted on it; the answer is the whole digit. Nobody told it *where* that is.
#
# **In it, more than attention is left.** Three small convolutions make its words (a *stem*: what stands before the first block; Xiao et al., arXiv 2106.14881). A
# word knows 15 × 15 pixels. Attention alone carries anything further.

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
# The last layer's map shows whom the class token asks at the end. But those patches have asked others before.
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
# The last layer knows nothing of patch 2. Now on pictures. (Each map is as bright as its own largest weight.) *Before running: which of the two will fit the digit better?*

# %%
last, rolled = maps[-1].mean(dim=1)[:, 0, 1:], rollout(maps)[:, 0, 1:]  # b 64

# %% tags=["folded", "answer"]
figure = new_figure(7.0, 3.7)
for k, column in enumerate(figure.subplots(3, 6).T):
    show_image(column[0], pictures.images[k], title=f"{pictures.labels[k]}, it says {answers[k].argmax()}")
    show_weights(column[1], last[k].view(8, 8), title="last layer" if k == 0 else "")
    show_weights(column[2], rolled[k].view(8, 8), title="rollout" if k == 0 else "")
describe(
    figure,
    "six pictures, dark photographs of a coffee cup or a cat with a pale digit and pieces of others, each with its digit and the "
    "network's answer. Below each the map of the last layer, where one or a few cells are bright, some of them beside the "
    "digit; and the rollout, where one to several cells on the digit are bright and nearly all others are dark.",
)

# %% [markdown]
# **In numbers.** *How much of the map lies inside the square box in which the digit was pasted?* Two controls: its share of the area, and a ViT with random weights.

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
# **Read it.** Rollout puts more than half into the square, the last layer about a third. A surprise: the *first layer* alone puts most. (Why rollout shows less of it: "Is one half right?")
#
# **Does the network need what the map shows?** That a map lies inside the square only proves that it agrees with *us*. So paint the two patches (of 64) that a map ranks
# highest in the picture's mean colour, and ask again. Controls: two by chance, and two by chance *in the digit's square*. *Before running: which costs most?*


# %%
def cover(ranks):
    """The pictures with the two patches of highest rank in their mean colour."""
    highest = torch.zeros_like(ranks).scatter(1, ranks.topk(2, dim=1).indices, 1.0).view(-1, 1, 8, 8)
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
assert (
    covered["the first layer"] > covered["chance, in the square"] + 8
    and covered["rollout"] > covered["the last layer"] + 5
)
assert abs(covered["rollout"] - covered["chance, in the square"]) < 12
assert covered["rollout"] > 2 * covered["chance"] and covered["least rollout"] < 10

# %% [markdown]
# **Read it.** What rollout ranks highest costs far more answers than patches by chance or by the last layer, and what it ranks lowest costs next to nothing. So the map shows what is
# needed. *But patches by chance in the digit's square cost nearly as much*: rollout tells where the digit is, and hardly anything finer. The first layer alone tells more.
#
# ## Whom does a patch ask? Beside a CNN's features
#
# Every patch asks, not only the class token. Beside the ViT stands what *likeness* would ask: the cosines of lesson 09, on features of the
# *trunk*, a CNN trained on ImageNet. **The map at the right-hand side is that CNN's; nothing in it was learned for digits.** (The asking place itself is left out.)
# *Before moving: does a place of the background ask the digit? In the ViT? By likeness?*

# %%
trunk = load_trunk()


def by_likeness(image):
    """Whom each place asks by the likeness of the CNN's features: 3 64 64 -> 64 64."""
    features = trunk(F.interpolate(image[None], scale_factor=2, mode="bilinear"), block=7)[0]  # c 8 8
    return torch.stack([ask(features, k // 8, k % 8).flatten() for k in range(64)])


alike = torch.stack([by_likeness(image) for image in pictures.images[:50]])  # b 64 64

# %% tags=["folded"]
tokens = [("class token", 0)] + [(f"row {k // 8}, column {k % 8}", k + 1) for k in range(64)]


# %% tags=["folded"]
def draw_token(figure, layer=1, head="all", token=0, chosen=0):
    """The picture with the asking place marked; whom it asks in the ViT; and by likeness of the CNN's features."""
    image, row = pictures.images[chosen], maps[layer - 1][chosen, :, token, 1:].clone()  # 3 64 64, s 64
    weights = row.mean(dim=0) if head == "all" else row[head - 1]
    panels = figure.subplots(1, 3)
    show_image(panels[0], image, title=f"asks: {tokens[token][0]}")
    heads = "all heads" if head == "all" else f"head {head}"
    if token == 0:
        show_image(panels[2], torch.ones(64, 64), title="the CNN has no class token")
    else:
        others = alike[chosen, token - 1].clone()
        weights[token - 1] = others[token - 1] = 0
        show_found(panels[2], image, others.view(8, 8), title="CNN, by likeness")
    show_found(panels[1], image, weights.view(8, 8), title=f"ViT, layer {layer}, {heads}")
    for axes in panels[: 3 * (token > 0)]:
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
# **Read it.** In the ViT's first layer both places ask the digit, whether they show a stroke or the table (with three quarters of their weight: a deeper section).
# By likeness, background asks background, and digit asks digit. What the picture does *not* show: whether places in other networks ask *different* questions (10).
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 01 soft look-up | given | memory keys | memory values | n m | softmax over the keys | n · m · (d + v) |
# | 09 non-local block | θ(x) | φ(x) | g(x) | n n | softmax over the keys, or 1/n | n² · c + projections |
# | 14 ViT block | $W_q$ LN(z) | $W_k$ LN(z) | $W_v$ LN(z) | s n n | softmax over the keys | 2 n² d + 12 n d² |
#
# **What is left** without convolutions and positions? A bag of patches. All order comes from a table that must be learned; on 1300 small digits and 100 steps that is
# less than a CNN.
#
# ## Three things to keep
#
# 1. **Patches are words**: a reshape and one linear layer, which is a convolution of stride p. A class token collects, positions are added, and blocks do the rest.
# 2. Without positions a ViT reads a **bag of patches**; with them it must *learn* what lies where, and old words at new places are new to it.
# 3. A map is evidence, not proof: **compare it** with area, with random weights, with single layers, and cover what it shows.
#
# **Now the [exercise](../exercises/14_vision_transformer.ipynb).** What follows goes deeper; each section can be read alone.

# %% [markdown]
# ## Deeper · Whom does a patch ask, in numbers (3 minutes)
#
# On 50 pictures: how much of what a place asks of *others* falls into the digit's square, for places outside it and inside? The control is a ViT with random weights. *Before running: which of the three will answer alike for both?*


# %%
def into_square(maps):
    """How much of what a place asks of others falls into the square: for places outside, for places inside it."""
    others = maps * (1 - torch.eye(64))  # b q k
    share = (others * square[:50, None]).sum(dim=2) / others.sum(dim=2)  # b q
    return share[square[:50] == 0].mean(), share[square[:50] == 1].mean()


# %% tags=["answer"]
of_patches = {"ViT, layer 1": maps[0], "ViT, random weights": random_maps[0]}
asked = {name: into_square(one[:50, :, 1:, 1:].mean(dim=1)) for name, one in of_patches.items()}
asked["CNN, likeness"] = into_square(alike)
for name, (outside, within) in asked.items():
    print(f"{name:20} asked from outside ≈ {outside:.2f}, from inside ≈ {within:.2f}")

# %%
assert min(asked["ViT, layer 1"]) > 0.6 and max(asked["ViT, random weights"]) < 0.35
assert asked["CNN, likeness"][0] < 0.25 and asked["CNN, likeness"][1] > 0.5

# %% [markdown]
# In the trained ViT places ask the digit with about three quarters of their weight, wherever they are; with random weights with no more than its area: training made it so. By likeness, background asks
# background and digit asks digit. (Near places are often alike; we did not separate the two.)
#
# ## Deeper · What it costs (2 minutes)
#
# A block makes $12\,n\,d^2$ multiplications in its linear layers and $2\,n^2 d$ in its maps. **For ViT-B/16 (d = 768), which share is
# quadratic in n?** *Before running: more or less than half at 224 × 224?*

# %% tags=["answer"]
d = SIZES["B"]["embed_dim"]
for side, patch in ((224, 16), (384, 16), (1024, 16), (224, 1)):
    n = (side // patch) ** 2 + 1
    linear, quadratic = 12 * n * d**2, 2 * n**2 * d
    share = 100 * quadratic / (linear + quadratic)
    print(f"{side:4} × {side}, patches of {patch:2}: {n:5} tokens, {share:2.0f} % for the maps")
assert 2 * 197 < 12 * d, "at 224 × 224 the maps are far from half"

# %% [markdown]
# Patches make attention cheap; with single pixels as words nearly all would be maps. The n² overtakes the rest only beyond 6d = 4608 tokens.
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
# ## Deeper · Longer, or with moved examples (3 minutes)
#
# The experiment gave all networks the same 100 steps, chosen for the time. **Was that fair to the ViT, and does anything but a pool help against a moved image?** We
# give the ViT three times the steps; or both the ViT and the CNN without global pool training images moved by up to one pixel in each direction (100 steps as before). One seed.
# *Before running: which of them loses least when the test images move?*

# %%
nine = torch.cat([images.roll((down, aside), dims=(2, 3)) for down in (-1, 0, 1) for aside in (-1, 0, 1)])
others = {
    "ViT, three times the steps": train(networks["ViT"], 0, images, labels, steps=300),
    "ViT, moved examples": train(networks["ViT"], 0, nine, labels.repeat(9)),
    "CNN, moved examples": train(networks["CNN, no global pool"], 0, nine, labels.repeat(9)),
}

# %% tags=["answer"]
found = {name: (accuracy(m, test, truth), accuracy(m, test.roll(1, dims=3), truth)) for name, m in others.items()}
for name, (as_is, after) in found.items():
    print(f"{name:30} right ≈ {as_is:.2f}, moved ≈ {after:.2f}")

# %%
longer, after = found["ViT, three times the steps"]
assert with_places.mean() + 0.03 < longer < flat.mean() and longer - after > 0.3
for name in ("ViT, moved examples", "CNN, moved examples"):
    assert abs(found[name][0] - found[name][1]) < 0.06

# %% [markdown]
# **Read it.** More steps help the ViT; it stays below the CNNs, and loses as much as before when the image
# moves. So the loss does not come from too short a training. Moved examples help where the image moves, for both. The CNN pays next to nothing for them, the ViT a good part of its answers where nothing
# moves. (With more steps it may get them back; we did not try.)
#
# ## Deeper · Do the neighbours make the CNN win? (4 minutes)
#
# The CNN knows which patches are neighbours; the ViT does not. Is that why the CNN wins? **Take the neighbours away**: the sixteen patches of all images are shuffled *alike*. So each patch
# still has its place, but another one. (Inside a patch, four pixels stay neighbours.) And a control: each image is shuffled *in its own way*, so that there is no arrangement to learn.


# %%
def shuffle(images, own, seed=0):
    """The sixteen patches of each image in an order of its own, or all in one other order."""
    parts = patchify(images, 2)  # b 16 4
    order = torch.rand(len(images) if own else 1, 16, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    return assemble(parts.gather(1, order[:, :, None].expand_as(parts)), (4, 4), 2)


# %% tags=["folded"]
describe(
    show_images([test[0, 0], shuffle(test, own=False)[0, 0]], ["as it is", "shuffled alike"], width=3.5),
    "a handwritten digit in 8 × 8 grey pixels, readable; and the same with its sixteen squares of 2 × 2 pixels in disorder, no longer readable.",
)

# %% [markdown]
# *We predicted* that shuffled alike the CNN with max-pool falls below the ViT, which should not notice. One seed. *Before running: do you agree?*

# %% tags=["answer"]
kinds = {"as they are": (images, test)}
kinds["shuffled alike"] = shuffle(images, own=False), shuffle(test, own=False)
kinds["each in its own way"] = shuffle(images, own=True), shuffle(test, own=True, seed=1)
found = {
    (name, kind): accuracy(train(networks[name], 0, inputs, labels), unseen, truth)
    for name in ("ViT", "CNN, max-pool")
    for kind, (inputs, unseen) in kinds.items()
}
for (name, kind), share in found.items():
    print(f"{name:14} {kind:19} right ≈ {share:.2f}")

# %%
assert found["CNN, max-pool", "shuffled alike"] > found["ViT", "as they are"] + 0.05
assert abs(found["ViT", "shuffled alike"] - found["ViT", "as they are"]) < 0.08
assert found["CNN, max-pool", "each in its own way"] < found["ViT", "each in its own way"] - 0.05

# %% [markdown]
# *The prediction was wrong.* Images shuffled alike cost the CNN almost nothing, and the ViT nothing. So knowing which patches are neighbours is not why the CNN won here. It does not read a bag of pieces either:
# shuffled each in its own way it falls far, below the ViT. So its convolutions *learn* the new arrangement, in the same 100 steps. Why it is better at that than the ViT, we have not found out.
#
# ## Deeper · Is one half right? (5 minutes)
#
# Rollout assumes that half of a token goes through the shortcut. **We measure it**: the length of the class token before the look-up, against the length
# of what the look-up adds. *Before running: in which layer will the shortcut's share be smallest?*


# %%
def shortcut_shares(vit, images):
    """In each block, the class token's length as a share of its own and of what the look-up adds."""
    z, found = vit.tokens(images), []
    for block in vit.blocks:
        kept, added = (
            z[:, 0].norm(dim=1),
            block.mix(block.attention_norm(z))[:, 0].norm(dim=1),
        )  # mix: look-up, project
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
tried["half, layer 1 measured"] = [kept[0], 0.5, 0.5, 0.5]
by_share = {name: rollout_with(shares_) for name, shares_ in tried.items()}
for name, map_ in by_share.items():
    print(f"{name:22} inside ≈ {inside(map_).mean():.2f}")

# %%
torch.testing.assert_close(by_share["half"], rolled)
assert inside(by_share["measured"]).mean() > inside(rolled).mean() + 0.1

# %% [markdown]
# At the start the class token is the same for all pictures, and short; what it hears in the first layer is nearly all that it becomes. Later layers add
# less and less. With the measured shares the first layer counts most, and more of the map lies in the square; its share alone brings most of that. So *the half is a convention*, and another number gives another picture. And lengths are
# not all: values, projections and MLPs stay out of every rollout, and it is the same for all classes.
#
# ## Deeper · What it says when there is nothing to say (4 minutes)
#
# **Photographs without any digit.** *Before running: what will the network answer, how sure will it be, and what will the map show?*

# %%
plain = 0.5 * load_photograph("cat", height=64)[:, :, 16:80]  # as dark as in training
empty = 0.5 * crops(200, 64, test=True, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    plain_map = rollout(reader.attention(plain[None]))[0, 0, 1:].view(8, 8)
    sure, said = reader(empty).softmax(dim=1).max(dim=1)
    empty_maps = rollout(reader.attention(empty))[:, 0, 1:]

# %% tags=["folded", "answer"]
figure = new_figure(5.0, 2.6)
left, right_axes = figure.subplots(1, 2)
show_image(left, plain, title="no digit"), show_weights(right_axes, plain_map, title="rollout")
describe(
    figure,
    "a dark photograph of a cat's face without any digit; beside it a rollout in which nearly all cells "
    "are of the same middle brightness, two between the eyes and one at the lower edge brighter.",
)

# %% [markdown]
# **Read it.** The map is bright nearly everywhere. (Each map is scaled to its own largest weight, so we count.) Over how many patches does a rollout spread? That is the *effective number of keys* of lesson 01. And how sure is the network?


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
# Where nothing is to be found, the map spreads over more patches. The answer does not: there is no "no digit" among the ten classes, so the network names a digit, and in about half of the
# photographs it is more than 50 % sure. (Whether an eleventh class would cure it, we did not try.) The numbers of a softmax must sum to 1, in the head as in a map.
#
# ## Deeper · What positions look like (5 minutes)
#
# **How alike are the position vectors of two places?** Each small square below is one place, and shows the cosine of its vector with those of all 64 places. (Their common mean
# is subtracted first.) *Before running: nobody told the network that place 9 lies below place 1. Could it have found out?*

# %%
places = reader.positions[0, 1:].detach()
places = places - places.mean(dim=0)
cosine = F.cosine_similarity(places[:, None], places[None], dim=2)  # 64 64

# %% tags=["folded", "answer"]
tiles = F.pad(cosine.view(8, 8, 8, 8), (1, 1, 1, 1))  # row column y x
figure = new_figure(5.0, 4.2)
axes = figure.subplots()
drawn = axes.imshow(tiles.permute(0, 2, 1, 3).reshape(80, 80), cmap="PuOr", vmin=-1, vmax=1)
axes.set_axis_off()
figure.colorbar(drawn, shrink=0.7, label="cosine")
describe(
    figure,
    "eight rows of eight small squares of 8 × 8 cells. Those of places in the middle are violet, that is "
    "alike, in a blob around their own place and orange along the border. Those of the two left columns "
    "and of the right one are the other way round: violet at the left and right border and orange in the "
    "middle. Those of the top row are palest. A bar beside them shows the colours of cosines from -1, "
    "orange, to 1, violet.",
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
# **Few.** A guess, which we did not test: the stem's words see 15 × 15 pixels each and overlap, so a bag of them can be put together again like
# the pieces of a puzzle. Whatever the reason: *a pretty picture of positions does not mean that the network needs them.*
#
# ## Deeper · Larger pictures (6 minutes)
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
pairs = torch.cat([pictures.images[:150], pictures.images[150:]], dim=3)  # b 3 64 128
wide = at_size(64, 128)
with torch.no_grad():
    named = wide(pairs).argmax(dim=1)
one_of_both = ((named == pictures.labels[:150]) | (named == pictures.labels[150:])).float().mean()
print(f"it names one of the two in ≈ {one_of_both:.2f} of the pairs (guessing: 0.19)")
assert one_of_both > 0.7

# %%
with torch.no_grad():
    pair_maps = rollout(wide.attention(pairs[:3]))[:, 0, 1:].view(3, 8, 16)

# %% tags=["folded"]
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
    """The same tensors by their names elsewhere. The table says "theirs: ours"; what is one layer there, several here, is stacked."""
    renamed = {}
    for theirs, ours in table.items():
        *prefix, layers = ours.rsplit(".", 1)
        for block, leaf in itertools.product(range(2), ("", ".weight", ".bias")):
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
# **A real one, if you ask for it.** In JupyterLab, set `DOWNLOAD = True` to fetch DeiT-Ti, 23 MB, and see its rollout on the cat. Nothing else in this course needs the internet, and
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
# ## Deeper · What to believe (1 minute)
#
# The paper's best ViT reaches 88.55 % on ImageNet after pre-training on 300 million private images; trained on ImageNet alone, without strong regularisation, its ViTs stay *below* ResNets of the same size, and
# later recipes (DeiT) closed the gap with augmentation and a teacher. So a number "of ViT" says little without its data and recipe. Our CNN won with 1300 images and 100 steps; 8 × 8 digits say
# nothing about large scale. And weights saved by code that flattens a patch in another order than *channel, row, column* must be permuted first; no shape will tell you.
#
# *References.* Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021, arXiv 2010.11929.
# Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, arXiv 2005.00928.
# Touvron et al., Training data-efficient image transformers & distillation through attention, 2021, arXiv 2012.12877.
# Xiao et al., Early Convolutions Help Transformers See Better, NeurIPS 2021, arXiv 2106.14881.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
