"""How slow this machine is at this moment: a second of a processor that others use is a shorter one."""

import time

import torch

IDLE = 0.35  # CPU-seconds of the work below where lesson 03 takes 32: 0.79 where it takes 72


def slowness() -> float:
    """How many times as many CPU-seconds a fixed piece of work takes: forward and backward through a convolution."""
    layer, x = torch.nn.Conv2d(16, 16, 3, padding=1), torch.randn(64, 16, 24, 24)
    layer(x).sum().backward()
    start = time.process_time()
    for _ in range(50):
        layer(x).square().sum().backward()
    return (time.process_time() - start) / IDLE
