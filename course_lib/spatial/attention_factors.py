"""An Empirical Study of Spatial Attention Mechanisms in Deep Networks.

Xizhou Zhu, Dazhi Cheng, Zheng Zhang, Stephen Lin, Jifeng Dai, ICCV 2019, arXiv 1904.05873, section 3.
Lesson: notebooks/13_local_attention.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features


class FactorisedAttention(nn.Module):
    """Attention as a sum of four reasons to look somewhere, each of which can be switched off.

        y = x + γ · W Σ_k A(q, k) W′ x_k    A = softmax_k(E1 + E2 + E3 + E4)
        E1 = (U z_q) · (V^C x_k)       what I am and what you are
        E2 = (U z_q) · (V^R R_{k−q})   what I am and where you are
        E3 = u · (V^C x_k)             what you are
        E4 = v · (V^R R_{k−q})         where you are

    U, V^C, W′ and W are ``query``, ``key``, ``value`` and ``project``; z = x. R codes rows and columns apart, by
    sines: ``V^R R`` is (``rows`` R_y + ``columns`` R_x) / √2, as released, so that no factor sees a joint 2-D step.
    There is no 1/√d. The released code codes the step backwards, q − k: ``released=True``, which its weights need.
    Its networks ask every second row and column only, ``kv_stride=2``. Left out: a limited range of keys. Its E2
    without E4 takes the query's height for its width; here all fifteen choices follow the formula.

    Args:
        channels: number of channels c, divisible by 4.
        num_heads: number of heads s, with d = c / s channels each.
        factors: four characters, ``"1"`` for each factor that counts: ``"0010"`` is E3 alone.
        kv_stride: keys are every ``kv_stride``-th row and column; steps are counted in the pixels of x.
        released: the step that R codes is q − k, as in the released code, and not k − q.

    Shape:
        x: b c h w -> b c h w; the map ``attention(x)``: b s n m, every row (query) sums to 1 over the m keys, which
        are all n positions with ``kv_stride=1``.

    Learned: matrices without bias where the factors need them, ``project`` with bias, torch's start; u and v as
    ``key_bias`` and ``step_bias`` (s × d), uniform within ±1/√(2d); γ as ``gamma``, zero: starts as the identity.

    Raises:
        ValueError: if the factors are not four binary digits with a 1 among them, sizes do not divide the channels,
            or the input does not fit.

    >>> import torch
    >>> block, x = FactorisedAttention(8, num_heads=2, factors="0010"), torch.randn(1, 8, 3, 5)
    >>> torch.equal(block(x), x), block.attention(x).shape
    (True, torch.Size([1, 2, 15, 15]))
    """

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int = 8,
        factors: str = "1111",
        kv_stride: int = 1,
        released: bool = False,
    ):
        super().__init__()
        if kv_stride < 1:
            raise ValueError(f"kv_stride={kv_stride} steps to no other key; use kv_stride >= 1")
        if len(factors) != 4 or set(factors) - {"0", "1"} or "1" not in factors:
            raise ValueError(f"factors={factors!r} is no choice of E1 to E4; use four digits such as '1010'")
        if num_heads < 1 or channels % num_heads or channels % 4:
            raise ValueError(
                f"channels={channels} must be divisible by num_heads={num_heads} and by 4 (sine and cosine of rows "
                "and columns)"
            )
        self.channels, self.num_heads, self.kv_stride, self.released = channels, num_heads, kv_stride, released
        self.query_key, self.query_step, self.key_only, self.step_only = (digit == "1" for digit in factors)
        width = channels // num_heads
        self.query = self.key = self.rows = self.columns = self.key_bias = self.step_bias = None
        if self.query_key or self.query_step:
            self.query = nn.Conv2d(channels, channels, 1, bias=False)
        if self.query_key or self.key_only:
            self.key = nn.Conv2d(channels, channels, 1, bias=False)
        if self.query_step or self.step_only:
            self.rows = nn.Linear(channels // 2, channels, bias=False)
            self.columns = nn.Linear(channels // 2, channels, bias=False)
        if self.key_only:
            self.key_bias = nn.Parameter(torch.empty(num_heads, width).uniform_(-1, 1) * (2 * width) ** -0.5)
        if self.step_only:
            self.step_bias = nn.Parameter(torch.empty(num_heads, width).uniform_(-1, 1) * (2 * width) ** -0.5)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def split(self, x: Tensor) -> Tensor:
        heads = x.unflatten(1, (self.num_heads, -1)).flatten(3).transpose(2, 3)  # b (s d) h w -> b s n d
        return heads.contiguous()  # else torch falls back from the fused kernel and stores every map

    def thin(self, x: Tensor) -> Tensor:
        """The pixels that are asked: b c h w -> b c h' w'."""
        return x[:, :, :: self.kv_stride, :: self.kv_stride] if self.kv_stride > 1 else x

    def askers(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What meets the keys, U z + u, and what meets the steps, U z + v: b s n d each, or None if nothing does."""
        query = None if self.query is None else self.split(self.query(x))

        def asker(asks, bias):  # no annotations: torch.compile of 2.7 cannot take them inside a function
            parts = ([query] if asks else []) + ([] if bias is None else [bias[:, None]])
            return sum(parts[1:], parts[0]).expand(x.shape[0], -1, x.shape[2] * x.shape[3], -1) if parts else None

        return asker(self.query_key, self.key_bias), asker(self.query_step, self.step_bias)

    def relative(self, asker: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The asker meets the steps to each row and to each column that a key may have: b s n h' and b s n w'."""
        grid = asker.unflatten(2, (height, width))  # b s n d -> b s y x d
        rows, columns = (
            layer(self.steps(length, asker)).unflatten(2, (self.num_heads, -1)) * 0.5**0.5  # q k c/2 -> q k s d
            for layer, length in ((self.rows, height), (self.columns, width))
        )
        row = torch.einsum("bsyxd,yhsd->bsyxh", grid, rows).flatten(2, 3)
        column = torch.einsum("bsyxd,xwsd->bsyxw", grid, columns).flatten(2, 3)
        return row, column

    def steps(self, length: int, like: Tensor) -> Tensor:
        codes = sines(length, self.channels // 4, like)
        codes = codes.transpose(0, 1) if self.released else codes  # q − k of the one is k − q of the other
        return codes[:, :: self.kv_stride]

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        key_asker, step_asker = self.askers(x)
        keys, scores = self.thin(x), x.new_zeros(())
        if key_asker is not None:
            content = key_asker @ self.split(self.key(keys)).transpose(2, 3)  # b s n d -> b s n m
            scores = content.unflatten(3, keys.shape[2:])
        if step_asker is not None:
            row, column = self.relative(step_asker, *x.shape[2:])
            scores = scores + row.unsqueeze(4) + column.unsqueeze(3)  # b s n h' w'
        return scores.flatten(3).softmax(dim=3)  # b s n h' w' -> b s n m

    def salient(self, x: Tensor) -> Tensor:
        """E3 alone: all queries get the same sum, so one is enough. b c h w -> b s 1 d"""
        keys = self.thin(x)
        scores = torch.einsum("sd,bsnd->bsn", self.key_bias, self.split(self.key(keys)))
        return scores.softmax(dim=2).unsqueeze(2) @ self.split(self.value(keys))

    def attend(self, x: Tensor) -> Tensor:
        """What ``attention`` gives when applied to the values, without building it: b c h w -> b s n d."""
        key_asker, step_asker = self.askers(x)
        keys = self.thin(x)
        value = self.split(self.value(keys))
        asked, answers = [], []
        if key_asker is not None:
            asked, answers = [key_asker], [self.split(self.key(keys))]
        if step_asker is not None:  # a one at the row and the column of each key picks its step
            asked += self.relative(step_asker, *x.shape[2:])
            answers.append(one_hot_places(*keys.shape[2:]).to(x).expand(*value.shape[:2], -1, -1))
        query, key = torch.cat(asked, dim=3), torch.cat(answers, dim=3)
        wide = max(query.shape[3], value.shape[3])  # the fused kernel wants equal widths; zeros add nothing
        query, key, padded = (F.pad(part, (0, wide - part.shape[3])) for part in (query, key, value))
        return F.scaled_dot_product_attention(query, key, padded, scale=1.0)[..., : value.shape[3]]

    def forward(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        only_salient = self.key_only and not (self.query_key or self.query_step or self.step_only)
        heard = self.salient(x) if only_salient else self.attend(x)
        heard = heard.transpose(2, 3).flatten(1, 2)  # b s n d -> b (s d) n
        heard = heard.unflatten(2, (1, 1) if only_salient else x.shape[2:])
        return x + self.gamma * self.project(heard)


def sines(length: int, width: int, like: Tensor) -> Tensor:
    """R on one axis, sine and cosine of each step from query to key at wavelengths up to 2π · 1000: query key c/2."""
    place = torch.arange(length, device=like.device)
    speed = 1000.0 ** -(torch.arange(width, device=like.device, dtype=torch.float64) / width)
    angle = (place - place[:, None]).unsqueeze(2) * speed
    return torch.cat([angle.sin(), angle.cos()], dim=2).to(like)


def one_hot_places(height: int, width: int) -> Tensor:
    """Ones at the row and at the column of each position: n h+w."""
    rows, columns = torch.eye(height).repeat_interleave(width, dim=0), torch.eye(width).repeat(height, 1)
    return torch.cat([rows, columns], dim=1)
