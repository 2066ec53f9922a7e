"""An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale.

Alexey Dosovitskiy, Lucas Beyer, Alexander Kolesnikov, Dirk Weissenborn, Xiaohua Zhai, Thomas Unterthiner,
Mostafa Dehghani, Matthias Minderer, Georg Heigold, Sylvain Gelly, Jakob Uszkoreit, Neil Houlsby,
ICLR 2021, arXiv 2010.11929, section 3. Rollout: Samira Abnar, Willem Zuidema, ACL 2020, arXiv 2005.00928.
Lesson: notebooks/14_vision_transformer.ipynb
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features, check_tokens

# The published sizes: VisionTransformer(224, **SIZES["B"]) is ViT-B/16.
# Ti and S are not the paper's; they come from DeiT, arXiv 2012.12877.
SIZES = {
    "Ti": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "S": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "B": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "L": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "H": {"embed_dim": 1280, "depth": 32, "num_heads": 16},
}


class PatchEmbedding(nn.Module):
    """Cut the image into squares and describe each square by one vector.

        x_p^i E + e    for the patches i = 1 … N, row by row, N = (h / P)(w / P)

    ``E`` is ``projection``: a convolution whose stride is its size reads every P×P patch exactly once,
    so it is one linear layer applied to all flattened patches.

    Args:
        channels: number of channels c of the image.
        embed_dim: length d of a patch's vector (the paper's D).
        patch_size: side P of a patch, or (height, width) of one that is no square.

    Shape:
        x: b c h w -> b n d, for h and w that P divides; n = h·w / P².

    Learned: ``E`` (d × c × P × P), normal with variance 1 / (c·P²) as in the released code, and its bias ``e``, zero.

    Raises:
        ValueError: if the input does not fit, or P does not divide its height and width.

    >>> import torch
    >>> PatchEmbedding(3, 10, patch_size=4)(torch.zeros(2, 3, 8, 12)).shape
    torch.Size([2, 6, 10])
    """

    def __init__(self, channels: int, embed_dim: int, *, patch_size: int | tuple[int, int] = 16):
        super().__init__()
        self.channels = channels
        self.patch_size = patch_size
        self.projection = nn.Conv2d(channels, embed_dim, patch_size, stride=patch_size)
        nn.init.normal_(self.projection.weight, std=(channels * math.prod(pair(patch_size))) ** -0.5)
        nn.init.zeros_(self.projection.bias)

    def check(self, x: Tensor) -> None:
        check_features(x, self.channels)
        (height, width), (rows, columns) = x.shape[2:], pair(self.patch_size)
        if height % rows or width % columns:
            raise ValueError(
                f"patch_size={self.patch_size} does not divide the image's {height}×{width}; "
                f"crop or resize it to multiples of {self.patch_size}"
            )

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        patches = self.projection(x)  # b c h w -> b d h/P w/P
        return patches.flatten(2).transpose(1, 2)  # b d h/P w/P -> b n d


class NormedPatchEmbedding(PatchEmbedding):
    """The same with a LayerNorm before and after: LN(LN(x_p^i) E + e), as in the best-known port of ViT.

    Then E has to be a linear layer on flattened patches (c P P in one row; the port has P P c).

    >>> import torch
    >>> NormedPatchEmbedding(3, 10, patch_size=(4, 2))(torch.zeros(2, 3, 8, 12)).shape
    torch.Size([2, 12, 10])
    """

    def __init__(self, channels: int, embed_dim: int, *, patch_size: int | tuple[int, int] = 16):
        super().__init__(channels, embed_dim, patch_size=patch_size)
        length = channels * math.prod(pair(patch_size))
        self.norm_before = nn.LayerNorm(length)
        self.projection = nn.Linear(length, embed_dim)
        self.norm_after = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        patches = F.unfold(x, self.patch_size, stride=self.patch_size).mT  # b c h w -> b n cPP
        return self.norm_after(self.projection(self.norm_before(patches)))  # b n cPP -> b n d


def pair(sides: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width, of a square where one side is given."""
    return (sides, sides) if isinstance(sides, int) else sides


