"""Spatio-Temporal Channel Correlation Networks for Action Classification.

Ali Diba, Mohsen Fayyaz, Vivek Sharma, M. Mahdi Arzani, Rahman Yousefzadeh, Juergen Gall, Luc Van Gool, ECCV 2018,
arXiv 1806.07754, section 3.
Lesson: notebooks/17_time.ipynb
"""

from torch import Tensor, nn

from course_lib.checks import check_features


class SpatioTemporalChannel(nn.Module):
    """Gate the channels of a clip twice: by what they show on average, and by when they show it.

        TCB: z = mean_thw x (c numbers)     s₁ = σ(W₂ δ(W₁ z))
        SCB: z = mean_hw x (t · c numbers)  s₂ = σ(W₄ δ(W₃ z))
        y = (s₁ x + s₂ x) / 2

    Squeeze-and-Excitation for clips, with a second descriptor that keeps the time axis; δ is ReLU. The names are
    the paper's and sound swapped: TCB averages time away, SCB keeps it, and therefore needs a fixed number of
    frames. The final activation of SCB and r could not be verified: here a sigmoid like that of TCB, and r is
    given.

    Args:
        channels: number of channels c.
        reduction: how many times fewer hidden units than inputs in both branches (r).
        frames: number of frames t of every clip.

    Shape:
        x: b c t h w -> b c t h w; ``attention(x)``: the gates s₁ and s₂, b c 1 1 1 each, in (0, 1).

    Learned: the four matrices, without biases as in the formula, torch's default start: gates start near one half.

    Raises:
        ValueError: if no hidden unit would be left, or the input does not fit.

    >>> import torch
    >>> by_mean, by_time = SpatioTemporalChannel(4, 2, frames=3).attention(torch.zeros(1, 4, 3, 5, 5))
    >>> by_mean.flatten().tolist(), by_time.shape
    ([0.5, 0.5, 0.5, 0.5], torch.Size([1, 4, 1, 1, 1]))
    """

    def __init__(self, channels: int, reduction: int, *, frames: int):
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(
                f"channels={channels} leaves no hidden unit at reduction={reduction}; use reduction <= {channels}"
            )
        if frames < 1:
            raise ValueError(f"frames={frames} is no clip; give at least 1")
        self.channels, self.frames = channels, frames
        self.by_mean = self._excitation(channels, channels // reduction, channels)  # TCB
        self.by_time = self._excitation(frames * channels, frames * channels // reduction, channels)  # SCB

    @staticmethod
    def _excitation(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(inputs, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, outputs, bias=False), nn.Sigmoid()
        )

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_features(x, self.channels, dims=3)
        if x.shape[2] != self.frames:
            raise ValueError(f"clip of {x.shape[2]} frames, the module was built for frames={self.frames}")
        z = x.mean(dim=(3, 4)).mT  # b c t h w -> b t c
        gates = self.by_mean(z.mean(dim=1)), self.by_time(z.flatten(1))  # b t c -> b c
        return tuple(gate[:, :, None, None, None] for gate in gates)  # b c -> b c 1 1 1

    def forward(self, x: Tensor) -> Tensor:
        by_mean, by_time = self.attention(x)
        return x * ((by_mean + by_time) / 2)
