"""What every mechanism checks of what it is given."""

import torch
from torch import Tensor

AXES = {1: "b c n", 2: "b c h w", 3: "b c t h w"}


def check_features(x: Tensor, channels: int | None, *, dims: int = 2) -> None:
    """Raise ``ValueError`` unless ``x`` is a floating-point batch of ``channels`` maps over ``dims`` axes.

    Shape: x: b c n for ``dims=1``, b c h w for ``dims=2``, b c t h w for ``dims=3``; ``channels=None`` takes any c.
    """
    if x.ndim != dims + 2:
        raise ValueError(f"input has {x.ndim} axes, shape {tuple(x.shape)}; give {dims + 2} axes ({AXES[dims]})")
    if channels is not None and x.shape[1] != channels:
        raise ValueError(f"input has {x.shape[1]} channels, the module was built for channels={channels}")
    if 0 in x.shape[2:]:
        raise ValueError(f"input of shape {tuple(x.shape)} has no positions; height and width must be at least 1")
    if not x.is_floating_point():
        raise ValueError(f"input has dtype {x.dtype}; convert it with x.float()")


def check_tokens(x: Tensor, length: int) -> None:
    """Raise ``ValueError`` unless ``x`` is a floating-point batch of tokens, b n length."""
    if x.ndim != 3 or x.shape[2] != length:
        raise ValueError(f"tokens have shape {tuple(x.shape)}; give three axes, the last of length {length}")
    if x.shape[1] == 0:
        raise ValueError(f"tokens have shape {tuple(x.shape)}; give at least 1 token")
    if not x.is_floating_point():
        raise ValueError(f"tokens have dtype {x.dtype}; convert them with x.float()")


def check_mask(attn_mask: Tensor, batch: int, length: int) -> None:
    """Raise ``ValueError`` unless ``attn_mask`` (b n, booleans) leaves each sample at least one of its n places."""
    if attn_mask.shape != (batch, length) or attn_mask.dtype != torch.bool:
        raise ValueError(
            f"attn_mask has shape {tuple(attn_mask.shape)} and dtype {attn_mask.dtype}; "
            f"give booleans of shape {(batch, length)}, True where there is something to attend to"
        )
    if values_are_known(attn_mask) and not attn_mask.any(dim=1).all():
        empty = (~attn_mask.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"attn_mask leaves samples {empty} nothing to attend to; leave each at least one True")


def values_are_known(x: Tensor) -> bool:
    """Whether an ``if`` may ask for the values of ``x``: not while it is traced, on meta, or under ``torch.func``."""
    traced = torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(x)
    return not (traced or x.is_meta)


def hidden_width(channels: int, reduction: int, hidden: int | None) -> int:
    """How many units a hidden layer has: ``hidden`` where it is given, else ``channels // reduction``."""
    width = hidden if hidden is not None else channels // reduction if reduction > 0 else 0
    if width < 1 and hidden is not None:
        raise ValueError(f"hidden={hidden} leaves no hidden unit; use hidden >= 1")
    if width < 1:
        raise ValueError(
            f"channels={channels} leaves no hidden unit at reduction={reduction}; use reduction <= {channels}"
        )
    return width
