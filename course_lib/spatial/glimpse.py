"""Recurrent Models of Visual Attention (RAM), and its deeper sequel DRAM.

Volodymyr Mnih, Nicolas Heess, Alex Graves, Koray Kavukcuoglu, NIPS 2014, arXiv 1406.6247, sections 3 and 4;
Jimmy Lei Ba, Volodymyr Mnih, Koray Kavukcuoglu, ICLR 2015, arXiv 1412.7755, section 3.
Lesson: notebooks/06_glimpses.ipynb
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from course_lib.checks import check_features, values_are_known

FARTHEST = 4.0  # half sides of the image from its middle: whatever lies farther was given in pixels


def crop(images: Tensor, location: Tensor, size: int) -> Tensor:
    """Cut the ``size`` × ``size`` pixels around ``location`` out of each image; beyond the border all is zero.

    A point (x, y) has x = −1 on the left edge of the image and +1 on its right edge, y = −1 on top and +1 below.
    The crop is made of whole pixels, those nearest to the place asked for, so no gradient reaches ``location``.

    Shape: images: b c h w, location: b 2 as (x, y) -> b c size size.
    """
    b, _, h, w = images.shape
    exact = images.to(torch.promote_types(images.dtype, torch.float32))  # half precision cannot count to 300
    half = exact.new_tensor((w / 2, h / 2))  # from [0, 2] to pixels, x and y
    corner = ((location.to(exact) + 1) * half - (size - 1) / 2).floor()  # b 2, the first pixel of the crop
    middles = torch.arange(0.5, size, dtype=exact.dtype, device=exact.device)  # a pixel is one wide
    points = (corner[:, :, None] + middles) / half[:, None] - 1  # b 2 size, back in [−1, 1]
    grid = exact.new_empty(b, size, size, 2)
    grid[..., 0] = points[:, 0, None, :]  # the x of each column
    grid[..., 1] = points[:, 1, :, None]  # the y of each row
    return F.grid_sample(exact, grid, mode="nearest", padding_mode="zeros", align_corners=False).to(images.dtype)


def middle(crops: Tensor, size: int) -> Tensor:
    """The ``size`` × ``size`` pixels in the middle of wider crops, both sides even: what ``crop`` would cut there.

    Shape: b c wide wide -> b c size size.
    """
    edge = (crops.shape[3] - size) // 2
    return crops[:, :, edge : edge + size, edge : edge + size]


def retina(images: Tensor, location: Tensor, size: int, scales: int) -> Tensor:
    """See sharply in the middle and coarsely around it: crops twice as wide each time, all shrunk to one size.

        ρ(x, l) = [crop_g, shrink₂(crop_2g), shrink₄(crop_4g), …]

    The cost depends on ``size`` and ``scales`` and not on how large the image is. The whole batch is cut at
    once, and the coarse crops lie in the widest. Crops are shrunk by averaging (the paper says "resized"). A place
    between pixels takes the nearest ones; the best-known port cuts off the fraction, which moves the crop.

    Args:
        images: the batch.
        location: where to look, (x, y) in [−1, 1], (0, 0) in the middle of the image and (−1, −1) top left.
        size: side of every patch in the result (the paper's g), even or odd. With an even image side and an
            odd size no whole pixel lies in the middle; the patch then lies up to half a pixel beside it.
        scales: number of patches k.

    Shape: images: b c h w, location: b 2 -> b (k c) size size, the sharpest patch first. h and w may differ.

    Raises:
        ValueError: if ``size`` or ``scales`` is below 1, or the shapes do not fit.

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> retina(image, torch.zeros(1, 2), size=2, scales=2)[0].tolist()
    [[[5.0, 6.0], [9.0, 10.0]], [[2.5, 4.5], [10.5, 12.5]]]
    """
    if size < 1 or scales < 1:
        raise ValueError(f"size={size} and scales={scales} leave nothing to see; use 1 or more of each")
    check_features(images, None)
    check_places(location, (images.shape[0], 2))
    sharp = crop(images, location, size)
    if scales == 1:
        return sharp
    widest = crop(images, location, size * 2 ** (scales - 1))
    coarse = [F.avg_pool2d(middle(widest, size * 2**i), 2**i) for i in range(1, scales)]
    return torch.cat([sharp, *coarse], dim=1)  # b c size size each -> b (k c) size size


def check_places(places: Tensor, wanted: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless the places have the wanted shape and are no pixels.

    A place that was drawn may lie somewhat beyond the border of the image, at ±1; none lies at 27.
    """
    if places.shape != wanted or not places.is_floating_point():
        raise ValueError(f"places have shape {tuple(places.shape)} and dtype {places.dtype}; give floats of {wanted}")
    near = places.abs() <= FARTHEST  # NaN is not
    if values_are_known(places) and not near.all():
        worst = places[~near][0].item()
        raise ValueError(
            f"a place has the coordinate {worst:.4g}; give (x, y) in [−1, 1], for pixels 2 * (pixel + 0.5) / side - 1"
        )


class GlimpseNetwork(nn.Module):
    """Say in one vector what was seen and where.

        RAM:   g = ReLU(W ReLU(W ρ) + W ReLU(W l))        DRAM:   g = G_image(ρ) ⊙ G_loc(l)

    ρ is the retina's patch and l the place. RAM flattens the patch; DRAM's G_image has three convolutions and a
    fully connected layer. Every layer has a bias; DRAM's paths both end in a ReLU.

    Args:
        channels: channels of the image.
        size, scales: of the retina.
        combine: "sum" (RAM) or "product" (DRAM).
        hidden: units of each path in RAM, channels of the convolutions in DRAM.
        output_dim: length of g.

    Shape: images: b c h w, location: b 2 -> b output_dim.

    Learned: the two paths, torch's default start.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        scales: int = 1,
        combine: str = "sum",
        hidden: int = 128,
        output_dim: int = 256,
    ):
        super().__init__()
        if combine not in ("sum", "product"):
            raise ValueError(f'combine="{combine}" is unknown; use "sum" (RAM) or "product" (DRAM)')
        self.size, self.scales, self.combine = size, scales, combine
        if combine == "sum":
            pixels = scales * channels * size**2
            self.image = nn.Sequential(
                nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, output_dim)
            )
            self.location = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, output_dim))
        else:
            self.image = convolutions(scales * channels, size, hidden, output_dim)
            self.location = nn.Sequential(nn.Linear(2, output_dim), nn.ReLU())

    def forward(self, images: Tensor, location: Tensor) -> Tensor:
        what = self.image(retina(images, location, self.size, self.scales))  # b output_dim
        where = self.location(location)  # b output_dim
        return what * where if self.combine == "product" else (what + where).relu()


def convolutions(channels: int, size: int, width: int, output_dim: int) -> nn.Sequential:
    """DRAM's image path: three 3×3 convolutions without pooling and a fully connected layer.

    Shape: b channels size size -> b output_dim.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * size**2, output_dim),
        nn.ReLU(),
    )


