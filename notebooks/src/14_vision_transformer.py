# %% [markdown]
# # 14 · Vision transformer
#
# **What is left of a vision network when only attention is left?**
#
# After this lesson you will be able to
#
# - turn an image into a sentence of patches, and write the encoder that reads it, with every shape;
# - say what a vision transformer knows about geometry before it has seen an image, and what that costs it;
# - draw attention maps and rollouts of a trained one, and say how far to believe them.
#
# *Minutes:* 69 · *Needs:* 01, 09 · *Paper:* Dosovitskiy et al., An Image is Worth 16x16 Words, 2021, arXiv 2010.11929 · *Exercise:* [14 vision transformer](../exercises/14_vision_transformer.ipynb) · *Module:* [vision_transformer.py](../course_lib/spatial/vision_transformer.py)
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
from course_lib.interactive import slider, steer
from course_lib.models import SmallCNN, small_vit, stem_vit, trained_vit
from course_lib.plotting import describe, new_figure, show_image, show_images, show_overlay, show_weights
from course_lib.spatial.vision_transformer import SIZES, EncoderBlock, PatchEmbedding, VisionTransformer, rollout
from course_lib.training import accuracy, fit

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
# **The same on a photograph.** 64 × 96 pixels in patches of 16 × 16. *How many words, and how many numbers in each?*

# %%
cat = load_photograph("cat", height=64)
words = patchify(cat[None], 16)
print("sentence:", list(words.shape))
tiles = F.pad(words.view(4, 6, 3, 16, 16), (1, 1, 1, 1), value=1.0)  # i j c y x, a white edge around each
describe(
    show_images(
        [cat, tiles.permute(2, 0, 3, 1, 4).reshape(3, 72, 108)], ["64 × 96 pixels", "24 words of 768 numbers"]
    ),
    "a cat's face; and the same photograph cut into four rows of six squares with white gaps between "
    "them, each square showing a bit of fur, an eye or the nose.",
)

# %% [markdown]
# **Each word becomes a vector by one linear layer**, the same for all patches: $x_p E + e$, with a bias e. That is a convolution whose
# stride is its size: it reads every patch once. *Before running: E is 768 × d; which shape has the convolution's weight?*

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
print("reshape = convolution = course_lib:", list(as_reshape.shape))

# %% [markdown]
# This fits only because both flatten a patch in the order *channel, row, column*. Weights saved by code that flattens otherwise
# must be permuted first, and no shape will tell you.
#
# ## The formula
#
# $$z_0 = [x_\text{class};\; x_p^1 E;\; \ldots;\; x_p^N E] + E_\text{pos}$$
# $$z'_l = \mathrm{MSA}(\mathrm{LN}(z_{l-1})) + z_{l-1} \qquad z_l = \mathrm{MLP}(\mathrm{LN}(z'_l)) + z'_l \qquad l = 1 \ldots L$$
# $$\text{logits} = \mathrm{head}(\mathrm{LN}(z_L^0))$$
#
# | symbol | what it is | shape |
# |---|---|---|
# | $x_p^i$ | patch i, flattened | c·p·p |
# | $E$ | patch embedding (its bias is left out here) | c·p·p d |
# | $x_\text{class}$ | class token: a learned word that stands for no patch | d |
# | $E_\text{pos}$ | positions: a learned vector for each place in the sentence | N+1 d |
# | $z_l$ | the sentence after l blocks | b N+1 d |
# | MSA | the multi-head look-up of lesson 01, everybody asks everybody | b n d → b n d |
# | MLP | d → 4d → d with GELU in between, for each token by itself | b n d → b n d |
# | LN | LayerNorm: each token to mean 0 and variance 1, then scale and shift | b n d → b n d |
#
# Only token 0 is read out at the end. It asks the patches, layer by layer, and collects the answer: "where to look" is its row of the maps.

# %% [markdown]
# **The block, token by token and head by head.** LN stands on the branch ("pre-norm"), so the sum itself is never touched and a token can pass all blocks
# unharmed. (The Transformer of lesson 01's paper put it on the sum, and needs a careful warm-up.)