class EncoderBlock(nn.Module):
    """Let every token ask all tokens and add what it hears to itself; then let each token think alone.

        z' = z + W_O [A_1 V_1; …; A_s V_s]    A_j = softmax(Q_j K_jᵀ / √d_head)    [Q, K, V] = LN(z) [W_Q, W_K, W_V]
        z'' = z' + W_2 GELU(W_1 LN(z'))

    The softmax runs over the keys. Pre-norm: each branch reads a normalised copy, and the sum itself stays as it is.
    W_O is ``project``; W_1 and W_2 are ``expand`` and ``contract``. The paper's dropout is left out.

    Args:
        embed_dim: length d of a token.
        num_heads: number of heads s.
        head_dim: how many numbers d_head of query, key and value a head has; d / s if not given, as in the paper.
        mlp_ratio: how many times more hidden units than d.
        eps: what LayerNorm adds to the variance; 1e-6 as released (Hugging Face's own code uses 1e-12).
        approximate: ``"none"`` is the exact GELU of the paper, ``"tanh"`` the approximation of the released code.

    Shape:
        x: b n d -> b n d; the maps ``attention(x)``: b s n n, every row (query) sums to 1.

    Learned: four linear layers d -> s·d_head and back, two of the MLP, two LayerNorms; torch's default start.

    Raises:
        ValueError: if the heads cannot share the tokens' d numbers evenly, or the input does not fit.

    >>> import torch
    >>> EncoderBlock(12, 3).attention(torch.zeros(1, 4, 12))[0, 0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        head_dim: int | None = None,
        mlp_ratio: int = 4,
        eps: float = 1e-6,
        approximate: str = "none",
    ):
        super().__init__()
        if num_heads < 1 or (head_dim is None and embed_dim % num_heads):
            raise ValueError(f"embed_dim={embed_dim} cannot be shared by num_heads={num_heads}; use a divisor of it")
        width = num_heads * head_dim if head_dim else embed_dim
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(embed_dim, eps=eps)
        self.query = nn.Linear(embed_dim, width)
        self.key = nn.Linear(embed_dim, width)
        self.value = nn.Linear(embed_dim, width)
        self.project = nn.Linear(width, embed_dim)
        self.mlp_norm = nn.LayerNorm(embed_dim, eps=eps)
        self.expand = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.gelu = nn.GELU(approximate)
        self.contract = nn.Linear(mlp_ratio * embed_dim, embed_dim)

    def split(self, x: Tensor) -> Tensor:
        """Give each head its share of every token: b n d -> b s n d_head."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # b n (s d_head) -> b s n d_head

    def attention(self, x: Tensor) -> Tensor:
        check_tokens(x, self.embed_dim)
        x = self.attention_norm(x)
        query, key = self.split(self.query(x)), self.split(self.key(x))
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])  # b s n d_head -> b s n n
        return scores.softmax(dim=3)

    def mix(self, x: Tensor) -> Tensor:
        """What ``attention`` gives when applied to the values, without building a map: b n d -> b n d."""
        query, key, value = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        heard = F.scaled_dot_product_attention(query, key, value)  # b s n d_head, divided by √d_head inside
        return self.project(heard.transpose(1, 2).flatten(2))  # b s n d_head -> b n (s d_head)

    def think(self, x: Tensor) -> Tensor:
        """The MLP, the same for each token: b n d -> b n d."""
        return self.contract(self.gelu(self.expand(x)))

    def forward(self, x: Tensor) -> Tensor:
        check_tokens(x, self.embed_dim)
        x = x + self.mix(self.attention_norm(x))
        return x + self.think(self.mlp_norm(x))


