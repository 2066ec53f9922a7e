"""Secret inputs: sizes and values drawn from one seed, so that no answer can be hard-coded."""

import hashlib

import torch
from torch import Tensor

PRIMES = (3, 5, 7, 11, 13, 17, 19, 23)


class Draw:
    """A seeded source of sizes and values; ``name`` (of the test) makes each test's draws its own.

    >>> Draw("secret").primes(2) == Draw("secret").primes(2)
    True
    """

    def __init__(self, seed: int | str, name: str = ""):
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self.generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def primes(self, count: int, *, high: int = 23) -> list[int]:
        """``count`` distinct primes from 3 to ``high``: sizes that no two axes share.

        Raises:
            ValueError: if there are not so many.
        """
        pool = [prime for prime in PRIMES if prime <= high]
        if count > len(pool):
            raise ValueError(f"there are {len(pool)} primes from 3 to {high}, not {count}; draw fewer, or raise high")
        order = torch.randperm(len(pool), generator=self.generator)[:count]
        return [pool[i] for i in order]

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers from ``low`` to ``high - 1``."""
        return torch.randint(low, high, shape, generator=self.generator)

    def number(self, low: float, high: float) -> float:
        """One number in [low, high), with three decimals."""
        return round(low + (high - low) * torch.rand((), generator=self.generator).item(), 3)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=dtype)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=dtype)

    def mask(self, *shape: int) -> Tensor:
        """A random mask, True = may attend, with at least one True and one False in each row."""
        mask = self.uniform(*shape) < 0.5
        order = self.uniform(*shape).argsort(dim=-1)
        return mask.scatter(-1, order[..., :1], True).scatter(-1, order[..., -1:], False)
