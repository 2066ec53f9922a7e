"""Look Closer to See Better: Recurrent Attention Convolutional Neural Network (RA-CNN).

Jianlong Fu, Heliang Zheng, Tao Mei, CVPR 2017, pp. 4438–4446, no arXiv version; section 3.
Lesson: notebooks/18_zoom_and_pairs.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features

Size = int | tuple[int, int]


def pixel_centres(n: int, like: Tensor) -> Tensor:
    """The middles of n pixels between the edges −1 and 1. Shape: n."""
    return (2 * torch.arange(n, dtype=like.dtype, device=like.device) + 1) / n - 1


def box_mask(region: Tensor, height: int, width: int, *, sharpness: float = 10.0) -> Tensor:
    """A box with soft edges, 1 inside the region and 0 outside, which has a gradient by where the box lies.

        M(x, y) = [h(x − x_tl) − h(x − x_br)] · [h(y − y_tl) − h(y − y_br)]        h(z) = 1/(1 + e^{−kz})

    z is in pixels and k is ``sharpness``. The gradient lives at the edges alone: a small k reaches further.

    Shape: region: b 3 as (x, y, half side) with the image from −1 to 1 -> b 1 height width.
    """

    def edges(centre: Tensor, half: Tensor, n: int) -> Tensor:
        pixels = pixel_centres(n, region) * n / 2  # n
        low, high = (centre - half)[:, None] * n / 2, (centre + half)[:, None] * n / 2  # b 1
        return (sharpness * (pixels - low)).sigmoid() - (sharpness * (pixels - high)).sigmoid()  # b n

    x, y, half = region.unbind(1)
    return (edges(y, half, height)[:, :, None] * edges(x, half, width)[:, None, :])[:, None]  # b 1 h w


def zoom(images: Tensor, region: Tensor, size: Size, *, sharpness: float | None = 10.0) -> Tensor:
    """Cut the region out and enlarge it: mask with the soft box, then sample ``size`` points inside.

        X_att = X ⊙ M(t_x, t_y, t_l)        X_amp = bilinear samples of X_att on [t_x ± t_l] × [t_y ± t_l]

    Both steps have their true gradient by ``region``; the paper's gradient is that of the mask alone, and a port
    of it replaces this gradient by fixed signs. ``sharpness=None`` leaves the mask out.

    Args:
        images: the batch.
        region: centre and *half* side, with the image from −1 to 1 on both axes: (0, 0, 1) is all of it. On an
            image that is not square the region has the image's proportions.
        size: height and width of the result, one number for a square.
        sharpness: the k of ``box_mask``, per pixel, or None.

    Shape: images: b c h w, region: b 3 -> b c size size.

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> zoom(image, torch.tensor([[0.5, -0.5, 0.5]]), 2, sharpness=None)[0, 0].tolist()
    [[2.0, 3.0], [6.0, 7.0]]
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"size={size} leaves no pixel; use 1 or more")
    check_features(images, None)
    if region.shape != (images.shape[0], 3):
        raise ValueError(
            f"region has shape {tuple(region.shape)}; give (x, y, half side) an image: {images.shape[0]} 3"
        )
    exact = images.to(torch.promote_types(images.dtype, torch.float32))  # half precision blurs coordinates
    region = region.to(exact)
    if sharpness is not None:
        exact = exact * box_mask(region, *images.shape[-2:], sharpness=sharpness)
    x, y, half = region[:, :, None].unbind(1)  # each b 1
    columns = x + half * pixel_centres(width, region)  # b width
    rows = y + half * pixel_centres(height, region)  # b height
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=-1)  # b height width 2
    return F.grid_sample(exact, grid, padding_mode="border", align_corners=False).to(images.dtype)


def inside(region: Tensor) -> Tensor:
    """The region moved so that none of it lies beyond the image. Shape: b 3 -> b 3."""
    centre, half = region[:, :2], region[:, 2:]
    return torch.cat([torch.minimum(torch.maximum(centre, half - 1), 1 - half), half], dim=1)


def strongest_region(features: Tensor) -> Tensor:
    """The square of half the image's side at the strongest response: what the proposal is first taught to propose.

    Without it a box may start out of reach of what it should find, where the gradient is zero.

    Shape: features: b c h w -> b 3 as (x, y, half side).
    """
    h, w = features.shape[-2:]
    place = features.sum(1).flatten(1).argmax(1)  # b c h w -> b
    x, y = pixel_centres(w, features)[place % w], pixel_centres(h, features)[place // w]
    return inside(torch.stack([x, y, torch.full_like(x, 0.5)], dim=1))


def rank_loss(coarse: Tensor, fine: Tensor, labels: Tensor, *, margin: float = 0.05) -> Tensor:
    """Ask the finer scale to be surer of the truth than the coarser one: max(0, p_s − p_{s+1} + margin), averaged.

    p is the *probability* of the true class, so the loss takes logits and makes probabilities of them itself. It
    trains the proposal, with the classifiers held fixed: they could lower it by doing worse at the coarse scale.

    Shape: coarse, fine: b classes (logits), labels: b -> a number.
    """
    p, finer = (logits.softmax(-1).gather(1, labels[:, None]) for logits in (coarse, fine))
    return (p - finer + margin).clamp(min=0).mean()


class AttentionProposal(nn.Module):
    """Two layers look at the features and propose one square of the image; zoom into it.

        [t_x, t_y, t_l] = σ(W₂ tanh(W₁ features))        X_amp = zoom(X, t)

    The paper names the proposal network g and says "two fully connected layers"; pooling to 14 × 14, tanh and σ are
    those of the best-known port. There t is a fraction of the side; here the centre runs from −1 to 1, and a half
    side of 1 is the whole image. A square that would reach beyond the image is moved inside.

    Args:
        channels: channels of the features.
        size: height and width of the zoomed image.
        pool: side to which the features are (max-)pooled first.
        hidden: hidden units.
        sharpness: of the box, see ``zoom``.

    Shape:
        features: b channels h w, images: b c H W -> b c size size;
        ``attention(features)``: region b 3 as (x, y, half side).

    Learned: ``W₁``, ``W₂`` with biases, torch's default start: squares of about half the side, near the middle.

    Raises:
        ValueError: if the inputs do not fit.

    >>> proposal = AttentionProposal(4, size=8, pool=2, hidden=5)
    >>> proposal(torch.ones(1, 4, 6, 6), torch.ones(1, 3, 48, 48)).shape
    torch.Size([1, 3, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        *,
        size: Size = 224,
        pool: int = 14,
        hidden: int = 1024,
        sharpness: float | None = 10.0,
    ):
        super().__init__()
        self.channels, self.size, self.pool, self.sharpness = channels, size, pool, sharpness
        self.propose = nn.Sequential(
            nn.Linear(channels * pool**2, hidden), nn.Tanh(), nn.Linear(hidden, 3), nn.Sigmoid()
        )

    def attention(self, features: Tensor, images: Tensor | None = None) -> Tensor:
        """The region; the images, which ``forward`` zooms into, have no say in it."""
        check_features(features, self.channels)
        pooled = F.adaptive_max_pool2d(features, self.pool).flatten(1)  # b channels h w -> b (channels pool²)
        t = self.propose(pooled)  # b 3, in (0, 1)
        return inside(torch.cat([2 * t[:, :2] - 1, t[:, 2:]], dim=1))

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        return zoom(images, self.attention(features), self.size, sharpness=self.sharpness)
