"""Show, Attend and Tell: Neural Image Caption Generation with Visual Attention.

Kelvin Xu, Jimmy Ba, Ryan Kiros, Kyunghyun Cho, Aaron Courville, Ruslan Salakhutdinov, Richard Zemel, Yoshua Bengio,
ICML 2015, arXiv 1502.03044, sections 3.1.2 and 4.
Lesson: notebooks/02_soft_and_hard.ipynb
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from course_lib.checks import check_features


class Decoding(NamedTuple):
    """A caption read word by word. In ``step`` the axis t is missing."""

    outputs: Tensor  # b t embedding_dim: what the next word is predicted from
    weights: Tensor  # b t n: α, where each word looked
    log_prob: Tensor  # b t: log α of the place that was picked; 0 in soft reading, which picks none


class ShowAttendTellCell(nn.Module):
    """Before each word, look at the image again, where the sentence so far says to look.

        e_ti = uᵀ tanh(W_c a_i + W_d h_{t−1} + b)      α_t = softmax_i(e_t)      z_t = β_t Σ_i α_ti a_i
        (h_t, c_t) = LSTM([E y_{t−1}, z_t], (h_{t−1}, c_{t−1}))            output_t = E y_{t−1} + L_h h_t + L_z z_t

    a_i are the n = h·w annotation vectors, the columns of a feature map; E y_{t−1} is the embedding of the word
    before. Hard reading takes one a_i instead of the sum: drawn from α_t in training, the likeliest in eval mode;
    train it with REINFORCE on ``decode(…).log_prob``. p(y_t) ∝ exp(L_o output_t) and the embedding are left to the
    user. W_c is ``key``, W_d ``query``, u ``score``, β_t = σ(w·h_{t−1}) ``selector``; torch's LSTM has two biases
    where the paper has one, and the constant that the paper adds to e_ti is left out: it cancels in the softmax.
    A widely read port takes ReLU for tanh, ``activation="relu"``, a width of its own for it, ``score_dim``, and a
    vector for β_t, which is left out here.

    Args:
        feature_dim: channels D of the feature map.
        embedding_dim: length m of a word's embedding.
        hidden_dim: length of h and c.
        read: "soft" or "hard".
        selector: whether β_t scales z_t (the released soft model) or is 1.
        score_dim: length of what stands in the tanh; D if not given, as in the released code.
        activation: "tanh" or "relu".

    Shape:
        features: b D h w, words: b t m (each the word *before* the one to predict) -> outputs b t m;
        ``attention(features, words)``: b t n, summing to 1 over n. ``decode`` returns both.

    Learned: all layers, torch's default start; h_0 and c_0 come from the mean annotation through a tanh layer.

    Raises:
        ValueError: if read or activation is unknown, or the inputs do not fit.

    >>> cell = ShowAttendTellCell(4, 6, 8)
    >>> weights = cell.attention(torch.ones(1, 4, 1, 2), torch.zeros(1, 3, 6))
    >>> weights.shape, weights.sum(-1).round(decimals=4).tolist()
    (torch.Size([1, 3, 2]), [[1.0, 1.0, 1.0]])
    """

    def __init__(
        self,
        feature_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        *,
        read: str = "soft",
        selector: bool = True,
        score_dim: int | None = None,
        activation: str = "tanh",
    ):
        super().__init__()
        if read not in ("soft", "hard"):
            raise ValueError(f'read="{read}" is unknown; use "soft" or "hard"')
        if activation not in ("tanh", "relu"):
            raise ValueError(f'activation="{activation}" is unknown; use "tanh" or "relu"')
        self.feature_dim, self.embedding_dim, self.read = feature_dim, embedding_dim, read
        self.activation, score_dim = activation, score_dim or feature_dim
        self.key = nn.Linear(feature_dim, score_dim)
        self.query = nn.Linear(hidden_dim, score_dim, bias=False)
        self.score = nn.Linear(score_dim, 1, bias=False)
        self.selector = nn.Linear(hidden_dim, 1) if selector else None
        self.first_hidden = nn.Linear(feature_dim, hidden_dim)
        self.first_memory = nn.Linear(feature_dim, hidden_dim)
        self.lstm = nn.LSTMCell(embedding_dim + feature_dim, hidden_dim)
        self.hidden_out = nn.Linear(hidden_dim, embedding_dim)
        self.context_out = nn.Linear(feature_dim, embedding_dim, bias=False)

    def remember(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The annotations a and their keys W_c a + b, computed once an image. Shape: b D h w -> b n D, b n d."""
        check_features(features, self.feature_dim)
        annotations = features.flatten(2).mT  # b D h w -> b n D
        return annotations, self.key(annotations)

    def start(self, annotations: Tensor) -> tuple[Tensor, Tensor]:
        """The state (h_0, c_0). Shape: b n D -> b hidden_dim twice."""
        mean = annotations.mean(1)  # b D
        return self.first_hidden(mean).tanh(), self.first_memory(mean).tanh()

    def weights(self, keys: Tensor, hidden: Tensor) -> Tensor:
        met = keys + self.query(hidden)[:, None]  # b n d
        e = self.score(met.tanh() if self.activation == "tanh" else met.relu())  # b n 1
        return e.squeeze(-1).softmax(-1)  # b n

    def look(self, annotations: Tensor, alpha: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """The context before β, and log α of the place that was picked. Shape: b n D, b n -> b D, b."""
        if self.read == "soft":
            return (alpha[:, None] @ annotations).squeeze(1), torch.zeros_like(alpha[:, 0])
        if self.training:
            place = torch.multinomial(alpha.detach(), 1, generator=generator)  # b 1
        else:
            place = alpha.argmax(-1, keepdim=True)
        context = annotations.gather(1, place[..., None].expand(-1, 1, annotations.shape[-1]))  # b 1 D
        return context.squeeze(1), alpha.gather(1, place).squeeze(1).log()

    def step(
        self,
        word: Tensor,
        memory: tuple[Tensor, Tensor],
        state: tuple[Tensor, Tensor],
        *,
        generator: Generator | None = None,
    ) -> tuple[Decoding, tuple[Tensor, Tensor]]:
        """One word; ``memory`` is what ``remember`` returned. Shape: word: b m."""
        (annotations, keys), (hidden, _) = memory, state
        alpha = self.weights(keys, hidden)
        context, log_prob = self.look(annotations, alpha, generator)
        if self.selector is not None:
            context = self.selector(hidden).sigmoid() * context
        state = self.lstm(torch.cat([word, context], dim=1), state)
        return Decoding(word + self.hidden_out(state[0]) + self.context_out(context), alpha, log_prob), state

    def decode(self, features: Tensor, words: Tensor, *, generator: Generator | None = None) -> Decoding:
        wanted = (features.shape[0], max(1, words.shape[1]) if words.ndim == 3 else 1, self.embedding_dim)
        if words.shape != wanted:
            raise ValueError(f"words have shape {tuple(words.shape)}; give b t m = {wanted}, t of 1 or more")
        memory, steps = self.remember(features), []
        state = self.start(memory[0])
        for word in words.unbind(1):
            step, state = self.step(word, memory, state, generator=generator)
            steps.append(step)
        return Decoding(*(torch.stack(field, dim=1) for field in zip(*steps, strict=True)))  # b t …

    def attention(self, features: Tensor, words: Tensor) -> Tensor:
        return self.decode(features, words).weights

    def forward(self, features: Tensor, words: Tensor) -> Tensor:
        return self.decode(features, words).outputs


def doubly_stochastic_penalty(weights: Tensor) -> Tensor:
    """Ask that a caption looks equally much at every place: Σ_i (1 − Σ_t α_ti)², averaged over the batch.

    The weights of each word sum to 1 over the n places, so t words share out t in all: the minimum is n (1 − t/n)²,
    where every place gets t/n. It is 0 only if there are as many words as places. A widely read port divides by
    n; the released code sums, as here.

    Shape: weights: b t n -> a number.

    >>> doubly_stochastic_penalty(torch.full((1, 2, 4), 1 / 4)).item()
    1.0
    """
    return (1 - weights.sum(1)).square().sum(-1).mean()