class OneLayerCore(nn.Module):
    """RAM's memory: one state says what the picture is and, behind a stopped gradient, where to look next.

    h_t = ReLU(W_h h_{t−1} + W_g g_t)        h_0 = 0
    """

    def __init__(self, glimpse_dim: int, hidden_dim: int, *, gated: bool = False):
        super().__init__()
        if gated:
            self.cell = nn.GRUCell(glimpse_dim, hidden_dim)
        else:
            self.cell = nn.RNNCell(glimpse_dim, hidden_dim, nonlinearity="relu")

    def start(self, images: Tensor) -> Tensor:
        return images.new_zeros(images.shape[0], self.cell.hidden_size)

    def forward(self, glimpse: Tensor, state: Tensor) -> Tensor:
        return self.cell(glimpse, state)

    def what(self, state: Tensor) -> Tensor:
        return state

    def where(self, state: Tensor) -> Tensor:
        return state.detach()  # the classifier's loss alone shapes the memory


class TwoLayerCore(nn.Module):
    """DRAM's memory: the lower layer says what, the upper one where, and only the upper one sees the context.

        r¹_t = LSTM(g_t, r¹_{t−1})    r²_t = LSTM(r¹_t, r²_{t−1})    r¹_0 = 0    r²_0 = C(coarse image)

    The classifier never sees the context: what it knows, it knows from glimpses.
    """

    def __init__(self, channels: int, size: int, glimpse_dim: int, hidden_dim: int, width: int):
        super().__init__()
        self.size = size
        self.lower = nn.LSTMCell(glimpse_dim, hidden_dim)
        self.upper = nn.LSTMCell(hidden_dim, hidden_dim)
        self.context = convolutions(channels, size, width, hidden_dim)

    def start(self, images: Tensor) -> tuple:
        coarse = F.adaptive_avg_pool2d(images, self.size)  # b c size size
        zero = images.new_zeros(images.shape[0], self.lower.hidden_size)
        return (zero, zero), (self.context(coarse), zero)

    def forward(self, glimpse: Tensor, state: tuple) -> tuple:
        lower, upper = state
        lower = self.lower(glimpse, lower)
        return lower, self.upper(lower[0].detach(), upper)  # steering must not reshape what is seen

    def what(self, state: tuple) -> Tensor:
        return state[0][0]

    def where(self, state: tuple) -> Tensor:
        return state[1][0]


