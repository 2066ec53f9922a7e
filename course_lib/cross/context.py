"""Context-Transformer: Tackling Object Confusion for Few-Shot Detection.

Ze Yang, Yali Wang, Xianyu Chen, Jianzhuang Liu, Yu Qiao, AAAI 2020, arXiv 2003.07304, section 3.
Lesson: notebooks/18_zoom_and_pairs.ipynb
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import check_tokens


class ContextTransformer(nn.Module):
    """A box that is not sure what it holds asks what else is in the picture.

        A = softmax_q((θ(P) + P)(φ(Q) + Q)ᵀ)    P̃ = P + A (g(Q) + Q) · w_z

    P holds the class scores of all candidate boxes ("priors"), Q those of the context: the same score maps after
    max-pooling. Attention happens among *scores*, so that a dog can ask for a leash. θ, φ and g are ``theta``,
    ``phi`` and ``g``, linear maps of scores to scores, used with a residual; the products are not scaled; w_z is
    ``gain``, one number for each class. In the incremental phase of the released code, ``IncrementalHead`` follows.

    Args:
        classes: number k of scores of a box (the source classes).

    Shape:
        priors: b p k and context: b q k -> b p k; ``attention(priors, context)``: b p q, sums to 1 over q.

    Learned: θ, φ, g (k × k with biases, He's normal start, biases 0) and w_z, which starts at 0: the block starts as
    the identity, and only w_z has a gradient in the first step. 3(k² + k) + k numbers.

    Raises:
        ValueError: if an input does not fit.

    >>> ContextTransformer(3).attention(torch.ones(1, 1, 3), torch.ones(1, 4, 3)).tolist()
    [[[0.25, 0.25, 0.25, 0.25]]]
    """

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes
        self.theta, self.phi, self.g = (nn.Linear(classes, classes) for _ in range(3))
        for linear in (self.theta, self.phi, self.g):
            nn.init.kaiming_normal_(linear.weight, mode="fan_out")
            nn.init.zeros_(linear.bias)
        self.gain = nn.Parameter(torch.zeros(classes))

    def attention(self, priors: Tensor, context: Tensor) -> Tensor:
        self._check(priors, context)
        query, key = self.theta(priors) + priors, self.phi(context) + context  # b p k, b q k
        return (query @ key.mT).softmax(dim=2)  # b p q

    def forward(self, priors: Tensor, context: Tensor) -> Tensor:
        self._check(priors, context)
        heads = self.theta(priors) + priors, self.phi(context) + context, self.g(context) + context
        read = F.scaled_dot_product_attention(*(t[:, None] for t in heads), scale=1.0)  # b 1 p k
        return priors + read[:, 0] * self.gain

    def _check(self, priors: Tensor, context: Tensor) -> None:
        for scores in (priors, context):
            check_tokens(scores, self.classes)
        if priors.shape[0] != context.shape[0]:
            raise ValueError(
                f"priors of {priors.shape[0]} images, context of {context.shape[0]}; give both for each image"
            )


class CosineHead(nn.Module):
    """Classify by direction only: the cosine between the features and one stored direction for each class.

        logits = scale · (x / |x|) · (W / |W|)ᵀ

    With few examples, lengths say more about the example than about its class. ``imprint`` sets each class's row to
    the mean direction of its examples. The released code normalises the rows of W after each step, which gives the
    same logits as normalising where they are used.

    Args:
        classes: length k of the features (scores of the source classes).
        targets: number of classes to tell apart.
        scale: how sharp the softmax over the logits can get; cosines alone lie in [−1, 1].

    Shape:
        x: … k -> … targets.

    Learned: W (targets × k), torch's default start, no bias.

    Raises:
        ValueError: if the input does not fit, or ``imprint`` has no example of a class.

    >>> head = CosineHead(2, 1)
    >>> head.imprint(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
    >>> head(torch.tensor([[0.1, 0.0], [0.0, 7.0]])).tolist()
    [[5.0], [0.0]]
    """

    def __init__(self, classes: int, targets: int, *, scale: float = 5.0):
        super().__init__()
        self.classes, self.scale = classes, scale
        self.weight = nn.Parameter(torch.empty(targets, classes))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.classes:
            raise ValueError(f"features of length {x.shape[-1]}, the head was built for classes={self.classes}")
        return self.scale * F.normalize(x, dim=-1) @ F.normalize(self.weight, dim=-1).mT

    @torch.no_grad()
    def imprint(self, x: Tensor, labels: Tensor) -> None:
        """Set each row of W to the mean direction of its class. Shape: x: n k, labels: n."""
        missing = sorted(set(range(len(self.weight))) - set(labels.tolist()))
        if missing:
            raise ValueError(f"no example of classes {missing}; give at least one of each")
        directions = F.normalize(x, dim=1)
        for target in range(len(self.weight)):
            self.weight[target] = F.normalize(directions[labels == target].mean(dim=0), dim=0)


class IncrementalHead(nn.Module):
    """Old classes keep their own scores; new ones are told apart by what the context made of these scores.

        logits = [P + B P + b; scale · cos(P̃, W)]

    As in the incremental phase of the released code: B is ``base`` (its fc_base), the second part, on the refined
    scores P̃ = ``ContextTransformer(P, Q)``, is the ``CosineHead`` ``novel``. The paper does not speak of B.

    Args:
        classes: number k of old classes, whose scores are P.
        targets: number of new classes.
        scale: as in ``CosineHead``.

    Shape:
        priors P and refined P̃: … k -> … k + targets, the old classes first.

    Learned: B and b, which start at 0: the old classes start with the scores they had; W.

    Raises:
        ValueError: if an input does not fit.

    >>> head = IncrementalHead(2, 3)
    >>> head(torch.tensor([[0.5, 2.0]]), torch.zeros(1, 2)).tolist()
    [[0.5, 2.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, classes: int, targets: int, *, scale: float = 5.0):
        super().__init__()
        self.base = nn.Linear(classes, classes)
        self.novel = CosineHead(classes, targets, scale=scale)
        nn.init.zeros_(self.base.weight)
        nn.init.zeros_(self.base.bias)

    def forward(self, priors: Tensor, refined: Tensor) -> Tensor:
        if priors.shape != refined.shape:
            raise ValueError(
                f"priors have shape {tuple(priors.shape)}, refined {tuple(refined.shape)}; give both for the same"
            )
        novel = self.novel(refined)  # … k -> … targets
        return torch.cat([priors + self.base(priors), novel], dim=-1)
