import pytest
import torch

from course_lib.basics.show_attend_tell import ShowAttendTellCell, doubly_stochastic_penalty
from tests.properties import assert_same, features, randomise

IMAGE, WORDS = features(3, 5, 2, 3), features(3, 4, 7, seed=2)


def cell(**arguments):
    return randomise(ShowAttendTellCell(5, 7, 11, **arguments))


def decode_by_loop(m, image, words, read):
    """One caption, one word, one place at a time; gates in torch's order i, f, g, o."""
    a = [image[:, y, x] for y in range(image.shape[1]) for x in range(image.shape[2])]
    mean = sum(a) / len(a)
    h, c = ((layer.weight @ mean + layer.bias).tanh() for layer in (m.first_hidden, m.first_memory))
    outputs, weights = [], []
    for word in words:
        met = [m.key.weight @ a_i + m.key.bias + m.query.weight @ h for a_i in a]
        e = [m.score.weight[0] @ (one.clamp(min=0) if m.activation == "relu" else one.tanh()) for one in met]
        alpha = torch.stack([torch.exp(e_i) / sum(torch.exp(e_j) for e_j in e) for e_i in e])
        z = sum(w * a_i for w, a_i in zip(alpha, a, strict=True)) if read == "soft" else a[alpha.argmax()]
        if m.selector is not None:
            z = z / (1 + torch.exp(-(m.selector.weight[0] @ h + m.selector.bias)))
        gates = m.lstm.weight_ih @ torch.cat([word, z]) + m.lstm.bias_ih + m.lstm.weight_hh @ h + m.lstm.bias_hh
        i, f, g, o = gates.split(11)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(word + m.hidden_out.weight @ h + m.hidden_out.bias + m.context_out.weight @ z)
        weights.append(alpha)
    return torch.stack(outputs), torch.stack(weights)


@pytest.mark.parametrize("read", ["soft", "hard"])
@pytest.mark.parametrize("options", [{}, {"selector": False}, {"activation": "relu", "score_dim": 3}])
def test_equals_its_equations(read, options):
    model = cell(read=read, **options)
    assert model.key.out_features == options.get("score_dim", 5)
    for b in range(3):
        outputs, weights = decode_by_loop(model, IMAGE[b], WORDS[b], read)
        assert_same(model(IMAGE, WORDS)[b], outputs)
        assert_same(model.attention(IMAGE, WORDS)[b], weights)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match='use "tanh" or "relu"'):
        cell(activation="gelu")


@pytest.mark.parametrize("read", ["soft", "hard"])
def test_forward_applies_attention(read):
    model = cell(read=read)
    alpha = model.attention(IMAGE, WORDS)  # b t n
    annotations, _ = model.remember(IMAGE)
    state = model.start(annotations)
    for t in range(4):
        beta = model.selector(state[0]).sigmoid()
        context = beta * model.look(annotations, alpha[:, t])[0]
        state = model.lstm(torch.cat([WORDS[:, t], context], dim=1), state)
        output = WORDS[:, t] + model.hidden_out(state[0]) + model.context_out(context)
        assert_same(model(IMAGE, WORDS)[:, t], output)


def test_soft_context_is_the_expected_hard_context():
    soft, hard = cell(), cell(read="hard").train()
    annotations, keys = soft.remember(IMAGE)
    alpha = soft.weights(keys, soft.start(annotations)[0])
    many = 20_000
    drawn, log_prob = hard.look(
        annotations[0].expand(many, -1, -1), alpha[0].expand(many, -1), torch.Generator().manual_seed(0)
    )
    expected, _ = soft.look(annotations, alpha)
    assert ((drawn.mean(0) - expected[0]).abs() < 4 * drawn.std(0) / many**0.5).all()
    places = (drawn[:, None] == annotations[0]).all(-1).double()  # which annotation was taken
    assert_same(places.sum(1), torch.ones(many).double())
    assert_same(log_prob, (places * alpha[0]).sum(1).log())


def test_first_word_does_not_know_what_follows():
    model, later = cell(), WORDS.clone()
    later[:, 2:] += 1
    assert_same(model(IMAGE, later)[:, :2], model(IMAGE, WORDS)[:, :2])
    assert not torch.allclose(model(IMAGE, later)[:, 2], model(IMAGE, WORDS)[:, 2])


def test_the_order_of_places_does_not_matter_beyond_moving_the_weights():
    model = cell()
    mirrored = IMAGE.flip(-1)
    assert_same(model(mirrored, WORDS), model(IMAGE, WORDS))
    weights = model.attention(IMAGE, WORDS).unflatten(-1, (2, 3))
    assert_same(model.attention(mirrored, WORDS).unflatten(-1, (2, 3)), weights.flip(-1))


def test_hard_reading_reaches_its_weights_by_the_log_probability_alone():
    model = cell(read="hard", selector=False).train()
    decoding = model.decode(IMAGE, WORDS, generator=torch.Generator().manual_seed(0))
    (by_output,) = torch.autograd.grad(
        decoding.outputs.sum(), model.score.weight, allow_unused=True, retain_graph=True
    )
    (by_log_prob,) = torch.autograd.grad(decoding.log_prob.sum(), model.score.weight)
    assert by_output is None and by_log_prob.abs().sum() > 0


def test_penalty_equals_its_formula_and_has_its_minimum_at_equal_shares():
    weights = features(3, 4, 6).softmax(-1)
    expected = sum((1 - sum(weights[b, t, i] for t in range(4))) ** 2 for b in range(3) for i in range(6)) / 3
    assert_same(doubly_stochastic_penalty(weights), expected)
    least = 6 * (1 - 4 / 6) ** 2
    assert doubly_stochastic_penalty(weights) > least
    assert_same(doubly_stochastic_penalty(torch.full_like(weights, 1 / 6)), torch.tensor(least, dtype=torch.float64))


def test_penalty_vanishes_when_words_and_places_pair_up():
    assert doubly_stochastic_penalty(torch.eye(6).expand(3, 6, 6)) == 0


def test_one_place_gets_all_the_weight():
    assert_same(cell().attention(IMAGE[:, :, :1, :1], WORDS), torch.ones(3, 4, 1).double())


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"give b t m = \(3, 1, 7\), t of 1 or more"):
        cell()(IMAGE, WORDS[:, :0])
    with pytest.raises(ValueError, match=r"give b t m = \(3, 4, 7\)"):
        cell()(IMAGE, features(3, 4, 6))
    with pytest.raises(ValueError, match='read="both"'):
        ShowAttendTellCell(5, 7, 11, read="both")
