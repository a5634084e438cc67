"""What each operator costs, by one convention: 1 MAC is one multiply-add of a convolution, a linear layer, a
matrix product or attention. All else (elementwise, normalisation, pooling, softmax, interpolation) costs none
and is counted in calls; an operator in neither table is an error, never a zero.

A handler takes the inputs and the outputs of one call: a tensor stands as its shape, a list of tensors as a
list of shapes, anything else as its value (None where it is not a constant). It gives MACs. Names are those
of the traced graph: ``"aten::linear"``, ``"mylib::op"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from ablate.measure.errors import MeasureError

Handler = Callable[[Sequence[Any], Sequence[Any]], int]


def convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Every output position (if transposed, every input position) meets the whole weight once, bias aside."""
    x, weight, transposed = inputs[0], inputs[1], inputs[6]
    return x[0] * prod(weight) * prod((x if transposed else outputs[0])[2:])


def same_convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """A convolution whose padding is a word ("same", "valid")."""
    return outputs[0][0] * prod(inputs[1]) * prod(outputs[0][2:])


def linear(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """(..., K) by a weight (N, K)."""
    return prod(inputs[0]) * inputs[1][0]


def matrix_product(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """(..., M, K) by (..., K, N), batches broadcast; a vector counts as a matrix of one row or column."""
    return prod(outputs[0]) * inputs[0][-1]


def added_matrix_product(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """bias + (..., M, K) by (..., K, N)."""
    return prod(outputs[0]) * inputs[1][-1]


def scaled_dot_product_attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Q Kᵀ and the weighted sum of V, masks and softmax aside: (..., L, E), (..., S, E), (..., S, Ev)."""
    query, key, value = inputs[:3]
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def deformable_convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Every output position meets the whole weight once; sampling between positions counts as resampling."""
    weight, output = inputs[1], outputs[0]
    return output[0] * prod(weight) * prod(output[2:])


def einsum(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Two operands: the product of every index if one is summed over both, else none (it is elementwise)."""
    equation, shapes = inputs[0].replace(" ", ""), inputs[1]
    left, _, result = equation.partition("->")
    operands = left.split(",")
    if len(operands) != 2 or "." in equation or "->" not in equation:
        raise MeasureError(f"einsum {equation!r}: only two operands with all indices written out are counted")
    size = dict(zip(operands[0] + operands[1], (*shapes[0], *shapes[1]), strict=True))
    shared = set(operands[0]) & set(operands[1])
    if not shared - set(result):
        return 0
    # an index of one operand alone that is not in the result is summed before the product
    return prod(size[index] for index in shared | set(result))


COUNTED: dict[str, Handler] = {
    "aten::_convolution": convolution,
    "aten::_convolution_mode": same_convolution,
    "aten::addmm": added_matrix_product,
    "aten::baddbmm": added_matrix_product,
    "aten::bmm": matrix_product,
    "aten::einsum": einsum,
    "aten::linear": linear,
    "aten::matmul": matrix_product,
    "aten::mm": matrix_product,
    "aten::scaled_dot_product_attention": scaled_dot_product_attention,
    "torchvision::deform_conv2d": deformable_convolution,
}

# Operators without multiply-adds of the convention; their in-place forms (a trailing underscore) go with them
FREE_NAMES = {
    "arithmetic, element by element": (
        "abs add addcmul ceil clamp clamp_max clamp_min cos div erf exp floor floor_divide fmod "
        "lerp log log1p maximum minimum mul neg pow reciprocal remainder round rsqrt rsub sign "
        "sin sqrt square sub where"
    ),
    "comparison and logic": (
        "__and__ __or__ bitwise_not eq ge gt isfinite isnan le logical_and logical_not logical_or lt ne"
    ),
    "activations": (
        "celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish "
        "prelu relu relu6 selu sigmoid silu softmax softplus tanh"
    ),
    "normalisation and dropout": (
        "alpha_dropout batch_norm bernoulli dropout feature_dropout group_norm instance_norm "
        "layer_norm rms_norm"
    ),
    "reductions and pooling": (
        "adaptive_avg_pool2d adaptive_max_pool2d all amax amin any argmax argmin avg_pool2d "
        "cumsum frobenius_norm linalg_vector_norm logsumexp max max_pool2d "
        "max_pool2d_with_indices mean min norm prod sort std sum topk var"
    ),
    "resampling": (
        "affine_grid_generator channel_shuffle grid_sampler pixel_shuffle pixel_unshuffle "
        "upsample_bicubic2d upsample_bilinear2d upsample_nearest2d"
    ),
    "shapes, copies and constants": (
        "Bool Float Int IntImplicit ScalarImplicit alias arange as_strided broadcast_to cat chunk "
        "clone concat constant_pad_nd contiguous copy detach diag empty empty_like expand "
        "expand_as eye fill flatten flip full full_like gather im2col index index_put index_select "
        "lift_fresh linspace masked_fill meshgrid movedim narrow new_empty new_full new_ones "
        "new_zeros nonzero numel one_hot ones ones_like pad permute reflection_pad2d repeat "
        "repeat_interleave replication_pad2d reshape reshape_as resolve_conj roll scatter select "
        "size slice split split_with_sizes squeeze stack swapaxes t take_along_dim tensor_split "
        "tile to transpose tril triu type_as unbind unflatten unfold unsqueeze view view_as zero "
        "zeros zeros_like"
    ),
}
FREE = frozenset(f"aten::{name}" for names in FREE_NAMES.values() for name in names.split())


def is_free(name: str) -> bool:
    """True for an operator known to cost no MACs, in place or not."""
    return name in FREE or name.removesuffix("_") in FREE
