"""The rule of each kind of layer, and the reasons why some kinds have none."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgeprune.pruning.channels import constants, merging, mixing, passing, selecting, shaping
from edgeprune.pruning.channels.rule import ChannelRule

_ELEMENTWISE = (
    "ReLU LeakyReLU ELU Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise "
    "GaussianDropout AlphaDropout ActivityRegularization Identity StochasticDepth"
)
_SPATIAL = (
    "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D "
    "ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D "
    "UpSampling2D UpSampling3D Resizing"
)
_GLOBAL = (
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D "
    "GlobalMaxPooling2D GlobalMaxPooling3D"
)
_MERGING = "Add Subtract Multiply Maximum Minimum Average"

LAYER_RULES: Mapping[str, ChannelRule] = MappingProxyType(
    {
        "Dense": mixing.dense,
        **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), mixing.convolution),
        **dict.fromkeys(
            ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
            mixing.transposed_convolution,
        ),
        **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), mixing.depthwise_convolution),
        **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), mixing.separable_convolution),
        "Embedding": mixing.embedding,
        "BatchNormalization": passing.batch_normalization,
        "LayerNormalization": passing.layer_normalization,
        "RMSNormalization": passing.rms_normalization,
        "GroupNormalization": passing.group_normalization,
        "PReLU": passing.prelu,
        "LayerScale": passing.layer_scale,
        "Activation": passing.activation,
        "Rescaling": passing.rescaling,
        **dict.fromkeys(_ELEMENTWISE.split(), passing.elementwise),
        **dict.fromkeys(_SPATIAL.split(), passing.spatial),
        **dict.fromkeys(_GLOBAL.split(), passing.global_pooling),
        **dict.fromkeys(_MERGING.split(), merging.elementwise_merge),
        "Concatenate": merging.concatenate,
        "Flatten": shaping.flatten,
        "Reshape": shaping.reshape,
        "Permute": shaping.permute,
        "RepeatVector": shaping.repeat,
    }
)
"""Rules by class name, for Keras' own layers."""

_ELEMENTWISE_OPERATIONS = (
    "Absolute Abs Clip Exp Log Log1p Negative Reciprocal Sign Square Sqrt Tanh Relu Relu6 Sigmoid "
    "Softplus Softsign SoftShrink Silu Squareplus LogSigmoid LeakyRelu HardSigmoid HardSilu Elu "
    "Selu Gelu Celu TanhShrink HardTanh HardShrink Threshold Rsqrt Erf Cast Round Floor Ceil Sin "
    "Cos StopGradient ZerosLike LogicalNot"
)
_MERGING_OPERATIONS = (
    "Add Subtract Multiply Divide TrueDivide FloorDivide Mod Maximum Minimum Power Arctan2 Greater "
    "GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr Where"
)

OPERATION_RULES: Mapping[str, ChannelRule] = MappingProxyType(
    {
        **dict.fromkeys(_ELEMENTWISE_OPERATIONS.split(), passing.elementwise),
        **dict.fromkeys(_MERGING_OPERATIONS.split(), merging.elementwise_merge),
        **dict.fromkeys(("Mean", "Sum", "Max", "Min", "Amax", "Amin"), passing.reduction),
        "Concatenate": merging.concatenate,
        "Matmul": merging.matmul,
        "GetItem": selecting.get_item,
        "Slice": selecting.slice_of,
        "Split": selecting.split,
        "Take": selecting.take,
        "Flip": selecting.flip,
        "Stack": selecting.stack,
        "Unstack": selecting.unstack,
        "Tile": selecting.tile,
        "Pad": selecting.pad,
        "Reshape": shaping.reshape,
        "ExpandDims": shaping.reshape,
        "Squeeze": shaping.squeeze,
        "Transpose": shaping.transpose,
        "DepthToSpace": shaping.depth_to_space,
        "SpaceToDepth": shaping.space_to_depth,
    }
)
"""Rules by class name, for the operations behind `keras.ops` functions."""

LIFTED_RULES: Mapping[str, ChannelRule] = MappingProxyType(
    {
        "ConstantOperand": constants.constant_operand,
        "HeldConstant": constants.held_constant,
        "ChannelPad": constants.channel_pad,
        "LegacyResize": passing.spatial,
        "Past": constants.past,
        "Saturate": passing.elementwise,
    }
)
"""Rules by class name, for the layers of `conversion/lift/layers.py`."""
_LIFTED = "edgeprune.conversion.lift."

_STAYING: Mapping[str, str] = MappingProxyType(
    {
        "Island": "an island of the file, which the interpreter runs, reads or writes them",
        "KeptAside": "operators of the file that no output depends on read them",
    }
)
"""Why channels stay at the layers of `conversion/lift/island.py`."""

_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "MultiHeadAttention": "attention splits its channels into heads",
        "GroupedQueryAttention": "attention splits its channels into heads",
        "Attention": "attention compares its channels one by one",
        "AdditiveAttention": "attention compares its channels one by one",
        "Softmax": "a softmax reads all channels at once",
        "Lambda": "a Lambda can do anything",
        "Normalization": "its statistics are part of its configuration",
    }
)


def rule_for(operation: Any, own: Mapping[type, ChannelRule]) -> ChannelRule | str:
    """The rule of a layer or operation, or the reason why its channels cannot be followed.

    Args:
      operation: a layer or operation of a Keras graph.
      own: the user's rules by class, which take precedence.
    """
    kind = type(operation)
    for given, rule in own.items():
        if kind is given:
            return rule
    name = kind.__name__
    if kind.__module__.startswith(_LIFTED):
        found = LIFTED_RULES.get(name) or _STAYING.get(name)
        if found is not None:
            return found
    if not kind.__module__.startswith("keras."):
        return f"there is no rule for the custom layer '{name}'"
    is_function = kind.__module__.startswith("keras.src.ops.")
    rules = OPERATION_RULES if is_function else LAYER_RULES
    what = f"the operation '{name}'" if is_function else f"'{name}'"
    return rules.get(name) or _REASONS.get(name) or f"there is no rule for {what}"
