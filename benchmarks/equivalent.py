"""Mutants of the exercises' answers that are right answers, too: why, and which line became which."""

AXES = "the shapes that the task promises have no other axes: it is the same one"
SIGN = "what is squared, or taken as a distance, has no sign"
ONE = "what has length 1, or the same in every place, may be read at any of them"
SAID = "it says the same in other words: torch's own default, the dtype of a tensor, lengths that are equal"
BACK = "the axis that is left out comes back when the two are subtracted"
KIND = "the numbers are the same, only of another kind, which is not asked for"
RANDOM = "other numbers, none of them 0 and no two equal: whatever can reach a place still does"
ANEW = "the grader sends the module anew with each call; the visible check sees that the given one stays as it is"
SPANNED = "columns in another order, or one twice, fit the same read-out"

BAND = "return sum((w * torch.diag(one, j) for w, one, j in zip(weight, ones, range(-reach, reach + 1)"

NINE = "the same nine channels, or a tenth that the loop over nine taps never reads"
UNREAD = "a grid does not depend on the number of channels that it is given"
ZERO = "it differs at exactly 0 only, where a ReLU has no slope"
EDGE = "it differs at one value only: a wave of frequency h is 0 at all positions, nothing is exactly 1e-6 or 1e-9"
BOTH = "N and M enter both formulas in the same way"
DIVISOR = "no number divides a smaller one, and N over its divisor is whole"
SQUARE = "the kernel is square, as the task promises"
TURNED = "both lines of a pair are turned, or a sum or a comparison takes them in either order: the same comes out"
HIDDEN = "what stands there is multiplied by zero, or replaced by the next line"

COUNTS = "return (4 * n * c * d + 2 * n * n * d, pooling + n * c * c, pooling + c * c, pooling + 2 * c * (c"
GRID = "grid = F.affine_grid(theta, [len(images), images.shape[1], *self.size], align_corners=False)"
SPLIT = "rows, columns, factors = (predicted[:, 0:18:2], predicted[:, 1:18:2], 2 * predicted[:, 18:].sigmoid())"