def gaussian_log_prob(location: Tensor, mean: Tensor, std: float) -> Tensor:
    """How likely the policy was to choose this place: log N(l; μ, σ²I), summed over x and y.

    Its derivative by μ is (l − μ)/σ². Give it the place as it was drawn, before any clipping: the clipped
    place is another random variable, with another density.

    Shape: location, mean: b 2 -> b.
    """
    score = (location - mean) / std
    return (-score.square() / 2 - math.log(std) - math.log(2 * math.pi) / 2).sum(-1)


class Episode(NamedTuple):
    """One look at each image. Entry t belongs to glimpse t."""

    locations: Tensor  # b t 2: where the retina looked, (x, y) in [−1, 1]
    log_prob: Tensor  # b t: log π of having chosen that place; 0 for a first glimpse that nobody chose
    baseline: Tensor  # b t: the reward expected before looking there
    logits: Tensor  # b t classes: the answer after having looked there


class RecurrentAttention(nn.Module):
    """Look at a few small places of the image, one after the other, and let each place say where to look next.

        g_t = f_g(x, l_t)    h_t = f_h(h_{t−1}, g_t)    l_{t+1} ~ N(f_l(h_t), σ²I)    y = softmax(f_a(h_T))

    f_g is ``glimpse``, f_h is ``core``, f_l is ``locate`` and f_a is ``classify``; ``expect`` predicts the
    reward (the paper's baseline b_t). The image enters only through the retina. Choosing a place has no
    gradient, so two kinds of loss train the parts (``hybrid_loss`` returns both, and the baseline's):

        cross-entropy -> glimpse, core, classify        REINFORCE -> locate (DRAM: upper layer and context too)

    In training mode places are drawn, in eval mode each is the mean. Locations may also be given, to compare
    with looking at random or always at the middle. The paper ends the location head in one linear layer; the
    best-known port adds a hidden layer and a tanh, which we leave out. The port gives REINFORCE a term for a
    place chosen after the last glimpse; here no such place is drawn.

    Args:
        channels: channels of the image.
        classes: number of classes.
        glimpses: how many places T are looked at.
        size, scales: of the retina.
        core: "ram" (one ReLU layer), "gru" (the same with gates, which learns within a minute), or "dram"
            (two LSTM layers, a context network, glimpses as what ⊙ where).
        hidden_dim: size of the core's state.
        glimpse_dim: hidden size of the glimpse network, see there.
        std: standard deviation σ of the places; the gradient's noise grows as 1/σ.
        first: where the first glimpse falls: "random" as in RAM's paper (in eval mode too), "centre", or
            "chosen" by ``locate`` from the core's start, as in DRAM. None: "chosen" for DRAM, else "centre".

    Shape:
        images: b c h w -> b classes, for any h and w; ``attention(images)``: locations b t 2, (x, y) in [−1, 1];
        ``episode(images)``: an ``Episode``. ``locations``, where given: b t 2.

    Learned: all parts, torch's default start; one glimpse costs the same on every image size.

    ``DistributedDataParallel`` and autocast follow ``forward`` alone, and the policy is trained outside it: wrap a
    module whose ``forward`` returns ``sum(hybrid_loss(model.episode(images), labels))``, and call that one under
    ``torch.autocast``.

    Raises:
        ValueError: if core, first or std is unknown or impossible, or the input does not fit.

    >>> import torch
    >>> model = RecurrentAttention(1, 10, glimpses=3).eval()
    >>> model.attention(torch.zeros(2, 1, 28, 28))[:, 0].tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    >>> sum(p.numel() for p in model.parameters())
    209677
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        glimpses: int = 6,
        size: int = 8,
        scales: int = 1,
        core: str = "ram",
        hidden_dim: int = 256,
        glimpse_dim: int = 128,
        std: float = 0.15,
        first: str | None = None,
    ):
        super().__init__()
        if core not in ("ram", "gru", "dram"):
            raise ValueError(f'core="{core}" is unknown; use "ram", "gru" or "dram"')
        if first not in (None, "random", "centre", "chosen"):
            raise ValueError(f'first="{first}" is unknown; use "random", "centre" or "chosen"')
        if std <= 0 or glimpses < 1:
            raise ValueError(f"std={std} and glimpses={glimpses} allow no choice; use std > 0 and glimpses >= 1")
        self.channels, self.glimpses, self.std = channels, glimpses, std
        self.first = first or ("chosen" if core == "dram" else "centre")
        combine = "product" if core == "dram" else "sum"
        self.glimpse = GlimpseNetwork(
            channels, size, scales=scales, combine=combine, hidden=glimpse_dim, output_dim=hidden_dim
        )
        if core == "dram":
            self.core = TwoLayerCore(channels, size, hidden_dim, hidden_dim, glimpse_dim)
        else:
            self.core = OneLayerCore(hidden_dim, hidden_dim, gated=core == "gru")
        self.locate = nn.Linear(hidden_dim, 2)
        self.expect = nn.Linear(hidden_dim, 1)
        self.classify = nn.Linear(hidden_dim, classes)

    def choose(self, mean: Tensor, t: int, generator: Generator | None) -> Tensor:
        """The place of glimpse t, cut off from the gradient. Shape: mean: b 2 -> b 2."""
        if t == 0 and self.first == "centre":
            return torch.zeros_like(mean)
        if t == 0 and self.first == "random":
            return 2 * torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device) - 1
        if not self.training:
            return mean.detach()
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return (mean + self.std * noise).detach()

    def episode(
        self, images: Tensor, locations: Tensor | None = None, *, generator: Generator | None = None
    ) -> Episode:
        check_features(images, self.channels)
        if locations is not None:
            check_places(locations, (images.shape[0], self.glimpses, 2))
        state, steps = self.core.start(images), []
        for t in range(self.glimpses):
            where = self.core.where(state)  # b hidden
            mean = self.locate(where)  # b 2
            place = self.choose(mean, t, generator) if locations is None else locations[:, t]
            log_prob = gaussian_log_prob(place, mean, self.std)
            if t == 0 and self.first != "chosen":
                log_prob = torch.zeros_like(log_prob)
            place = place.clamp(-1, 1)  # for the retina only: log π is that of the place as drawn
            baseline = self.expect(where.detach())[:, 0]  # b
            state = self.core(self.glimpse(images, place), state)
            steps.append((place, log_prob, baseline, self.classify(self.core.what(state))))
        return Episode(*(torch.stack(field, dim=1) for field in zip(*steps, strict=True)))  # b t …

    def attention(self, images: Tensor, locations: Tensor | None = None) -> Tensor:
        return self.episode(images, locations).locations

    def forward(self, images: Tensor, locations: Tensor | None = None) -> Tensor:
        return self.episode(images, locations).logits[:, -1]


class HybridLoss(NamedTuple):
    """Three losses that train three parts; ``sum(loss)`` trains all at once."""

    classification: Tensor
    baseline: Tensor
    policy: Tensor


def hybrid_loss(episode: Episode, labels: Tensor, reward: Tensor | None = None) -> HybridLoss:
    """Learn what from the label, where from the reward, and how much reward to expect.

        −log p(y)   +   mean_t (R − b_t)²   −   Σ_t log π(l_t) (R − b_t)        each averaged over the batch

    R is 1 if the last answer is right, else 0, unless another reward is given. In the last term R − b_t is a
    number without gradient: the baseline must not be bent to flatter the policy. The paper weighs the three
    terms equally; the best-known port multiplies the last by 0.01.

    Shape: labels: b; reward: b, or b t where each choice earns its own (entry t pays for ``locations[:, t]``).

    >>> quiet = Episode(torch.zeros(1, 2, 2), torch.tensor([[0.0, -2.0]]), torch.zeros(1, 2), torch.zeros(1, 2, 10))
    >>> [round(float(term), 2) for term in hybrid_loss(quiet, torch.tensor([0]), reward=torch.ones(1))]
    [2.3, 1.0, 2.0]
    """
    last = episode.logits[:, -1]  # b classes
    if reward is None:
        reward = (last.argmax(-1) == labels).to(last.dtype)
    reward = reward[:, None] if reward.ndim == 1 else reward  # b 1 or b t
    advantage = reward.detach() - episode.baseline  # b t
    return HybridLoss(
        classification=F.cross_entropy(last, labels),
        baseline=advantage.square().mean(),
        policy=-(episode.log_prob * advantage.detach()).sum(1).mean(),
    )
