"""Graph-Based Global Reasoning Networks (GloRe).

Yunpeng Chen, Marcus Rohrbach, Zhicheng Yan, Shuicheng Yan, Jiashi Feng, Yannis Kalantidis, CVPR 2019,
arXiv 1811.12814, section 3.
Lesson: notebooks/12_graph_reasoning.ipynb
"""

from torch import Tensor, nn

from course_lib.checks import check_features


class GlobalReasoning(nn.Module):
    """Project the pixels to a few nodes, let the nodes talk, and project back the way they came.

        V = B φ(X)    Z = ((I − A_g) V) W_g    Y = X + BN(W_o (Bᵀ Z))

    B = θ(X) is ``assignment``, φ is ``state``, A_g is ``adjacency``, W_g is ``update``, W_o is ``extend``. B is a
    soft assignment without a softmax, of any sign. A_g is learned and the same for all images, so that its sign is
    a matter of taste: the released code has I + A_g and a bias, and so have we. It also has a ReLU before W_g, which
    the paper does not: ``released=True``. The sums V grow with the image; the code can divide them by the number of
    positions: ``normalise=True``.

    ``forward`` moves W_o past Bᵀ: without a bias it may as well act on the m nodes as on the n positions.

    Args:
        channels: number of channels c.
        nodes: number m of nodes.
        states: width of a node's state; 2·nodes by default, as released.
        normalise: whether V is divided by the number of positions.
        released: the released code, which has a ReLU between A_g and W_g.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: B, b m n, for n = h·w positions.

    Learned: φ and θ with bias, A_g with bias, W_g and W_o without, and a batch norm (ε = 1e-4), whose scale and
    shift start at zero: the block starts as the identity. (In the released code the unit's own start is the usual
    one, and the network zeroes the scale afterwards: easily lost when the unit is copied alone.)

    Raises:
        ValueError: if there is no node or state, or the input does not fit.

    >>> import torch
    >>> x = torch.randn(2, 8, 5, 7)
    >>> block = GlobalReasoning(8, nodes=3)
    >>> block.attention(x).shape, bool((block(x) == x).all())
    (torch.Size([2, 3, 35]), True)
    """

    def __init__(
        self,
        channels: int,
        *,
        nodes: int = 64,
        states: int | None = None,
        normalise: bool = False,
        released: bool = False,
    ):
        super().__init__()
        states = 2 * nodes if states is None else states
        if nodes < 1 or states < 1:
            raise ValueError(f"nodes={nodes}, states={states}; use at least 1 of each")
        self.channels, self.normalise, self.released = channels, normalise, released
        self.assignment = nn.Conv1d(channels, nodes, 1)
        self.state = nn.Conv1d(channels, states, 1)
        self.adjacency = nn.Linear(nodes, nodes)
        self.update = nn.Conv1d(states, states, 1, bias=False)
        self.extend = nn.Conv1d(states, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=1e-4)
        nn.init.zeros_(self.norm.weight)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        return self.assignment(x.flatten(2))  # b c n -> b m n

    def reason(self, nodes: Tensor) -> Tensor:
        """((I + A_g) V) W_g, with the nodes in columns. b states m -> b states m."""
        nodes = nodes + self.adjacency(nodes)
        return self.update(nodes.relu() if self.released else nodes)

    def forward(self, x: Tensor) -> Tensor:
        assignment = self.attention(x)
        nodes = self.state(x.flatten(2)) @ assignment.mT  # b states n, b n m -> b states m
        if self.normalise:
            nodes = nodes / assignment.shape[2]
        y = self.extend(self.reason(nodes)) @ assignment  # b c m, b m n -> b c n
        return x + self.norm(y.unflatten(2, x.shape[2:]))
