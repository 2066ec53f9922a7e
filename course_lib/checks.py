"""The one check that every mechanism makes on what it is given."""

from torch import Tensor


def check_features(x: Tensor, channels: int, *, dims: int = 2) -> None:
    """Raise ``ValueError`` unless ``x`` is a floating-point batch of ``channels`` maps over ``dims`` axes.

    Shape: x: b c h w for ``dims=2``, b c t h w for ``dims=3``.
    """
    if x.ndim != dims + 2:
        axes = "b c h w" if dims == 2 else "b c t h w"
        raise ValueError(f"input has {x.ndim} axes, shape {tuple(x.shape)}; give {dims + 2} axes ({axes})")
    if x.shape[1] != channels:
        raise ValueError(f"input has {x.shape[1]} channels, the module was built for channels={channels}")
    if 0 in x.shape[2:]:
        raise ValueError(f"input of shape {tuple(x.shape)} has no positions; height and width must be at least 1")
    if not x.is_floating_point():
        raise ValueError(f"input has dtype {x.dtype}; convert it with x.float()")
