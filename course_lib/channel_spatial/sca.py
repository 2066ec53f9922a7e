"""SCA-CNN: Spatial and Channel-wise Attention in Convolutional Networks for Image Captioning.

Long Chen, Hanwang Zhang, Jun Xiao, Liqiang Nie, Jian Shao, Wei Liu, Tat-Seng Chua, CVPR 2017, arXiv 1611.05594,
section 3.
Lesson: notebooks/15_channel_and_spatial.ipynb
"""

from torch import Tensor, nn

from course_lib.checks import check_features


class SCA(nn.Module):
    """The sentence so far chooses the channels that name its next word, then the places where they fire.

        channel:  b = tanh(v ⊗ W_c + b_c + W_hc h)    β = softmax_c(b u_c)      v = mean_n V
        spatial:  a = tanh(Vᵀ W_s + b_s + W_hs h)     α = softmax_n(a u_s)
        C-S:  V' = β · V,   y = α(V') · V'        S-C: the same in the other order

    V is x with its N = h·w positions in one axis, h the state of the caption decoder. ``W_c`` lifts every channel's
    mean by the same vector (``lift_channel``), ``W_s`` is ``lift_position``, ``W_hc`` and ``W_hs`` are
    ``ask_channel`` and ``ask_position``, the u are ``score_channel`` and ``score_position``. Weights that sum to 1
    over hundreds of channels shrink the features by as much, and the second gate is computed from what the first one
    left. So the released code multiplies β by C and α by N, which the paper does not say: ``released=True``. Left
    out: the scalar bias after u, which softmax ignores (the code's second layer adds it to u, a slip).

    Args:
        channels: number of channels c.
        hidden_dim: length d of the decoder's state h.
        attention_dim: length k of the space in which image and sentence meet.
        order: "channel_first" (C-S, the better one in the paper) or "spatial_first" (S-C).
        released: the released code, which multiplies β by C and α by N.

    Shape:
        x: b c h w and hidden: b d -> b c h w; ``attention(x, hidden)``: β: b c, sums to 1 over c, and α: b n, sums
        to 1 over n.

    Learned: the six layers, torch's default start; zero scores give equal weights, and with ``released`` the
    output is then the input.

    Raises:
        ValueError: if ``order`` is unknown or an input does not fit.

    >>> import torch
    >>> channel, spatial = SCA(6, 4, attention_dim=3).attention(torch.ones(1, 6, 5, 2), torch.ones(1, 4))
    >>> channel.shape, [round(weight, 3) for weight in spatial[0].tolist()[:3]]
    (torch.Size([1, 6]), [0.1, 0.1, 0.1])
    """

    def __init__(
        self,
        channels: int,
        hidden_dim: int,
        *,
        attention_dim: int = 512,
        order: str = "channel_first",
        released: bool = False,
    ):
        super().__init__()
        if order not in ("channel_first", "spatial_first"):
            raise ValueError(f"order={order!r} is unknown; use 'channel_first' or 'spatial_first'")
        self.channels, self.hidden_dim, self.order, self.released = channels, hidden_dim, order, released
        self.lift_channel = nn.Linear(1, attention_dim)
        self.ask_channel = nn.Linear(hidden_dim, attention_dim, bias=False)
        self.score_channel = nn.Linear(attention_dim, 1, bias=False)
        self.lift_position = nn.Linear(channels, attention_dim)
        self.ask_position = nn.Linear(hidden_dim, attention_dim, bias=False)
        self.score_position = nn.Linear(attention_dim, 1, bias=False)

    def channel(self, x: Tensor, hidden: Tensor) -> Tensor:
        self._check(x, hidden)
        v = x.mean(dim=(2, 3))[:, :, None]  # b c h w -> b c 1
        b = self.lift_channel(v) + self.ask_channel(hidden)[:, None]  # b c k + b 1 k
        return self.score_channel(b.tanh())[:, :, 0].softmax(dim=1)  # b c k -> b c

    def spatial(self, x: Tensor, hidden: Tensor) -> Tensor:
        self._check(x, hidden)
        a = self.lift_position(x.flatten(2).mT) + self.ask_position(hidden)[:, None]  # b n k + b 1 k
        return self.score_position(a.tanh())[:, :, 0].softmax(dim=1)  # b n k -> b n

    def attention(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        if self.order == "channel_first":
            channel = self.channel(x, hidden)
            return channel, self.spatial(self._by_channel(x, channel), hidden)
        spatial = self.spatial(x, hidden)
        return self.channel(self._by_position(x, spatial), hidden), spatial

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        channel, spatial = self.attention(x, hidden)
        return self._by_position(self._by_channel(x, channel), spatial)

    def _by_channel(self, x: Tensor, channel: Tensor) -> Tensor:
        return x * channel[:, :, None, None] * (x.shape[1] if self.released else 1)

    def _by_position(self, x: Tensor, spatial: Tensor) -> Tensor:
        return x * spatial.view(-1, 1, *x.shape[2:]) * (spatial.shape[1] if self.released else 1)  # b n -> b 1 h w

    def _check(self, x: Tensor, hidden: Tensor) -> None:
        check_features(x, self.channels)
        if hidden.shape != (x.shape[0], self.hidden_dim):
            raise ValueError(
                f"hidden has shape {tuple(hidden.shape)}; give one state of length hidden_dim={self.hidden_dim} for "
                f"each of the {x.shape[0]} images"
            )
