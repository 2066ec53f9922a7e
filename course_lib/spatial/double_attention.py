"""A²-Nets: Double Attention Networks.

Yunpeng Chen, Yannis Kalantidis, Jianshu Li, Shuicheng Yan, Jiashi Feng, NeurIPS 2018, arXiv 1810.11579, section 3.
Lesson: notebooks/11_cheaper_non_local.ipynb
"""

from torch import Tensor, nn

from course_lib.checks import check_features


class DoubleAttention(nn.Module):
    """First gather the image into a few descriptors, then let every position take its own mixture of them.

        A = φ(X)    B = softmax_n(θ(X))    V = softmax_m(ρ(X))    Z = (A Bᵀ) V    Y = X + W_o Z

    The softmax of B runs over the n positions, that of V over the m descriptors ("slots"; the paper writes n for
    their number and m for their width). φ, θ, ρ, W_o are ``feature``, ``gather``, ``distribute``, ``output``, the
    same linear map at every position. No code was released; some descriptions add a batch norm after W_o, we do not.

    ``forward`` uses that the weights of V sum to 1 at each position: then W_o may act on A Bᵀ, on its few columns.

    Args:
        channels: number of channels c.
        gather: the width of a descriptor (the paper's m); c // 4 by default.
        slots: the number of descriptors (the paper's n); c // 4 by default.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: two maps, gather B: b m n, whose rows sum to 1 over positions, and
        distribute V: b m n, whose columns sum to 1 over slots. Bᵀ V is a non-local map of rank m at most.

    Learned: φ, θ, ρ, W_o with bias, torch's default start (the paper names none): no identity. The bias of θ is
    the same for all positions, so that B does not see it.

    Raises:
        ValueError: if no descriptor or no width would be left, or the input does not fit.

    >>> import torch
    >>> gather, distribute = DoubleAttention(8, slots=3).attention(torch.randn(2, 8, 5, 7))
    >>> gather.shape, distribute.shape
    (torch.Size([2, 3, 35]), torch.Size([2, 3, 35]))
    """

    def __init__(self, channels: int, *, gather: int | None = None, slots: int | None = None):
        super().__init__()
        width = channels // 4 if gather is None else gather
        slots = channels // 4 if slots is None else slots
        if width < 1 or slots < 1:
            raise ValueError(
                f"channels={channels} with gather={width}, slots={slots}; use at least 1 (default: channels // 4)"
            )
        self.channels = channels
        self.feature = nn.Conv2d(channels, width, 1)
        self.gather = nn.Conv2d(channels, slots, 1)
        self.distribute = nn.Conv2d(channels, slots, 1)
        self.output = nn.Linear(width, channels)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_features(x, self.channels)
        gather, distribute = self.gather(x).flatten(2), self.distribute(x).flatten(2)  # b m h w -> b m n
        return gather.softmax(dim=2), distribute.softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        gather, distribute = self.attention(x)
        descriptors = gather @ self.feature(x).flatten(2).mT  # b m n, b n width -> b m width
        z = self.output(descriptors).mT @ distribute  # b c m, b m n -> b c n
        return x + z.unflatten(2, x.shape[2:])
