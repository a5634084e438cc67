import torch
import torch.nn.functional as F

from ablate.models.attention import build_attention
from ablate.models.attention.positions import sinusoids


def attend(tokens, part, heads):
    """One line of tokens (L, C), by torch's own multi-head attention with the same projections."""
    weights = (part.query.weight, part.key.weight, part.value.weight)
    none = torch.empty(0, dtype=tokens.dtype)
    out, _ = F.multi_head_attention_forward(
        tokens[:, None],
        tokens[:, None],
        tokens[:, None],
        tokens.shape[1],
        heads,
        None,
        none.new_zeros(3 * tokens.shape[1]),
        None,
        None,
        False,
        0.0,
        part.out.weight,
        None,
        use_separate_proj_weight=True,
        q_proj_weight=weights[0],
        k_proj_weight=weights[1],
        v_proj_weight=weights[2],
    )
    return out[:, 0]


def test_each_line_is_attended_to_alone():
    module = build_attention("axial", 8, {"heads": 2}).double()
    x = torch.randn(2, 8, 4, 3, dtype=torch.float64)
    first = x.clone()
    for b in range(2):
        for j in range(3):
            tokens = x[b, :, :, j] + sinusoids(8, 4, 1)[..., 0]
            first[b, :, :, j] += attend(tokens.T, module.columns, 2).T
    second = first.clone()
    for b in range(2):
        for i in range(4):
            tokens = first[b, :, i] + sinusoids(8, 1, 3)[:, 0]
            second[b, :, i] += attend(tokens.T, module.rows, 2).T
    torch.testing.assert_close(module(x), second)


def test_a_line_of_one_position_is_said():
    module = build_attention("axial", 8, {})
    assert module.map_notes(1, 5) == (
        "on a 1×5 map a column is one position: query and key of columns get no gradient",
    )
    assert len(module.map_notes(1, 1)) == 2
    assert module.map_notes(2, 2) == ()