# %%
def block_by_loops(block, x):
    """Each token reads all tokens, head by head, and adds what it read; then each thinks for itself: n d -> n d."""
    z = block.attention_norm(x)
    query, key, value = (f(z).unflatten(1, (block.num_heads, -1)) for f in (block.query, block.key, block.value))
    heard = torch.zeros_like(query)  # n s e, with e = d / heads
    for i in range(len(x)):
        for s in range(block.num_heads):
            scores = key[:, s] @ query[i, s] / math.sqrt(query.shape[2])
            heard[i, s] = scores.softmax(dim=0) @ value[:, s]
    x = x + block.project(heard.flatten(1))
    return x + block.contract(F.gelu(block.expand(block.mlp_norm(x))))


# %% [markdown]
# As matrices, all heads at once; and the module. *Before running: 2 sentences of 7 tokens, 3 heads; which shape has the map?*


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
print("loops = matrices = course_lib; the map:", list(block.attention(x).shape))

# %% [markdown]
# **And the whole network is five lines.** The class token joins *before* the positions are added.

# %%
torch.manual_seed(0)
vit = VisionTransformer((8, 12), patch_size=4, channels=3, embed_dim=12, depth=2, num_heads=3, num_classes=5)
image = torch.rand(2, 3, 8, 12)
z = torch.cat([vit.class_token.expand(2, -1, -1), vit.patches(image)], dim=1) + vit.positions
for block in vit.blocks:
    z = block(z)
torch.testing.assert_close(vit.head(vit.norm(z[:, 0])), vit(image))
print("sentence", list(z.shape), "logits", list(vit(image).shape))

# %% [markdown]
# ## What it costs
#
# A block makes $12\,n\,d^2$ multiplications in its linear layers and $2\,n^2 d$ in its maps, n = N + 1 tokens. **For ViT-B/16 (d = 768), which share is
# quadratic?** *Before running: more or less than half at 224 × 224?*

