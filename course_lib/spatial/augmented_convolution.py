"""Attention Augmented Convolutional Networks.

Irwan Bello, Barret Zoph, Ashish Vaswani, Jonathon Shlens, Quoc V. Le, ICCV 2019, arXiv 1904.09925, section 3.
Lesson: notebooks/13_local_attention.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features


class AugmentedConv2d(nn.Module):
    """Let a few of a convolution's output channels come from attention over the whole image.

        AAConv(X) = [Conv(X); MHA(X)]    MHA = W_O [O_1; …; O_s]    O_h = softmax(L / √d_k^h) V
        L_ij = q_i · (k_j + r^W_{j_x − i_x} + r^H_{j_y − i_y})

    q, k, v are ``query``, ``key`` and ``value``; the vectors r of the steps from query to key are the tables ``rows``
    (r^H) and ``columns`` (r^W), shared by the heads. W_O is ``project``. The paper makes q, k and v with one 1×1
    convolution; here they are three. ``forward`` does not add r to any map: it appends q · r^H and q · r^W to the
    query and the place of its row and column, as ones among zeros, to each key, so that the same product comes out.

    Args:
        in_channels, out_channels, kernel_size: of the whole layer, as in ``nn.Conv2d``; the window is odd.
        num_heads: number of heads s.
        key_ratio: channels d_k of query and key, as a part of out_channels (the paper's κ).
        value_ratio: channels d_v of the attention's output, as a part of out_channels (υ); 1 leaves no convolution.
            Both are rounded to a multiple of num_heads, at least one channel a head.
        size: largest side, or (height, width), of the maps to come: it fixes the tables.

    Shape:
        x: b c h w -> b out_channels h w; the map ``attention(x)``: b s n n, every row (query) sums to 1.

    Learned: convolutions with bias, torch's start; ``rows`` and ``columns`` (2H−1 and 2W−1 times d_k/s), normal with
    deviation (d_k/s)^(−1/2).

    Raises:
        ValueError: if the window has no centre, a ratio fits no channels, or the input does not fit.

    >>> import torch
    >>> layer = AugmentedConv2d(6, 16, num_heads=2, key_ratio=0.5, value_ratio=0.25, size=7)
    >>> layer(torch.zeros(2, 6, 5, 7)).shape, layer.attention(torch.zeros(2, 6, 5, 7)).shape
    (torch.Size([2, 16, 5, 7]), torch.Size([2, 2, 35, 35]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        num_heads: int = 8,
        key_ratio: float = 0.2,
        value_ratio: float = 0.1,
        size: int | tuple[int, int] = 32,
    ):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} has no centre; use an odd number")
        if num_heads < 1 or key_ratio <= 0 or value_ratio <= 0:
            raise ValueError(
                f"num_heads={num_heads}, key_ratio={key_ratio}, value_ratio={value_ratio} leave no attention; "
                "use positive numbers, or nn.Conv2d"
            )
        keys, values = (max(1, round(r * out_channels / num_heads)) * num_heads for r in (key_ratio, value_ratio))
        if values > out_channels:
            raise ValueError(
                f"out_channels={out_channels} cannot hold the {values} channels of num_heads={num_heads} at "
                f"value_ratio={value_ratio}; use value_ratio <= 1 and num_heads <= {out_channels}"
            )
        self.in_channels, self.num_heads = in_channels, num_heads
        self.size = (size, size) if isinstance(size, int) else size
        self.conv = None
        if values < out_channels:
            self.conv = nn.Conv2d(in_channels, out_channels - values, kernel_size, padding=kernel_size // 2)
        self.query = nn.Conv2d(in_channels, keys, 1)
        self.key = nn.Conv2d(in_channels, keys, 1)
        self.value = nn.Conv2d(in_channels, values, 1)
        self.project = nn.Conv2d(values, values, 1)
        width = keys // num_heads
        self.rows = nn.Parameter(torch.randn(2 * self.size[0] - 1, width) * width**-0.5)
        self.columns = nn.Parameter(torch.randn(2 * self.size[1] - 1, width) * width**-0.5)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.num_heads, -1)).flatten(3).transpose(2, 3)  # b (s d) h w -> b s n d

    def scaled_query(self, x: Tensor) -> Tensor:
        """q / √d_k^h: b c h w -> b s n d."""
        query = self.split(self.query(x))
        return query * query.shape[3] ** -0.5

    def relative(self, query: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """q_i · r^H for each row and q_i · r^W for each column that a key may have: b s n h and b s n w."""
        grid = query.unflatten(2, (height, width))  # b s n d -> b s y x d
        rows, columns = steps(self.rows, height), steps(self.columns, width)
        row = torch.einsum("bsyxd,yhd->bsyxh", grid, rows).flatten(2, 3)
        column = torch.einsum("bsyxd,xwd->bsyxw", grid, columns).flatten(2, 3)
        return row, column

    def attention(self, x: Tensor) -> Tensor:
        self.check(x)
        query, key = self.scaled_query(x), self.split(self.key(x))
        row, column = self.relative(query, *x.shape[2:])
        content = query @ key.transpose(2, 3)  # b s n d -> b s n n
        scores = content.unflatten(3, x.shape[2:]) + row.unsqueeze(4) + column.unsqueeze(3)  # b s n h w
        return scores.flatten(3).softmax(dim=3)

    def attend(self, x: Tensor) -> Tensor:
        """What ``attention`` gives when applied to the values, without building it: b c h w -> b s n d."""
        query, key, value = self.scaled_query(x), self.split(self.key(x)), self.split(self.value(x))
        query = torch.cat([query, *self.relative(query, *x.shape[2:])], dim=3)  # b s n d+h+w
        places = one_hot_places(*x.shape[2:]).to(key).expand(*key.shape[:2], -1, -1)
        key = torch.cat([key, places], dim=3)  # b s n d+h+w
        wide = max(query.shape[3], value.shape[3])  # the fused kernel wants equal widths; zeros add nothing
        query, key, padded = (F.pad(part, (0, wide - part.shape[3])) for part in (query, key, value))
        return F.scaled_dot_product_attention(query, key, padded, scale=1.0)[..., : value.shape[3]]

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        heard = self.attend(x).transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:])  # b s n d -> b (s d) h w
        heard = self.project(heard)
        return heard if self.conv is None else torch.cat([self.conv(x), heard], dim=1)

    def check(self, x: Tensor) -> None:
        check_features(x, self.in_channels)
        if x.shape[2] > self.size[0] or x.shape[3] > self.size[1]:
            raise ValueError(
                f"input is {x.shape[2]}×{x.shape[3]}, the tables reach {self.size[0]}×{self.size[1]}; "
                f"build the layer with size=({x.shape[2]}, {x.shape[3]})"
            )


def steps(table: Tensor, length: int) -> Tensor:
    """The vector of the step from each place to each other one on an axis: 2S−1 d -> query key d."""
    place = torch.arange(length, device=table.device)
    return table[place - place[:, None] + len(table) // 2]


def one_hot_places(height: int, width: int) -> Tensor:
    """Ones at the row and at the column of each position: n h+w."""
    rows, columns = torch.eye(height).repeat_interleave(width, dim=0), torch.eye(width).repeat(height, 1)
    return torch.cat([rows, columns], dim=1)
