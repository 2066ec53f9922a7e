"""Spatial Transformer Networks (STN).

Max Jaderberg, Karen Simonyan, Andrew Zisserman, Koray Kavukcuoglu, NIPS 2015, arXiv 1506.02025, section 3.
Lesson: notebooks/07_spatial_transformer.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features


def pixel_centres(n: int, *, align_corners: bool = False, like: Tensor) -> Tensor:
    """Where the n pixels of one axis lie between −1 and 1, in the dtype and on the device of ``like``.

    ``align_corners=True``: −1 and 1 are the *middles* of the outermost pixels. ``align_corners=False``: they
    are the *outer edges* of these pixels.

    >>> pixel_centres(4, align_corners=False, like=torch.zeros(0)).tolist()
    [-0.75, -0.25, 0.25, 0.75]
    >>> pixel_centres(3, align_corners=True, like=torch.zeros(0)).tolist()
    [-1.0, 0.0, 1.0]
    """
    p = torch.arange(n, dtype=like.dtype, device=like.device)
    if align_corners and n > 1:
        return 2 * p / (n - 1) - 1
    return (2 * p + 1) / n - 1


def affine_grid(theta: Tensor, height: int, width: int, *, align_corners: bool = False) -> Tensor:
    """For each pixel of the *output*, the point of the *input* to read: (x_s, y_s) = A_θ (x_t, y_t, 1).

    The map runs from target to source, so a translation moves the window: with t_x > 0 the content moves left.
    A scale below 1 zooms in. Equal to ``F.affine_grid``.

    Shape: theta: b 2 3, first row x -> b height width 2, each point as (x, y) in [−1, 1].
    """
    x = pixel_centres(width, align_corners=align_corners, like=theta).expand(height, width)
    y = pixel_centres(height, align_corners=align_corners, like=theta)[:, None].expand(height, width)
    target = torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1)  # (height width) 3
    return (target @ theta.mT).unflatten(1, (height, width))  # b (height width) 2 -> b height width 2


def bilinear_sample(images: Tensor, grid: Tensor, *, align_corners: bool = False) -> Tensor:
    """Read the images between their pixels, each pixel weighted by how near it is; zero outside.

        V_i = Σ_n Σ_m U_nm max(0, 1 − |x_i − m|) max(0, 1 − |y_i − n|)

    The paper's equation 5 as it stands: every output asks every pixel, and at most four have a weight.
    ``F.grid_sample``, equal to it, visits only these four.

    Shape: images: b c h w, grid: b p q 2 as (x, y) in [−1, 1] -> b c p q.
    """
    h, w = images.shape[-2:]
    x, y = grid.unbind(-1)  # each b p q
    if align_corners:
        x, y = (x + 1) * (w - 1) / 2, (y + 1) * (h - 1) / 2  # in pixels
    else:
        x, y = ((x + 1) * w - 1) / 2, ((y + 1) * h - 1) / 2
    m, n = torch.arange(w).to(x), torch.arange(h).to(y)
    across = (1 - (x[..., None] - m).abs()).clamp(min=0)  # b p q w
    down = (1 - (y[..., None] - n).abs()).clamp(min=0)  # b p q h
    return torch.einsum("bchw,bpqh,bpqw->bcpq", images, down, across)


def warp(
    images: Tensor,
    theta: Tensor,
    size: tuple[int, int] | None = None,
    *,
    align_corners: bool = False,
    padding_mode: str = "zeros",
) -> Tensor:
    """Resample each image under its own affine map: grid, then sampler, with one and the same ``align_corners``.

    Shape: images: b c h w, theta: b 2 3 -> b c height width, of ``size`` or of the images' own.
    """
    height, width = size or images.shape[-2:]
    exact = images.to(torch.promote_types(images.dtype, torch.float32))  # half precision blurs coordinates
    grid = affine_grid(theta.to(exact), height, width, align_corners=align_corners)
    return F.grid_sample(exact, grid, padding_mode=padding_mode, align_corners=align_corners).to(images.dtype)


IDENTITY = {6: (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 3: (1.0, 0.0, 0.0)}  # by the number of outputs


class SpatialTransformer(nn.Module):
    """Predict one affine map per image, and hand on the image as seen through it.

        θ = f_loc(U)        (x_s, y_s)ᵀ = A_θ (x_t, y_t, 1)ᵀ        V(x_t, y_t) = bilinear(U, x_s, y_s)

    f_loc is ``localisation``; the loss of what follows trains it through the sampler. Its last layer is set so
    that the module starts as the identity; a random start would show a random part of the image first. θ is a
    free affine map (six numbers), or the paper's attention (equation 2) with three: scale and translation,
    A = [[s, 0, t_x], [0, s, t_y]]. Projective and thin-plate maps are left out.

    Coordinates run from −1 to 1 on both axes, so on an image that is not square a rotation in θ also shears.

    Args:
        localisation: any module that maps b c h w to b 6 (affine) or b 3 (attention) and whose last layer is an
            ``nn.Linear``; the weight of that becomes 0 and its bias the identity.
        size: height and width of the output; None keeps the input's.
        align_corners: whether −1 and 1 mean the middles (True) or the outer edges (False) of the border pixels.
            The same value serves grid and sampler. Code older than torch 1.3 means True.
        padding_mode: what is read outside: "zeros", "border" or "reflection". With "zeros" on a background
            that is not zero, a frame appears, and with it a reason to zoom.

    Shape: x: b c h w -> b c height width; ``attention(x)``: θ as b 2 3, the first row giving x.

    Learned: the localisation network.

    Raises:
        ValueError: if the localisation does not end in a linear layer of 6 or 3 outputs, or the input does not fit.

    >>> net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 6))
    >>> SpatialTransformer(net).attention(torch.ones(1, 1, 5, 7)).tolist()
    [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]
    """

    def __init__(
        self,
        localisation: nn.Module,
        *,
        size: tuple[int, int] | None = None,
        align_corners: bool = False,
        padding_mode: str = "zeros",
    ):
        super().__init__()
        *_, last = localisation.modules()
        if not isinstance(last, nn.Linear) or last.out_features not in IDENTITY or last.bias is None:
            raise ValueError(f"localisation ends in {last}; end it in nn.Linear(…, 6) (affine) or 3 (scale, x, y)")
        if nn.parameter.is_lazy(last.weight):
            raise ValueError(f"localisation ends in {last}, which has no weights yet; run it once on an image before")
        if size is not None and min(size) < 1:
            raise ValueError(f"size={size} leaves no pixel; use (height, width) of 1 or more")
        self.localisation, self.size = localisation, size
        self.align_corners, self.padding_mode = align_corners, padding_mode
        nn.init.zeros_(last.weight)
        last.bias.data.copy_(torch.tensor(IDENTITY[last.out_features]))

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, None)
        theta = self.localisation(x)  # b 6 or b 3
        if theta.ndim != 2 or theta.shape[1] not in IDENTITY:
            raise ValueError(
                f"localisation gave {tuple(theta.shape)}; it must give b 6 (affine) or b 3 (scale, x, y)"
            )
        if theta.shape[1] == 6:
            return theta.unflatten(1, (2, 3))  # b 6 -> b 2 3
        s, t = theta[:, :1, None], theta[:, 1:, None]  # b 1 1, b 2 1
        return torch.cat([s * torch.eye(2).to(theta), t], dim=2)  # b 2 3

    def forward(self, x: Tensor) -> Tensor:
        theta = self.attention(x)
        return warp(x, theta, self.size, align_corners=self.align_corners, padding_mode=self.padding_mode)
