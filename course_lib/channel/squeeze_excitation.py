"""Squeeze-and-Excitation Networks.

Jie Hu, Li Shen, Samuel Albanie, Gang Sun, Enhua Wu, CVPR 2018 and TPAMI 2020, arXiv 1709.01507, section 3.
Lesson: notebooks/03_squeeze_excitation.ipynb
"""

from torch import Tensor, nn

from course_lib.checks import check_features, hidden_width


class SqueezeExcitation(nn.Module):
    """Describe each channel by its mean, and let all the means decide how much of each channel passes.

        z = mean_hw(x)    s = σ(W₂ δ(W₁ z))    y_c = s_c · x_c

    ``W₁`` is ``squeeze`` and ``W₂`` is ``excite``; δ is ReLU, σ the sigmoid. The journal version drops the
    biases of both layers (section 6) while the released models keep them: ``bias=True`` gives the latter.

    Args:
        channels: number of channels c.
        reduction: how many times fewer hidden units than channels (the paper's r).
        hidden: number of hidden units, where it is no quotient of the channels; reduction then has no say.
        bias: whether ``W₁`` and ``W₂`` have biases, as in the released models.

    Shape:
        x: b c h w -> b c h w, for any h and w; the gates ``attention(x)``: b c 1 1, in (0, 1).

    Learned: ``W₁`` (c/r × c), ``W₂`` (c × c/r), torch's default start, so that every gate starts near one half;
    the block does not start as the identity.

    Raises:
        ValueError: if no hidden unit would be left, or the input does not fit.

    >>> import torch
    >>> SqueezeExcitation(8, reduction=2).attention(torch.zeros(1, 8, 5, 3)).flatten().tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """

    def __init__(self, channels: int, *, reduction: int = 16, hidden: int | None = None, bias: bool = False):
        super().__init__()
        self.channels, hidden = channels, hidden_width(channels, reduction, hidden)
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        z = x.mean(dim=(2, 3))  # b c h w -> b c
        s = self.excite(self.squeeze(z).relu()).sigmoid()
        return s[:, :, None, None]  # b c -> b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)