# %% tags=["answer"]
d = SIZES["B"]["embed_dim"]
for side in (224, 384, 1024):
    n = (side // 16) ** 2 + 1
    linear, quadratic = 12 * n * d**2, 2 * n**2 * d
    print(f"{side:4} × {side}: {n:4} tokens, {100 * quadratic / (linear + quadratic):2.0f} % for the maps")
assert 2 * 197 < 12 * d, "at 224 × 224 the maps are far from half"

# %% [markdown]
# Patches have made attention cheap. The famous N² overtakes the rest only beyond 6d = 4608 tokens.
#
# ## Where is up?
#
# **Without $E_\text{pos}$ a ViT sees a bag of patches.** We shuffle the patches of an image and set the positions to zero. *Before
# running: do the logits change? And with positions, if we shuffle their rows along with the patches?*


# %%
def assemble(patches, grid, size):
    """The image whose patches these are: b n (c p p) -> b c h w."""
    return F.fold(patches.mT, (grid[0] * size, grid[1] * size), kernel_size=size, stride=size)


# %%
order = torch.tensor([4, 2, 0, 5, 1, 3])
shuffled = assemble(patchify(image, 4)[:, order], (2, 3), 4)
blind = copy.deepcopy(vit)
nn.init.zeros_(blind.positions)
torch.testing.assert_close(blind(shuffled), blind(image))
assert not torch.allclose(vit(shuffled), vit(image), atol=1e-3)
moved = copy.deepcopy(vit)
moved.positions.data = torch.cat([vit.positions[:, :1], vit.positions[:, 1:][:, order]], dim=1)
torch.testing.assert_close(moved(shuffled), vit(image))
print("zero positions: nothing changes; shuffled along: nothing changes; only patches shuffled: it does")

# %% [markdown]
# Patches and table shuffled alike change nothing: that has a surprising consequence. A fresh table is random, so a shuffled one is just as good a start: *a ViT learns images whose patches
# are all shuffled in the same way exactly as well as the originals.* It does not know that patches 1 and 2 are neighbours. A convolution does, from the start.
#
# ## The experiment: a ViT against a CNN of equal size
#
# The handwritten digits of lesson 01: 8 × 8 pixels, 1300 for training, patches of 2 × 2. Both networks have about 27,000 numbers.

# %%
digits = load_digits()
images, labels = digits.train_images[:, None], digits.train_labels
test, truth = digits.test_images[:, None], digits.test_labels
torch.manual_seed(0)
for name, model in {"ViT": small_vit(8, 2, width=32), "CNN": SmallCNN(1, 10, width=27)}.items():
    print(name, sum(p.numel() for p in model.parameters()), "numbers")

# %% [markdown]
# **Take the geometry away.** For the ViT that is easy: $E_\text{pos} = 0$. A convolution cannot be told to forget, but it can be shown
# images without geometry: the patches of each are in an order of their own (ten orders of each for training). Third, all images shuffled
# *alike*, which takes the neighbours away but not the places.


# %%
def shuffle(images, seed, *, alike=False):
    """The patches of each image in an order of its own, or all in the same."""
    generator = torch.Generator().manual_seed(seed)
    patches = patchify(images, 2)
    orders = torch.rand(1 if alike else len(images), 16, generator=generator).argsort(dim=1).expand(len(images), -1)
    return assemble(patches.gather(1, orders[:, :, None].expand_as(patches)), (4, 4), 2)


# %% tags=["folded"]
torch.testing.assert_close(shuffle(images, 0).sum(dim=(2, 3)), images.sum(dim=(2, 3)))
each = torch.cat([shuffle(images, seed) for seed in range(10)])
three = [test[0, 0], shuffle(test, 0, alike=True)[0, 0], shuffle(test, 99)[0, 0]]
describe(
    show_images(three, ["as it is", "shuffled alike", "shuffled each"], width=4.0),
    "a handwritten digit in 8 × 8 grey pixels, readable; and twice the same with its sixteen squares of 2 "
    "× 2 pixels in disorder, no longer readable.",
)

# %% [markdown]
# *We predict.* The CNN wins on whole images: it knows about neighbours, and 1300 images are few. Without positions the ViT loses much. Shuffled alike,
# the CNN loses its advantage and falls below the ViT, which does not notice.


# %%
def no_positions():
    """The ViT with the table of positions at zero, and kept there."""
    model = small_vit(8, 2, width=32)
    nn.init.zeros_(model.positions).requires_grad_(False)
    return model


# %% [markdown]
# **Five settings, three seeds, 160 steps each.** This takes about half a minute. (The ViT on images shuffled alike is left out: we just proved that its row is the first, up to chance.)

# %%
alike, alike_test = shuffle(images, 0, alike=True), shuffle(test, 0, alike=True)
settings = {
    "ViT": (lambda: small_vit(8, 2, width=32), images, test),
    "ViT, no positions": (no_positions, images, test),
    "CNN": (lambda: SmallCNN(1, 10, width=27), images, test),
    "CNN, shuffled alike": (lambda: SmallCNN(1, 10, width=27), alike, alike_test),
    "CNN, shuffled each": (lambda: SmallCNN(1, 10, width=27), each, shuffle(test, 99)),
}


# %%
def train(name, seed):
    """A model trained in this setting, and its share of right answers on test images."""
    make, inputs, held_out = settings[name]
    torch.manual_seed(seed)
    model, targets = make(), labels.repeat(len(inputs) // len(labels))
    fit(model, inputs, targets, steps=160, learning_rate=4e-3, batch_size=64, seed=seed, title=name)
    return model, accuracy(model, held_out, truth)


# %%
trained = {name: [train(name, seed) for seed in (0, 1, 2)] for name in settings}
right = {name: torch.tensor([share for _, share in runs]) for name, runs in trained.items()}

# %% tags=["folded"]
figure = new_figure(6.0, 2.4)
axes = figure.subplots()
for k, shares in enumerate(right.values()):
    axes.plot(shares, [k] * 3, "o", color="black", markersize=5)
axes.axvline(0.1, color="grey", linestyle=":")
axes.set(yticks=range(5), yticklabels=list(right), xlim=(0, 1.03), xlabel="share of right answers on test images")
axes.invert_yaxis()
describe(
    figure,
    "five rows of three points. The ViT lies near 0.87, without positions near 0.65. The CNN lies at "
    "0.99, on images shuffled alike at 0.98, and on images shuffled each in its own way near 0.3. A "
    "dotted line marks guessing at 0.1.",
)

# %%
with_places, bag, cnn, cnn_alike, cnn_each = right.values()
print(f"the CNN beats the ViT by more than 5 points in each seed: {bool((cnn > with_places + 0.05).all())}")
print(f"positions give the ViT more than 10 points in each seed: {bool((with_places > bag + 0.1).all())}")
print(f"shuffled alike, the CNN falls below the ViT in some seed: {bool((cnn_alike < with_places).any())}")
assert (cnn > with_places + 0.05).all() and (with_places > bag + 0.1).all()
assert (cnn_alike > with_places + 0.02).all() and (cnn_each < bag - 0.1).all()

# %% [markdown]
# **Read it.** Two predictions hold: the CNN wins clearly, and a ViT without positions answers some 20 points fewer. *The third was wrong*: images shuffled
# alike cost the CNN almost nothing. A few layers of 3 × 3 see all of an 8 × 8 image, so its five convolutions can learn a fixed
# arrangement, too. Its real advantage at this size must be another one. It may be that its weights are *shared* over places, or just that it is
# easier to optimise: the ViT given five times as many steps reaches 94 to 95 % (three seeds, measured while making this lesson).
#
# And in the last row the CNN, which *needs* places, does worse than the bag of patches, which does not. (Shuffling does not change its answers, so its row holds for these images too.)
#
# **One more test, without training: move the test images by one pixel.** *Before running: who minds more?*

# %% tags=["answer"]
moved_by_one = test.roll(1, dims=3)
after = {name: torch.tensor([accuracy(m, moved_by_one, truth) for m, _ in trained[name]]) for name in ("ViT", "CNN")}
lost = {name: (right[name] - after[name]).mean() for name in after}
print(
    f"the ViT loses more than 30 points: {bool(lost['ViT'] > 0.3)}; the CNN less than 20: {bool(lost['CNN'] < 0.2)}"
)
assert lost["ViT"] > 0.3 and lost["CNN"] < 0.2

# %% [markdown]
# To the ViT, a digit one pixel further is made of other words. It must learn each shift from examples; the convolution gets shifts for free. This is what "fewer
# priors" means, and why the paper's ViT needs millions of images to overtake.
#
# ## A ViT that has learned
#
# The repository holds a small ViT trained for eight minutes ([train_vit.py](../course_lib/authoring/train_vit.py)): pictures of 64 × 64 pixels in patches of 8 × 8, hence 64 words; four layers of four heads.
# Each picture is a piece of a photograph with one handwritten digit and pieces of others pasted on it; the answer is the whole digit. Nobody told it *where* the digit is.
#
# One concession: its patch embedding is not one large convolution but three small ones (a *convolutional stem*, Xiao et al., arXiv 2106.14881). With the
# plain one, 2000 steps of training reached 40 %; with the stem, 1000 steps reached 66 %.

# %%
reader = trained_vit()
pictures = pasted_digits(300, test=True, seed=1)  # photographs and digits that training never showed
share_right = accuracy(reader, pictures.images, pictures.labels)
print(f"{sum(p.numel() for p in reader.parameters())} numbers; more than 80 % right: {share_right > 0.8}")
assert share_right > 0.8

# %% [markdown]
# ## What does the class token look at?
#
# The map of the last layer shows one step: whom the class token asks at the end. But the patches it asks have asked others before.
#
# **Attention rollout follows all steps.** Each layer hands on half of a token by its shortcut and half by attention; the layers are multiplied:
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
assert total[0].tolist() == [0.5, 0.25, 0.25]

# %% [markdown]
# The last layer knows nothing of patch 2. Now on pictures. *Before running: which of the two maps will fit the digit better?*

# %% tags=["folded", "answer"]
with torch.no_grad():
    maps = reader.attention(pictures.images)  # four of b s n n
    answers = reader(pictures.images).argmax(dim=1)
last, rolled = maps[-1].mean(dim=1)[:, 0, 1:], rollout(maps)[:, 0, 1:]  # b 64
figure = new_figure(7.0, 3.7)
for k, column in enumerate(figure.subplots(3, 6).T):
    show_image(column[0], pictures.images[k], title=f"a {pictures.labels[k]}, it says {answers[k]}")
    show_weights(column[1], last[k].view(8, 8), title="last layer" if k == 0 else "")
    show_weights(column[2], rolled[k].view(8, 8), title="rollout" if k == 0 else "")
describe(
    figure,
    "six pictures, dark photographs of a coffee cup or a cat with a pale digit and pieces of others. "
    "Below each the map of the last layer, where one or a few cells are bright, some of them beside the "
    "digit; and the rollout, where several cells in the shape of the digit are bright and nearly all "
    "others are dark.",
)

# %% [markdown]
# **Read it, in numbers.** We know where each digit is. *How much of the map lies inside the digit's square?* A map that knows nothing gets the square's share of the
# area. As a second control, a ViT with random weights:

# %%
torch.manual_seed(0)
with torch.no_grad():
    random_maps = stem_vit().eval().attention(pictures.images)
square = F.avg_pool2d(pictures.squares[:, None].float(), 8).flatten(1)  # b 64: which part of each patch is inside


def inside(weights):
    """The share of the weights that lies inside the digit's square, averaged over the pictures: b 64 -> number."""
    return ((weights * square).sum(dim=1) / weights.sum(dim=1)).mean()


# %%
shares = {
    "area of the square": inside(torch.ones(300, 64)),
    "rollout, random weights": inside(rollout(random_maps)[:, 0, 1:]),
    "last layer": inside(last),
    "rollout": inside(rolled),
} | {f"layer {k}": inside(m.mean(dim=1)[:, 0, 1:]) for k, m in enumerate(maps, start=1)}
for name, share in shares.items():
    print(f"{name:24} {100 * share:3.0f} % inside")
assert abs(shares["rollout, random weights"] - shares["area of the square"]) < 0.03
assert shares["rollout"] > shares["last layer"] + 0.1 and shares["rollout"] > 2 * shares["area of the square"]
assert shares["layer 1"] > 0.75 > 0.55 > max(shares[f"layer {k}"] for k in (2, 3, 4))

# %% [markdown]
# **Read it.** Random weights know nothing: just the share of the area. The last layer alone puts little more than a third into the square. Rollout puts more than half
# there. And the reason is a surprise: the class token finds the digit *in the first layer* (80 %); the last two put little more there than the area. By then a token need not stand for
# its patch any more: it carries what it has read before.

# %% [markdown]
# **Does the network need what the map shows?** A map inside the square only proves that it agrees with *us*. So cover the eight patches (of 64) that a map ranks
# highest with the picture's mean colour, and ask again. *Before running: cover by rollout, by the first layer, by the last layer, at random: which hurts most?*


# %%
def cover(ranks):
    """The pictures with the eight patches of highest rank in their mean colour."""
    highest = torch.zeros_like(ranks).scatter(1, ranks.topk(8, dim=1).indices, 1.0).view(-1, 1, 8, 8)
    mask = F.interpolate(highest, scale_factor=8)  # from patches to pixels
    return pictures.images * (1 - mask) + pictures.images.mean(dim=(2, 3), keepdim=True) * mask


# %% tags=["answer"]
random_ranks, first = torch.rand(300, 64, generator=torch.Generator().manual_seed(0)), maps[0].mean(dim=1)[:, 0, 1:]
ranks = {"by rollout": rolled, "by the first layer": first, "by the last layer": last}
ranks |= {"at random": random_ranks, "least rollout": -rolled}
covered = {name: accuracy(reader, cover(rank), pictures.labels) for name, rank in ranks.items()}
for name, share in covered.items():
    print(f"covered {name:18} about {5 * round(20 * (share_right - share)):2} points lost")
assert share_right - covered["by rollout"] > 2 * (share_right - covered["at random"])
assert covered["by rollout"] < covered["by the last layer"] - 0.05
assert share_right - covered["least rollout"] < 0.1 and covered["by the first layer"] < covered["by rollout"]

# %% [markdown]
# **Read it.** Eight patches of 64, chosen by rollout, cost four times as many answers as eight at random; the eight it ranks lowest cost next to nothing. So the map shows what is
# needed, not only what we like to see. *But the first layer alone is better still.* Rollout mixes it with later layers, whose tokens no longer speak of one place. It beats the last
# layer; it is not the best that can be had.
#
# *Does it also tell when the network errs?* We compare how much of the rollout lies inside the square, for right and for wrong answers.

# %%
wrongly = answers != pictures.labels
per_picture = (rolled * square).sum(dim=1) / rolled.sum(dim=1)
inside_right, inside_wrong = per_picture[~wrongly].mean(), per_picture[wrongly].mean()
print(f"right and wrong answers differ by less than 6 points: {bool(abs(inside_right - inside_wrong) < 0.06)}")
assert abs(inside_right - inside_wrong) < 0.06

# %% [markdown]
# It does not. The network looks at the digit and misreads it. **A good map is no sign of a good answer.**
#
# ## Layer by layer, head by head
#
# **Choose layer, head and token** (marked in the picture; the class token has no place). *Before moving: does a patch of the background ask the digit, too? Do the heads
# of one layer look at the same?*

# %%
chosen = 0
picture, picture_square = pictures.images[chosen], square[chosen]
picture_maps = [layer[chosen] for layer in maps]  # of each layer s n n
tokens = [("class token", 0)] + [(f"row {k // 8}, column {k % 8}", k + 1) for k in range(64)]


# %%
def draw_token(figure, layer=4, head="all", token=0):
    """The picture with the asking patch marked, whom it asks, and the picture darkened where it does not look."""
    weights = picture_maps[layer - 1][:, token, 1:]  # s 64
    weights = (weights.mean(dim=0) if head == "all" else weights[head - 1]).view(8, 8)
    heads = "all heads" if head == "all" else f"head {head}"
    share = (weights.flatten() * picture_square).sum() / weights.sum()
    left, middle, right = figure.subplots(1, 3)
    show_image(left, picture, title=f"asks: {tokens[token][0]}")
    if token:
        y, x = divmod(token - 1, 8)
        left.plot(8 * x + 3.5, 8 * y + 3.5, "s", markersize=15, markerfacecolor="none", markeredgecolor="magenta")
    show_weights(middle, weights, title=f"layer {layer}, {heads}")
    show_overlay(right, picture, weights, title=f"{100 * share:.0f} % in the digit's square")


# %% tags=["widget"]
steer(
    draw_token,
    layer=slider("layer", [1, 2, 3, 4], value=1),
    head=slider("head", ["all", 1, 2, 3, 4], value="all"),
    token=slider("token", tokens, value=0),
)

# %% [markdown]
# The same without a widget: the class token in the first and in the last layer, and a corner of the background, asked with two heads of layer 2.

# %% tags=["static", "folded"]
figure = new_figure(7.0, 9.4)
choices = [(1, "all", 0), (4, "all", 0), (2, 1, 1), (2, 2, 1)]
for panel, (layer, head, token) in zip(figure.subfigures(4, 1), choices):
    draw_token(panel, layer, head, token)
describe(
    figure,
    "four rows: the picture with the asking patch marked, its map, the picture darkened. The class token "
    "in layer 1: bright cells on the middle and the lower part of the 6. In layer 4: one bright cell at "
    "the right edge of the 6, and many weak ones all over the picture. The upper left corner, in layer 2: "
    "with head 1 one bright cell below the 6, with head 2 one bright cell on its middle.",
)

# %% [markdown]
# **Read it.** Heads of one layer look at different places, here just below the digit and at its middle. But step through the tokens in layer 1: *all patches ask nearly the same*. The
# corner, which shows no stroke, asks the digit as much as the class token does.

# %%
outside = (1 - square)[:, None, :]  # b 1 q: how much of the asking patch lies outside the square
asked = maps[0][:, :, 1:, 1:]  # b s q k
on_square = (asked * square[:, None, None]).sum(dim=-1) / asked.sum(dim=-1)  # b s q
background = (on_square * outside).sum() / (outside.sum() * 4)
print(f"layer 1: patches of the background put {100 * background:.0f} % of their weight into the square")
assert background > 0.65

# %% [markdown]
# The task explains it: only the digit matters, whoever asks. Whether tokens ever ask *different* questions is what lesson 10 is about.
#
# ## What it says when there is nothing to say
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


print(f"patches: {effective(rolled):.0f} with a digit, {effective(empty_maps):.0f} without, of 64")
print(f"its most frequent answer to nothing: {said.mode().values}")
print(f"more than 50 % sure in every third: {bool((sure > 0.5).float().mean() > 1 / 3)}")
assert effective(empty_maps) > 45 > 35 > effective(rolled) and (sure > 0.5).float().mean() > 1 / 3

# %% [markdown]
# The map is honest here: nothing found, look everywhere. The answer is not. There is no "no digit" among its ten classes, so it says something, often a 2, and in about half of the
# photographs it is more than 50 % sure. A softmax must give its 1 away, in the head as in a map.
#
# ## What positions look like
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
print(f"neighbours {near:.1f}, more than four patches apart {far:.1f}")
columns = cosine.view(8, 8, 8, 8).mean(dim=(0, 2))  # how alike two columns are
print(f"columns 1 and 7: {columns[1, 7]:.1f}, columns 1 and 4: {columns[1, 4]:.1f}")
assert near > far + 0.2 and columns[1, 7] > columns[1, 4] + 0.2

# %% [markdown]
# **Read it.** Training has sorted a random table: neighbours are alike. But it is no map. Columns 1 and 7, counted
# from 0, lie far apart and are alike; the middle between them is not. Perhaps because a digit always lies wholly inside the picture, and a stroke at either side
# is likely to be a piece.
#
# *Before running: put the same average vector at all places. How many answers are lost?*

# %% tags=["answer"]
without = copy.deepcopy(reader)
without.positions.data[:, 1:] = reader.positions[:, 1:].mean(dim=1, keepdim=True)
lost = share_right - accuracy(without, pictures.images, pictures.labels)
print(f"all places alike: fewer than 10 points lost: {lost < 0.1}")
assert lost < 0.1

# %% [markdown]
# **Hardly any**; the digits' ViT lost many. We think that the stem is the reason: its tokens see 15 × 15 pixels each and overlap, so a bag of them can be pieced together like
# a jigsaw. Whatever the reason: *a pretty picture of positions does not mean that the network needs them.*
#
# ## Larger pictures
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
    named = wide(pairs[:150]).argmax(dim=1)
one_of_both = ((named == pictures.labels[:150]) | (named == pictures.labels[150:])).float().mean()
print(f"it names one of the two in more than 70 % of the pairs (guessing: 19 %): {bool(one_of_both > 0.7)}")
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
for side in (96, 128):
    more = pasted_digits(150, size=side, test=True, seed=1)
    enlarged = F.interpolate(pictures.images[:150], (side, side), mode="bilinear", align_corners=False)
    model = at_size(side, side)
    usual, big = accuracy(model, more.images, more.labels), accuracy(model, enlarged, pictures.labels[:150])
    print(
        f"{side} × {side}: enlarged pictures lose more than 10 points, more picture does not: {big < share_right - 0.1 < usual}"
    )
    assert big < share_right - 0.1 < usual

# %% [markdown]
# More picture costs next to nothing: the words are the old ones, only more. Enlarged pictures have new words, strokes up to twice as wide, and accuracy falls. Interpolating positions
# does not help with that; the paper *fine-tunes* at the new size. And code bases interpolate differently (`method=`): bicubic, with or without antialiasing, or
# bilinear with aligned corners. Use the one that the weights were trained with.
#
# ## Published weights
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
# **timm stacks query, key and value in one layer; Hugging Face does not.** To show it without a network, we write a small ViT to two files, as these would.


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
source, image = (
    VisionTransformer(32, patch_size=8, embed_dim=12, depth=2, num_heads=3, num_classes=5),
    torch.rand(2, 3, 32, 32),
)
files = {}
with tempfile.TemporaryDirectory() as folder:
    for name in ("timm", "Hugging Face"):
        torch.save(rename(source.state_dict(), formats[name].names), Path(folder, "vit.pth"))
        files[name] = torch.load(Path(folder, "vit.pth"), weights_only=True)

# %%
for name, weights in files.items():
    reading = VisionTransformer(32, patch_size=8, embed_dim=12, depth=2, num_heads=3, num_classes=5)
    published.load(reading, weights)
    torch.testing.assert_close(reading(image), source(image))
    print(f"{name:16} {len(weights)} tensors, the same logits")

# %% [markdown]
# A file says nothing of the number of heads, of the ε of the norms (1e-12 in Hugging Face), or of which GELU (the paper's code uses an approximation). *Build the model
# with another number of heads: it loads without an error, and is wrong.*

# %%
wrong = VisionTransformer(32, patch_size=8, embed_dim=12, depth=2, num_heads=4, num_classes=5)
published.load(wrong, files["timm"])
print("four heads instead of three: same logits?", torch.allclose(wrong(image), source(image), atol=1e-3))
assert not torch.allclose(wrong(image), source(image), atol=1e-3)

# %% [markdown]
# **A real one, if you ask for it.** Set `DOWNLOAD = True` to fetch DeiT-Ti, 23 MB, and see its rollout on the cat. Nothing else in this course needs a network, and
# no result of this cell is stored.

# %%
DOWNLOAD = False
if DOWNLOAD:
    import IPython.display

    url = "https://dl.fbaipublicfiles.com/deit/deit_tiny_patch16_224-a1311bcf.pth"
    deit = VisionTransformer(224, patch_size=16, **SIZES["Ti"])
    published.load(deit, torch.hub.load_state_dict_from_url(url, check_hash=True))
    cat = load_photograph("cat", height=224)[:, :, 56:280]
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        deit_map = rollout(deit.attention(((cat - mean) / deviation)[None]))[0, 0, 1:].view(14, 14)
    show_overlay((figure := new_figure(3.0, 3.0)).subplots(), cat, deit_map)
    IPython.display.display(figure)

# %% [markdown]
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 01 soft look-up | given | memory keys | memory values | n m | softmax over the keys | n · m · (d + v) |
# | 09 non-local block | θ(x) | φ(x) | g(x) | n m | softmax over the keys, or 1/m | n · m · c + projections |
# | 14 ViT block | $W_q$ LN(z) | $W_k$ LN(z) | $W_v$ LN(z) | s n n | softmax over the keys | 2 n² d + 12 n d² |
#
# ## What to believe
#
# The paper's best ViT reaches 88.55 % on ImageNet after pre-training on 300 million private images; trained on ImageNet alone its ViTs stay *below* ResNets of the same size, and
# later recipes (DeiT) closed the gap with augmentation. So a number "of ViT" says little without its data and recipe. Our CNN won with 1300 images, as the paper would
# predict; 8 × 8 digits say nothing about large scale. Rollout ignores values, projections and MLPs, and it is the same for every class: it says where information *could* have come from.
#
# ## Three things to keep
#
# 1. **Patches are words**: a reshape and one linear layer, which is a convolution of stride P. A class token collects, positions are added, and pre-norm blocks do the rest.
# 2. Without positions a ViT reads a **bag of patches**; with them it must *learn* what a convolution knows from the start, and at small scale the CNN wins.
# 3. A map is evidence, not proof: **compare it** with area, with random weights, with the last layer, and cover what it shows.
#
# *References.* Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021, arXiv 2010.11929.
# Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, arXiv 2005.00928.
# Touvron et al., Training data-efficient image transformers & distillation through attention, 2021, arXiv 2012.12877.
# Xiao et al., Early Convolutions Help Transformers See Better, NeurIPS 2021, arXiv 2106.14881.
#
# **Next:** the [exercise](../exercises/14_vision_transformer.ipynb), then lesson 15: what and where at once.