OUTSIDE = "outside = windows(torch.ones_like(key[:1, :1]))"
UNLIKE = "scores = -(query.flatten(2)[:, :, None] - windows(key)[:, :, 0]) ** 2 + prior.flatten(1)[..., None]"
PADDED = "kernel = kernel + F.pad(scale[:, None, None, None] * weight, [(size - weight.shape"
MELTED = "return (best, 1 - (each - best).square().sum().item() / power if power > 0 else 1.0)"
LACKS = "return (gates, not bool((lacks & lacks.mT).any()), bool(product))"
AWAKE = "numbers.copy_(torch.rand_like(numbers)"
MOVED = "moved = (awake(changed) - awake(x)).abs()"
LEFT = "left = (inputs[new] @ weights)[:, 0] - targets[new]"
FRESH = "scores[m, k] = 1 - left.square().sum() / (targets[new]"
TABLE = "scores = torch.empty(len(features),"
WITH_ONES = "inputs = torch.cat([one, torch.ones_like(one[:, :1])], dim=1)"
EXPLAINED: dict[str, dict[str, list[str]]] = {
    ANEW: {"task_19_2: awake = copy.deepcopy(module).eval()": ["awake = module.eval()"]},
    RANDOM: {
        f"task_19_2: {AWAKE} + 0.5)": [f"{AWAKE} - 0.5)", f"{AWAKE})", f"{AWAKE} + 1.5)", f"{AWAKE} + -0.5)"],
        "task_19_2: changed[:, :, p, q] += torch.randn_like(x[:, :, p, q])": ["changed[:, :, p, q] += x[:, :, p, q]"],
    },
    SPANNED: {
        f"task_19_4: {WITH_ONES}": [
            "inputs = torch.cat([torch.ones_like(one[:, :1]), one], dim=1)",
            "inputs = torch.cat([one, torch.ones_like(one[:, :2])], dim=1)",
        ],
    },
    SQUARE: {
        "task_16_1: extent = dilation * (second.shape[-1] - 1) + 1": [
            "extent = dilation * (second.shape[-2] - 1) + 1"
        ],
        "task_16_1: size, kernel, bias = (max(first.shape[-1], extent), 0, 0)": [
            "size, kernel, bias = (max(first.shape[-2], extent), 0, 0)"
        ],
        f"task_16_1: {PADDED}[-1]) // 2] * 4)": [f"{PADDED}[-2]) // 2] * 4)"],
        "task_16_3: y = F.conv2d(x.reshape(1, b * c, h, w), mixed, padding=kernels.shape[-1] // 2, groups=b)": [
            "y = F.conv2d(x.reshape(1, b * c, h, w), mixed, padding=kernels.shape[-2] // 2, groups=b)"
        ],
    },
    TURNED: {
        "task_15_1: return sum(((z @ w0.mT).relu() @ w1.mT for z in (mean, peak))).sigmoid()": [
            "return sum(((z @ w0.mT).relu() @ w1.mT for z in (peak, mean))).sigmoid()"
        ],
        "task_15_1: peak = torch.where(mask.any(dim=3).any(dim=2), peak, 0.0)": [
            "peak = torch.where(mask.any(dim=2).any(dim=2), peak, 0.0)"
        ],
        "task_15_2: same_or_opposite = pattern == pattern[:1]": ["same_or_opposite = pattern != pattern[:1]"],
        "task_16_1: size, kernel, bias = (max(first.shape[-1], extent), 0, 0)": [
            "size, bias, kernel = (max(first.shape[-1], extent), 0, 0)",
            "size, kernel, bias = (max(extent, first.shape[-1]), 0, 0)",
        ],
        "task_18_2: said = (p * colours).sum() * (p * claimed).sum()": [
            "said = (p / colours).sum() * (p * claimed).sum()",  # a colour is 1 or -1
            "said = (p * colours).sum() * (p / claimed).sum()",
        ],
        "task_18_3: return rises - falls": ["return falls - rises"],  # of rows and of columns: their product stays
    },
    SIGN: {
        f"task_19_2: {MOVED} > 1e-09": ["moved = (awake(x) - awake(changed)).abs() > 1e-09"],
        f"task_19_4: {LEFT}": ["left = targets[new] - (inputs[new] @ weights)[:, 0]"],
        f"task_19_4: {FRESH} - targets[new].mean()).square().sum()": [
            f"{FRESH}.mean() - targets[new]).square().sum()"
        ],
        f"task_16_2: {MELTED}": [MELTED.replace("each - best", "best - each")],
        f"task_13_3: {UNLIKE}": [
            "scores = -(windows(key)[:, :, 0] - query.flatten(2)[:, :, None]) ** 2 + prior.flatten(1)[..., None]"
        ],
        "task_04_1: squares = mask * (x - mean[:, :, None, None]).square()": [
            "squares = mask * (mean[:, :, None, None] - x).square()"
        ],
        "task_04_2: v = v - v.mean(dim=2, keepdim=True)": ["v = v.mean(dim=2, keepdim=True) - v"],
        "task_07_1: across = (1 - (x[..., None] - torch.arange(w)).abs()).clamp(min=0)": [
            "across = (1 - (torch.arange(w) - x[..., None]).abs()).clamp(min=0)"
        ],
        "task_07_1: down = (1 - (y[..., None] - torch.arange(h)).abs()).clamp(min=0)": [
            "down = (1 - (torch.arange(h) - y[..., None]).abs()).clamp(min=0)"
        ],
        "task_08_1: nearness = (1 - (places[..., None] - torch.arange(w)).abs()).clamp(min=0)": [
            "nearness = (1 - (torch.arange(w) - places[..., None]).abs()).clamp(min=0)"
        ],
        "task_08_3: down, across = (1 - (taps.T[..., None] - cells).abs()).clamp(min=0)": [
            "down, across = (1 - (cells - taps.T[..., None]).abs()).clamp(min=0)"
        ],
        "task_09_1: distance = (query[:, None] - key[None]).square().mean(dim=-1)": [
            "distance = (key[None] - query[:, None]).square().mean(dim=-1)"
        ],
        "task_10_2: found.append((rows[:, None] - rows[None]).abs().sum() / 2 / (k * (k - 1)))": [
            "found.append((rows[None] - rows[:, None]).abs().sum() / 2 / (k * (k - 1)))"
        ],
        "task_01_2: return -(query[:, None, :] - key[None, :, :]).square().sum(-1) / 2": [
            "return -(key[None, :, :] - query[:, None, :]).square().sum(-1) / 2"
        ],
        "task_02_1: return (alpha * (values - read[:, None]).square().sum(dim=2)).sum(dim=1)": [
            "return (alpha * (read[:, None] - values).square().sum(dim=2)).sum(dim=1)"
        ],
        "task_02_4: hard = more * each ** 2 + (places - more) * (1 - each) ** 2": [
            "hard = more * each ** 2 + (places - more) * (each - 1) ** 2"
        ],
        "task_02_4: soft = places * (1 - words / places) ** 2": ["soft = places * (words / places - 1) ** 2"],
        "task_02_5: lengths = (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(dim=1)": [
            "lengths = (alpha - torch.eye(len(scores), dtype=scores.dtype)).square().sum(dim=1)"
        ],
        "task_06_2: log_prob = -((drawn - mean) / std).square() / 2 - math.log(std) - math.log(2 * math.pi) / 2": [
            "log_prob = -((mean - drawn) / std).square() / 2 - math.log(std) - math.log(2 * math.pi) / 2"
        ],
        "task_06_5: log_prob = normal_log_prob(place, mean, self.std)": [
            "log_prob = normal_log_prob(mean, place, self.std)"
        ],
    },
    NINE: {
        f"task_08_4: {SPLIT}": [
            SPLIT.replace("0:18:2", "0:19:2"),
            SPLIT.replace("0:18:2", "0:17:2"),
            SPLIT.replace("1:18:2", "1:19:2"),
        ],
    },
    UNREAD: {f"task_07_5: {GRID}": [GRID.replace("shape[1]", "shape[2]"), GRID.replace("shape[1]", "shape[0]")]},
    ZERO: {
        "task_03_3: d = w_squeeze.mT @ ((u > 0) * (w_excite.mT @ a))": [
            "d = w_squeeze.mT @ ((u >= 0) * (w_excite.mT @ a))"
        ],
    },
    EDGE: {
        f"task_19_2: {MOVED} > 1e-09": [f"{MOVED} >= 1e-09"],
        "task_04_2: v = torch.where(v.abs().amax(dim=2, keepdim=True) > 1e-06, v, 0.0)": [
            "v = torch.where(v.abs().amax(dim=2, keepdim=True) >= 1e-06, v, 0.0)"
        ],
        "task_04_3: if u < h and v < w:": ["if u <= h and v < w:", "if u < h and v <= w:"],
    },
    BOTH: {
        "task_09_5: n, m, d = (height * width, height // subsample * (width // subsample), channels // 2)": [
            "m, n, d = (height * width, height // subsample * (width // subsample), channels // 2)",
            "n, m, d = (height // subsample * (width // subsample), height * width, channels // 2)",
        ],
    },
    BACK: {
        "task_11_5: scores = scores - scores.logsumexp(dim=0, keepdim=True)": [
            "scores = scores - scores.logsumexp(dim=0)",
            "scores = scores - scores.logsumexp(dim=0, keepdim=False)",
        ],
    },
    ONE: {
        f"task_19_4: {LEFT}": [LEFT.replace("[:, 0]", "[:, -1]")],
        "task_18_4: p = logits.softmax(dim=2).gather(2, picked)[..., 0]": [
            "p = logits.softmax(dim=2).gather(2, picked)[..., -1]"
        ],
        f"task_13_2: {OUTSIDE}[:, 0] == 0": [
            f"{OUTSIDE}[0, :] == 0",
            f"{OUTSIDE}[:, -1] == 0",
            f"{OUTSIDE.replace(':1]', ':2]')}[:, 0] == 0",
        ],
        "task_13_3: outside = windows(torch.ones_like(key))[:, :, 0] == 0": [
            "outside = windows(torch.ones_like(key))[:, 0, :] == 0",
            "outside = windows(torch.ones_like(key))[:, :, -1] == 0",
        ],
        f"task_13_3: {UNLIKE}": [UNLIKE.replace("(key)[:, :, 0]", "(key)[:, :, -1]")],
        "task_09_1: return F.unfold(padded, patch_size)[0].mT": ["return F.unfold(padded, patch_size)[-1].mT"],
        "task_03_3: return s[:, None, None] * upstream + d[:, None, None] / x[0].numel()": [
            "return s[:, None, None] * upstream + d[:, None, None] / x[1].numel()",
            "return s[:, None, None] * upstream + d[:, None, None] / x[-1].numel()",
        ],
        "task_14_3: total = identity = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype)": [
            "total = identity = torch.eye(maps[0].shape[-2], dtype=maps[0].dtype)",
            "total = identity = torch.eye(maps[-1].shape[-1], dtype=maps[0].dtype)",
            "total = identity = torch.eye(maps[0].shape[-1], dtype=maps[-1].dtype)",
        ],
        "task_05_4: return (torch.zeros_like(p[0]), (p * s_hat).sum(dim=0), p.sum(dim=0))": [
            "return (torch.zeros_like(p[1]), (p * s_hat).sum(dim=0), p.sum(dim=0))",
            "return (torch.zeros_like(p[-1]), (p * s_hat).sum(dim=0), p.sum(dim=0))",
        ],
        "task_06_5: mean, expected = (self.locate(state.detach()), self.expect(state.detach())[:, 0])": [
            "mean, expected = (self.locate(state.detach()), self.expect(state.detach())[:, -1])"
        ],
    },
    SAID: {
        "task_19_2: reached[:, :, p, q] = moved.any(dim=1).any(dim=0)": [
            "reached[:, :, p, q] = moved.any(dim=0).any(dim=0)"
        ],
        f"task_19_4: {TABLE} int(fold.max()) + 1, dtype=targets.dtype)": [
            f"{TABLE} fold.max() + 1, dtype=targets.dtype)"
        ],
        "task_04_4: mine = F.one_hot(nearest, len(codewords)).to(x.dtype)": [
            "mine = F.one_hot(nearest, len(codewords))",
            "mine = F.one_hot(nearest, len(codewords)).to(x)",
        ],
        "task_16_4: best = logits.topk(k, dim=1).indices": ["best = logits.topk(k).indices"],
        "task_17_1: weights = scores[:, None].expand(may.shape).masked_fill(~may, float('-inf')).softmax(dim=2)": [
            "weights = scores[:, None].masked_fill(~may, float('-inf')).softmax(dim=2)"
        ],
        "task_11_1: place = torch.stack(torch.meshgrid(*axes, indexing='ij')).flatten(1)": [
            "place = torch.stack(torch.meshgrid(*axes)).flatten(1)"
        ],
        "task_11_3: member = torch.nn.functional.one_hot(cells).to(key.dtype).mT": [
            "member = torch.nn.functional.one_hot(cells).to(key).mT"
        ],
        "task_13_3: k, groups = (prior.shape[-1], query.shape[1])": [
            "k, groups = (prior.shape[-2], query.shape[1])",
            "k, groups = (prior.shape[1], query.shape[1])",
        ],
        "task_13_4: return max(k - 2, 0)": ["return max(0, k - 2)"],
        "task_12_2: return (heard, min(m, n))": ["return (heard, min(n, m))"],
        "task_02_3: picked = torch.zeros_like(y).scatter(-1, noisy.topk(picks, dim=-1).indices, 1 / picks)": [
            "picked = torch.zeros_like(y).scatter(-1, noisy.topk(picks).indices, 1 / picks)"
        ],
        "task_04_3: u, v = (u * max(h // 7, 1), v * max(w // 7, 1))": [
            "u, v = (u * max(1, h // 7), v * max(w // 7, 1))",
            "u, v = (u * max(h // 7, 1), v * max(1, w // 7))",
        ],
        "task_07_1: down, across = torch.meshgrid(y, x, indexing='ij')": ["down, across = torch.meshgrid(y, x)"],
        f"task_07_5: {GRID}": [GRID.replace(", align_corners=False", "")],
        "task_07_5: return F.grid_sample(images - self.background, grid, align_corners=False) + self.background": [
            "return F.grid_sample(images - self.background, grid) + self.background"
        ],
        "task_03_4: return x * F.interpolate(cells.sigmoid(), size=x.shape[2:], mode='nearest')": [
            "return x * F.interpolate(cells.sigmoid(), size=x.shape[2:])"
        ],
        "task_14_4: picture = F.interpolate(picture, size=new_grid, mode='bicubic', align_corners=False)": [
            "picture = F.interpolate(picture, size=new_grid, mode='bicubic')"
        ],
        f"task_05_5: {BAND}, strict=True)))": [f"{BAND})))", f"{BAND}, strict=False)))"],
        "task_06_3: reward = (logits.argmax(dim=1) == labels).to(logits.dtype)": [
            "reward = (logits.argmax(dim=1) == labels).to(logits)"
        ],
        "task_06_5: advantage = (logits.argmax(dim=1) == labels).to(logits.dtype) - expected": [
            "advantage = (logits.argmax(dim=1) == labels).to(logits) - expected"
        ],
    },
    AXES: {
        "task_08_3: k = weight.shape[2]": ["k = weight.shape[3]"],
        "task_07_1: h, w = images.shape[-2:]": ["h, w = images.shape[2:]"],
        "task_09_1: weights = (-distance / bandwidth ** 2).softmax(dim=-1)": [
            "weights = (-distance / bandwidth ** 2).softmax(dim=1)"
        ],
        "task_01_1: scores = query @ key.mT / math.sqrt(query.shape[-1])": [
            "scores = query @ key.mT / math.sqrt(query.shape[1])"
        ],
        "task_01_1: return scores.softmax(dim=-1)": ["return scores.softmax(dim=1)"],
        "task_02_5: alpha = scores.softmax(dim=0)": ["alpha = scores.softmax(dim=-1)"],
    },
    HIDDEN: {
        "task_17_1: x = torch.where(real[:, None], x, 0.0)": [
            "x = torch.where(real[:, None], x, 1.0)",
            "x = torch.where(real[:, None], x, -1.0)",
        ],
        "task_12_1: x = torch.where(real[:, None], x, 0.0)": [
            "x = torch.where(real[:, None], x, 1.0)",
            "x = torch.where(real[:, None], x, -1.0)",
        ],
        "task_12_5: degree = torch.where(linked, degree[:, None], 1.0)": [
            "degree = torch.where(linked, degree[:, None], 2.0)",
            "degree = torch.where(linked, degree[:, None], 0.0)",
        ],
    },
    DIVISOR: {
        "task_17_2: divisors = [t for t in range(1, tokens + 1) if tokens % t == 0]": [
            "divisors = [t for t in range(1, tokens + 2) if tokens % t == 0]"
        ],
        "task_17_2: return min(divisors, key=lambda t: t + tokens // t)": [
            "return min(divisors, key=lambda t: t + tokens / t)"
        ],
    },
    KIND: {
        "task_19_2: reached = torch.zeros(h, w, h, w, dtype=torch.bool)": ["reached = torch.zeros(h, w, h, w)"],
        "task_15_2: gates = bool((pattern == pattern.any(dim=1)[:, None] & pattern.any(dim=0)).all())": [
            "gates = (pattern == pattern.any(dim=1)[:, None] & pattern.any(dim=0)).all()"
        ],
        f"task_15_2: {LACKS}": [
            "return (gates, not bool((lacks & lacks.mT).any()), product)",
            "return (gates, not (lacks & lacks.mT).any(), bool(product))",
        ],
        "task_16_2: power = each.square().sum().item()": ["power = each.square().sum()"],
        f"task_16_2: {MELTED}": [MELTED.replace("sum().item()", "sum()")],
        "task_14_5: d, n = (embed_dim, height // patch_size * (width // patch_size))": [
            "d, n = (embed_dim, height / patch_size * (width // patch_size))",
            "d, n = (embed_dim, height // patch_size * (width / patch_size))",
        ],
        "task_09_5: n, m, d = (height * width, height // subsample * (width // subsample), channels // 2)": [
            "n, m, d = (height * width, height // subsample * (width // subsample), channels / 2)"
        ],
        "task_10_5: c, n, d = (channels, positions, channels // 2)": [
            "c, n, d = (channels, positions, channels / 2)"
        ],
        f"task_10_5: {COUNTS} // reduction))": [f"{COUNTS} / reduction))"],
        "task_02_5: lengths = (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(dim=1)": [
            "lengths = (torch.eye(len(scores)) - alpha).square().sum(dim=1)"
        ],
    },
}

EQUIVALENT = {(right, wrong): why for why, rows in EXPLAINED.items() for right in rows for wrong in rows[right]}
