"""Multiple Granularity Descriptors for Fine-grained Categorization (MGD).

Dequan Wang, Zhiqiang Shen, Jie Shao, Wei Zhang, Xiangyang Xue, Zheng Zhang, ICCV 2015, pp. 2399–2406,
doi 10.1109/ICCV.2015.276, no arXiv version.
Lesson: notebooks/18_zoom_and_pairs.ipynb
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from course_lib.checks import check_features


def sliding_windows(images: Tensor, size: int, stride: int) -> Tensor:
    """All size × size windows of each image, row by row. Shape: b c h w -> b n c size size.

    >>> sliding_windows(torch.arange(6.0).view(1, 1, 2, 3), 2, 1).tolist()
    [[[[[0.0, 1.0], [3.0, 4.0]]], [[[1.0, 2.0], [4.0, 5.0]]]]]
    """
    if min(size, stride) < 1 or size > min(images.shape[-2:]):
        raise ValueError(f"size={size} and stride={stride} give no window in an image of {tuple(images.shape[-2:])}")
    windows = images.unfold(2, size, stride).unfold(3, size, stride)  # b c rows columns size size
    return windows.flatten(2, 3).transpose(1, 2)  # b n c size size


class GranularityDescriptors(nn.Module):
    """Telling families apart needs another look than telling species apart: one region for each level of labels.

        r_g = argmax_r s_g(x, r)        z = [φ_1(crop(x, r_1)); φ_2(crop(x, r_2)); …]

    Each level g (family, genus, species) has a detector and a descriptor of its own. The score s_g of a region is the
    probability of the class that the level's detector is surest of there. Regions are sliding windows; the paper uses
    proposals of another program and picks several regions a level. A linear classifier on z is left to the user.

    The choice is hard and has no gradient: train in stages, as the paper does. First each detector on the labels of
    its level, then the descriptors (and the classifier) on what the detectors chose.

    Args:
        detectors: one network a level, b c size size -> b classes_g (logits).
        descriptors: one network a level, b c size size -> b d_g.
        size, stride: of the windows.

    Shape:
        x: b c h w -> b (d_1 + d_2 + …); ``attention(x)``: b g, for each level the number of its window (integers;
        windows are counted row by row).

    Learned: the networks given.

    Raises:
        ValueError: if there is not one detector for each descriptor, or no window fits.

    >>> mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> mgd = GranularityDescriptors([nn.Flatten()], [mean], size=2, stride=1)
    >>> x = torch.tensor([[[[0.0, 0.0, 9.0], [0.0, 0.0, 0.0]]]])
    >>> mgd.attention(x).tolist(), mgd(x).tolist()
    ([[1]], [[2.25]])
    """

    def __init__(self, detectors: Iterable[nn.Module], descriptors: Iterable[nn.Module], *, size: int, stride: int):
        super().__init__()
        self.detectors, self.descriptors = nn.ModuleList(detectors), nn.ModuleList(descriptors)
        self.size, self.stride = size, stride
        if len(self.detectors) != len(self.descriptors) or len(self.detectors) == 0:
            raise ValueError(
                f"{len(self.detectors)} detectors and {len(self.descriptors)} descriptors; give one of each a level"
            )

    @torch.no_grad()
    def attention(self, x: Tensor) -> Tensor:
        check_features(x, None)
        windows = sliding_windows(x, self.size, self.stride)  # b n c size size
        levels = []
        for detect in self.detectors:
            classes = detect(windows.flatten(0, 1)).softmax(-1)  # (b n) classes
            levels.append(classes.amax(-1).unflatten(0, windows.shape[:2]).argmax(1))  # (b n) -> b n -> b
        return torch.stack(levels, dim=1)  # b g

    def forward(self, x: Tensor) -> Tensor:
        choice = self.attention(x)  # b g
        windows = sliding_windows(x, self.size, self.stride)  # b n c size size
        sample = torch.arange(x.shape[0], device=x.device)
        parts = [describe(windows[sample, choice[:, g]]) for g, describe in enumerate(self.descriptors)]  # each b d_g
        return torch.cat(parts, dim=1)
