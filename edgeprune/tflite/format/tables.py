"""Which slot of which TFLite table holds what, for the tables that edgeprune reads.

Field names and order are those of TensorFlow Lite's `schema.fbs` (version 3). Of the operators'
options only the tables with offsets in them are listed; all others hold numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeprune.tflite.format.flatbuffer import (
    Field,
    Scalar,
    String,
    Subtable,
    Subtables,
    TableType,
    Union,
    Vector,
)

_INTS = Vector("<i4")
_LONGS = Vector("<i8")
_FLOATS = Vector("<f4")
_BYTES = Vector("u1")
_INT = Scalar("i")
_LONG = Scalar("q")
_FLAG = Scalar("B")


def _options(known: int, listed: Mapping[int, TableType]) -> Mapping[int, TableType]:
    return {tag: listed.get(tag, TableType("options")) for tag in range(1, known + 1)}


def _longs(name: str, fields: str) -> TableType:
    return TableType(name, dict.fromkeys(fields.split(), _LONGS))


LAST_OPTIONS = 126
"""Highest `BuiltinOptions` tag that edgeprune knows; higher ones come from newer schemas."""

LAST_OPTIONS_2 = 23
"""Highest `BuiltinOptions2` tag that edgeprune knows."""

_CONVOLUTION_FIELDS: Mapping[str, Field] = {
    "window_strides": _LONGS,
    "padding": _LONGS,
    "lhs_dilation": _LONGS,
    "rhs_dilation": _LONGS,
    "window_reversal": _BYTES,
    "input_batch_dimension": _LONG,
    "input_feature_dimension": _LONG,
    "input_spatial_dimensions": _LONGS,
    "kernel_input_feature_dimension": _LONG,
    "kernel_output_feature_dimension": _LONG,
    "kernel_spatial_dimensions": _LONGS,
    "output_batch_dimension": _LONG,
    "output_feature_dimension": _LONG,
    "output_spatial_dimensions": _LONGS,
    "feature_group_count": _LONG,
    "batch_group_count": _LONG,
    "precision_config": Vector("<u4"),
}

_BUILTIN_OPTIONS = Union(
    _options(
        LAST_OPTIONS,
        {
            3: TableType(
                "ConcatEmbeddingsOptions",
                {
                    "num_channels": _INT,
                    "num_columns_per_channel": _INTS,
                    "embedding_dim_per_channel": _INTS,
                },
            ),
            8: TableType(
                "FullyConnectedOptions",
                {
                    "fused_activation_function": _FLAG,
                    "weights_format": _FLAG,
                    "keep_num_dims": _FLAG,
                    "asymmetric_quantize_inputs": _FLAG,
                    "quantized_bias_type": _FLAG,
                    "quant_spec": _BYTES,
                },
            ),
            17: TableType("ReshapeOptions", {"new_shape": _INTS}),
            30: TableType("SqueezeOptions", {"squeeze_dims": _INTS}),
            111: TableType("VarHandleOptions", {"container": String(), "shared_name": String()}),
            115: TableType("BucketizeOptions", {"boundaries": _FLOATS}),
        },
    )
)

_BUILTIN_OPTIONS_2 = Union(
    _options(
        LAST_OPTIONS_2,
        {
            2: _longs("StablehloBroadcastInDimOptions", "broadcast_dimensions"),
            3: _longs("StablehloSliceOptions", "start_indices limit_indices strides"),
            4: TableType("StablehloConvolutionOptions", _CONVOLUTION_FIELDS),
            5: TableType(
                "StablehloCustomCallOptions",
                {
                    "call_target_name": String(),
                    "has_side_effect": _FLAG,
                    "backend_config": String(),
                    "api_version": _INT,
                    "called_computations": _INTS,
                    "custom_attributes": _BYTES,
                },
            ),
            6: _longs("StablehloReduceOptions", "dimensions"),
            7: TableType(
                "StablehloScatterOptions",
                {
                    "indices_are_sorted": _FLAG,
                    "update_window_dims": _LONGS,
                    "inserted_window_dims": _LONGS,
                    "scatter_dims_to_operand_dims": _LONGS,
                },
            ),
            9: _longs("StablehloDynamicSliceOptions", "slice_sizes"),
            10: _longs(
                "StablehloPadOptions", "edge_padding_low edge_padding_high interior_padding"
            ),
            12: TableType(
                "StablehloDotGeneralOptions",
                {
                    "lhs_batching_dimensions": _LONGS,
                    "rhs_batching_dimensions": _LONGS,
                    "lhs_contracting_dimensions": _LONGS,
                    "rhs_contracting_dimensions": _LONGS,
                    "precision_config": Vector("<u4"),
                },
            ),
            13: _longs(
                "StablehloReduceWindowOptions",
                "window_dimensions window_strides base_dilations window_dilations padding",
            ),
            16: TableType(
                "StablehloGatherOptions",
                {
                    "offset_dims": _LONGS,
                    "collapsed_slice_dims": _LONGS,
                    "start_index_map": _LONGS,
                    "index_vector_dim": _LONG,
                    "slice_sizes": _LONGS,
                },
            ),
            17: _longs("StablehloTransposeOptions", "permutation"),
            21: TableType(
                "StableHLOCompositeOptions",
                {
                    "name": String(),
                    "decomposition_subgraph_index": _INT,
                    "composite_attributes": _BYTES,
                },
            ),
            23: TableType("StablehloCaseOptions", {"branch_subgraph_indices": _INTS}),
        },
    )
)

_INDEX_VECTOR = Union(
    {
        1: TableType("Int32Vector", {"values": _INTS}),
        2: TableType("Uint16Vector", {"values": Vector("<u2")}),
        3: TableType("Uint8Vector", {"values": _BYTES}),
    }
)

_SPARSITY = TableType(
    "SparsityParameters",
    {
        "traversal_order": _INTS,
        "block_map": _INTS,
        "dim_metadata": Subtables(
            TableType(
                "DimensionMetadata",
                {
                    "format": Scalar("b"),
                    "dense_size": _INT,
                    "array_segments": _INDEX_VECTOR,
                    "array_indices": _INDEX_VECTOR,
                },
            )
        ),
    },
)

_QUANTIZATION = TableType(
    "QuantizationParameters",
    {
        "min": _FLOATS,
        "max": _FLOATS,
        "scale": _FLOATS,
        "zero_point": _LONGS,
        "details": Union(
            {
                1: TableType("CustomQuantization", {"custom": _BYTES}),
                2: TableType(
                    "BlockwiseQuantization",
                    {
                        "scales": _INT,
                        "zero_points": _INT,
                        "block_size": _INT,
                        "block_shape": _INTS,
                    },
                ),
                3: TableType(
                    "MultiAxisQuantization",
                    {
                        "scales": _INT,
                        "zero_points": _INT,
                        "block_size": _INT,
                        "quantized_dimensions": _INTS,
                    },
                ),
            }
        ),
        "quantized_dimension": _INT,
    },
)

_TENSOR = TableType(
    "Tensor",
    {
        "shape": _INTS,
        "type": Scalar("b"),
        "buffer": Scalar("I"),
        "name": String(),
        "quantization": Subtable(_QUANTIZATION),
        "is_variable": _FLAG,
        "sparsity": Subtable(_SPARSITY),
        "shape_signature": _INTS,
        "has_rank": _FLAG,
        "variant_tensors": Subtables(
            TableType("VariantSubType", {"shape": _INTS, "type": Scalar("b"), "has_rank": _FLAG})
        ),
        "external_buffer": Scalar("I"),
    },
)

_OPERATOR = TableType(
    "Operator",
    {
        "opcode_index": Scalar("I"),
        "inputs": _INTS,
        "outputs": _INTS,
        "builtin_options": _BUILTIN_OPTIONS,
        "custom_options": _BYTES,
        "custom_options_format": Scalar("b"),
        "mutating_variable_inputs": _BYTES,
        "intermediates": _INTS,
        "large_custom_options_offset": Scalar("Q"),
        "large_custom_options_size": Scalar("Q"),
        "builtin_options_2": _BUILTIN_OPTIONS_2,
    },
)

_SUBGRAPH = TableType(
    "SubGraph",
    {
        "tensors": Subtables(_TENSOR),
        "inputs": _INTS,
        "outputs": _INTS,
        "operators": Subtables(_OPERATOR),
        "name": String(),
    },
)

_TENSOR_MAP = TableType("TensorMap", {"name": String(), "tensor_index": Scalar("I")})

MODEL_TABLE = TableType(
    "Model",
    {
        "version": Scalar("I"),
        "operator_codes": Subtables(
            TableType(
                "OperatorCode",
                {
                    "deprecated_builtin_code": Scalar("b"),
                    "custom_code": String(),
                    "version": Scalar("i", default=1),
                    "builtin_code": _INT,
                },
            )
        ),
        "subgraphs": Subtables(_SUBGRAPH),
        "description": String(),
        "buffers": Subtables(
            TableType("Buffer", {"data": _BYTES, "offset": Scalar("Q"), "size": Scalar("Q")})
        ),
        "metadata_buffer": _INTS,
        "metadata": Subtables(TableType("Metadata", {"name": String(), "buffer": Scalar("I")})),
        "signature_defs": Subtables(
            TableType(
                "SignatureDef",
                {
                    "inputs": Subtables(_TENSOR_MAP),
                    "outputs": Subtables(_TENSOR_MAP),
                    "signature_key": String(),
                    "deprecated_tag": String(),
                    "subgraph_index": Scalar("I"),
                },
            )
        ),
        "external_buffer_groups": Subtables(TableType("ExternalBufferGroup", {"name": String()})),
        "external_buffers": Subtables(
            TableType(
                "ExternalBuffer",
                {
                    "id": Scalar("I"),
                    "group": Scalar("I"),
                    "offset": Scalar("Q"),
                    "length": Scalar("Q"),
                    "packing": String(),
                },
            )
        ),
    },
)
"""The root table of a .tflite file."""