class VisionTransformer(nn.Module):
    """Read an image as a sentence whose words are patches, and let one extra word collect the answer.

        z_0 = [x_class; x_p^1 E; …; x_p^N E] + E_pos
        z_l = EncoderBlock(z_{l-1})    l = 1 … L
        logits = head(LN(z_L^0))

    x_class is ``class_token``, E_pos ``positions``; the class token joins *before* positions are added, and is
    token 0 everywhere. What is left of an image's geometry is the cutting and E_pos: without E_pos the patches
    are a bag. The paper's hidden layer of the head at pre-training is there with ``representation_size``.

    Args:
        image_size: side of the image, or (height, width).
        patch_size: side P of a patch, or (height, width); must divide the image's sides.
        channels: number of channels of the image.
        embed_dim, depth, num_heads: the paper's D, L and number of heads (``SIZES`` has the published ones).
        num_classes: number of logits; 0 leaves the head out, and the result is the features b d.
        representation_size: hidden units of the head (tanh between its two layers); None for a linear head.
        head_dim, mlp_ratio, eps, approximate: as in ``EncoderBlock``.
        pool: what the norm and the head read: ``"token"``, the class token, or ``"mean"``, the mean of the patches.
        patch_norm: cut with ``NormedPatchEmbedding``.

    Shape:
        x: b c h w -> b k logits; the maps ``attention(x)``: a list with b s n n for each block,
        n = 1 + h·w / P², token 0 the class token, then the patches row by row.

    Learned: everything above. Starts as the released code: class token 0, E_pos normal with deviation 0.02,
    linear layers Xavier uniform with bias 0. (Its head starts at zero, and so must a head that is fine-tuned,
    section 3.2; ours does not, so that the first step already moves every weight.)

    Raises:
        ValueError: if the patches do not tile the image, the heads do not divide d, or the input does not fit.

    >>> import torch
    >>> vit = VisionTransformer((8, 12), patch_size=4, embed_dim=12, depth=2, num_heads=3, num_classes=5)
    >>> vit(torch.zeros(2, 3, 8, 12)).shape
    torch.Size([2, 5])
    >>> [maps.shape for maps in vit.attention(torch.zeros(2, 3, 8, 12))]
    [torch.Size([2, 3, 7, 7]), torch.Size([2, 3, 7, 7])]
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        *,
        patch_size: int | tuple[int, int] = 16,
        channels: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        num_classes: int = 1000,
        representation_size: int | None = None,
        head_dim: int | None = None,
        mlp_ratio: int = 4,
        eps: float = 1e-6,
        approximate: str = "none",
        pool: str = "token",
        patch_norm: bool = False,
    ):
        super().__init__()
        if pool not in ("token", "mean"):
            raise ValueError(f"pool={pool!r} is unknown; use 'token' (the class token) or 'mean' (of the patches)")
        (height, width), (rows, columns) = pair(image_size), pair(patch_size)
        if height % rows or width % columns or not (height and width):
            raise ValueError(
                f"patch_size={patch_size} does not divide image_size={height}×{width}; use a divisor of both"
            )
        self.image_size, self.pool = (height, width), pool
        self.grid = (height // rows, width // columns)
        embedding = NormedPatchEmbedding if patch_norm else PatchEmbedding
        self.patches = embedding(channels, embed_dim, patch_size=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + self.grid[0] * self.grid[1], embed_dim))
        self.blocks = nn.ModuleList(
            EncoderBlock(
                embed_dim, num_heads, head_dim=head_dim, mlp_ratio=mlp_ratio, eps=eps, approximate=approximate
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=eps)
        self.pre_logits = nn.Identity()
        if representation_size is not None:
            self.pre_logits = nn.Sequential(nn.Linear(embed_dim, representation_size), nn.Tanh())
        width = representation_size or embed_dim
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.positions, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def tokens(self, x: Tensor) -> Tensor:
        """The sentence z_0 that the blocks read: b c h w -> b n d."""
        patches = self.patches(x)  # b c h w -> b n-1 d
        if x.shape[2:] != self.image_size:
            height, width = self.image_size
            raise ValueError(
                f"input is {x.shape[2]}×{x.shape[3]}, positions are those of {height}×{width}; resize the input, "
                "or build the model for the new size and give it interpolate_positions(positions, grid)"
            )
        class_token = self.class_token.expand(x.shape[0], -1, -1)  # 1 1 d -> b 1 d
        return torch.cat([class_token, patches], dim=1) + self.positions

    def attention(self, x: Tensor) -> list[Tensor]:
        tokens, maps = self.tokens(x), []
        for block in self.blocks:
            maps.append(block.attention(tokens))
            tokens = block(tokens)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens(x)
        for block in self.blocks:
            tokens = block(tokens)
        answer = self.norm(tokens[:, 0] if self.pool == "token" else tokens[:, 1:].mean(dim=1))  # b n d -> b d
        return self.head(self.pre_logits(answer))  # b d -> b k


def rollout(maps: list[Tensor] | Tensor) -> Tensor:
    """Follow attention through all the layers: how much of each first token is in each last one.

        R = Â_L … Â_1    Â_l = rows of ½ (mean over heads of A_l + I), divided by their sums

    The I stands for the residual connection. Values, projections and MLPs are ignored, and so is the class.
    The sums are 1 unless entries of the maps have been dropped.

    Shape: maps: a list of b s n n, or of b n n (already averaged over the heads), or one tensor l b s n n -> b n n,
    every row sums to 1; row 0, without its first entry, is the picture
    that is usually shown: what the class token gathered from each patch.

    >>> import torch
    >>> rollout([torch.full((1, 2, 2, 2), 0.5)]).tolist()
    [[[0.75, 0.25], [0.25, 0.75]]]
    """
    check_maps(maps)
    total = identity = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype, device=maps[0].device)
    for attention in maps:
        heard = attention.mean(dim=1) if attention.ndim == 4 else attention  # b s n n -> b n n
        step = (heard + identity) / 2
        total = step / step.sum(dim=2, keepdim=True) @ total
    return total


def check_maps(maps: list[Tensor] | Tensor) -> None:
    if len(maps) == 0:
        raise ValueError("rollout got 0 maps; give the list that VisionTransformer.attention returns")
    if isinstance(maps, Tensor) and maps.ndim != 5:
        raise ValueError(
            f"a tensor {tuple(maps.shape)} may be one map or many; stack maps to l b s n n, or give a list"
        )
    for attention in maps:
        if attention.ndim not in (3, 4) or attention.shape[-1] != attention.shape[-2]:
            raise ValueError(
                f"a map has shape {tuple(attention.shape)}; give b s n n, or b n n averaged over the heads"
            )


def interpolate_positions(
    positions: Tensor, new_grid: tuple[int, int], *, grid: tuple[int, int] | None = None, method: str = "bicubic"
) -> Tensor:
    """Stretch the picture of position vectors to another number of patches; the class token's row stays.

    There is no one way. ``method`` is ``"bicubic"`` as in Hugging Face, ``"antialiased"`` for timm's bicubic,
    ``"dino"`` for DINO's bicubic by a scale of (new + 0.1) / old, or ``"aligned"`` for the released code's bilinear
    interpolation that keeps the corners in the corners.

    Args:
        positions: the table E_pos, class token first, then the patches row by row.
        new_grid: patches per column and per row afterwards, (h, w).
        grid: the same before; None for a square.
        method: see above.

    Shape: 1 1+n d -> 1 1+h·w d

    >>> import torch
    >>> interpolate_positions(torch.zeros(1, 1 + 14 * 14, 768), (24, 24)).shape
    torch.Size([1, 577, 768])
    """
    options = {
        "bicubic": {"mode": "bicubic", "align_corners": False},
        "antialiased": {"mode": "bicubic", "align_corners": False, "antialias": True},
        "aligned": {"mode": "bilinear", "align_corners": True},
        "dino": {"mode": "bicubic", "align_corners": False},
    }
    if method not in options:
        raise ValueError(f"method={method!r} is unknown; use one of {', '.join(options)}")
    class_row, patches = positions[:, :1], positions[:, 1:]
    height, width = grid or (math.isqrt(patches.shape[1]),) * 2
    if height * width != patches.shape[1]:
        raise ValueError(
            f"{patches.shape[1]} patches do not make a grid of {height}×{width}; give grid=(rows, columns)"
        )
    image = patches.transpose(1, 2).unflatten(2, (height, width))  # 1 n d -> 1 d h w
    exact = image.to(torch.promote_types(image.dtype, torch.float32))  # torch cannot antialias half precision
    size: dict = {"size": new_grid}
    if method == "dino":  # it asks for a scale, and for a little more than it needs
        size = {"scale_factor": tuple((new + 0.1) / old for new, old in zip(new_grid, (height, width), strict=True))}
    image = F.interpolate(exact, **size, **options[method]).to(image.dtype)
    return torch.cat([class_row, image.flatten(2).transpose(1, 2)], dim=1)  # 1 d h w -> 1 1+n d
