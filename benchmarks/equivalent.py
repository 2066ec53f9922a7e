"""Mutants of the exercises' answers that are right answers, too: why, and which line became which."""

AXES = "the shapes that the task promises have no other axes: it is the same one"
SIGN = "what is squared, or taken as a distance, has no sign"
ONE = "what has length 1, or the same in every place, may be read at any of them"
SAID = "it says what holds anyway: torch's own choice, or a check of lengths that are equal"
KIND = "the numbers are the same, only of another kind, which is not asked for"

EXPLAINED: dict[str, dict[str, list[str]]] = {
    SIGN: {
        "task_01_2: return -(query[:, None, :] - key[None, :, :]).square().sum(-1) / 2": [
            "return -(key[None, :, :] - query[:, None, :]).square().sum(-1) / 2"
        ],
        "task_02_4: return (1 - weights.sum(dim=1)).square().sum(dim=1).mean()": [
            "return (weights.sum(dim=1) - 1).square().sum(dim=1).mean()"
        ],
        "task_02_4: return places * (1 - words / places) ** 2": ["return places * (words / places - 1) ** 2"],
        "task_02_5: lengths = (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(dim=1)": [
            "lengths = (alpha - torch.eye(len(scores), dtype=scores.dtype)).square().sum(dim=1)"
        ],
    },
    AXES: {
        "task_01_1: scores = query @ key.mT / math.sqrt(query.shape[-1])": [
            "scores = query @ key.mT / math.sqrt(query.shape[1])"
        ],
        "task_01_1: return scores.softmax(dim=-1)": ["return scores.softmax(dim=1)"],
        "task_02_5: alpha = scores.softmax(dim=0)": ["alpha = scores.softmax(dim=-1)"],
    },
    KIND: {
        "task_02_5: lengths = (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(dim=1)": [
            "lengths = (torch.eye(len(scores)) - alpha).square().sum(dim=1)"
        ],
    },
}

EQUIVALENT = {(right, wrong): why for why, rows in EXPLAINED.items() for right in rows for wrong in rows[right]}
