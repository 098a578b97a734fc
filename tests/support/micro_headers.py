"""Headers that stand in for those of TensorFlow Lite Micro, which no package ships.

They declare what generated firmware uses. The names of methods are those of
micro_mutable_op_resolver.h of tflite-micro at commit 90b983c; the wheel of tflite-micro has a
symbol for the operator of each. Classes were in the namespace `tflite` there, and are in
`tflite::micro` in the wheel of October 2026.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Place: TypeAlias = Literal["tflite", "tflite::micro"]
"""The namespace of the classes."""
_METHODS = """
    Abs Add AddN ArgMax ArgMin AssignVariable AveragePool2D BatchMatMul BatchToSpaceNd
    BroadcastArgs BroadcastTo CallOnce Cast Ceil CircularBuffer Concatenation Conv2D Cos CumSum
    Decode Delay DepthToSpace DepthwiseConv2D Dequantize DetectionPostprocess Div
    DynamicUpdateSlice EmbeddingLookup Energy Elu Equal EthosU Exp ExpandDims FftAutoScale Fill
    FilterBank FilterBankLog FilterBankSquareRoot FilterBankSpectralSubtraction Floor FloorDiv
    FloorMod Framer FullyConnected Gather GatherNd Greater GreaterEqual HardSwish If Irfft
    L2Normalization L2Pool2D LeakyRelu Less LessEqual Log LogicalAnd LogicalNot LogicalOr Logistic
    LogSoftmax Maximum MaxPool2D MirrorPad Mean Minimum Mul Neg NotEqual OverlapAdd Pack Pad PadV2
    PCAN Prelu Quantize ReadVariable ReduceAll ReduceMax ReduceMin Relu Relu6 Reshape
    ResizeBilinear ResizeNearestNeighbor ReverseV2 Rfft Round Rsqrt SelectV2 Shape Sin Slice
    Softmax SpaceToBatchNd SpaceToDepth Split SplitV Squeeze Sqrt Square SquaredDifference
    StridedSlice Stacker Sub Sum Svdf Tanh TransposeConv Transpose Unpack
    UnidirectionalSequenceLSTM VarHandle While Window ZerosLike
"""
RESOLVER_METHODS = tuple(_METHODS.split())
"""Behind `Add`, of `MicroMutableOpResolver`, beside `AddCustom`."""
_RESOLVER = """
#pragma once
#include "micro_interpreter.h"
OPEN
template <unsigned int count>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  unsigned int added = 0;
  TfLiteStatus AddCustom(const char*, const TFLMRegistration*) { return Add(); }
METHODS
 private:
  TfLiteStatus Add() { return added++ < count ? kTfLiteOk : kTfLiteError; }
};
CLOSE
"""
_INTERPRETER = """
#pragma once
#include <cstddef>
#include <cstdint>
TYPES_OPEN
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
union TfLitePtrUnion {
  float* f; std::int8_t* int8; std::uint8_t* uint8; std::int16_t* i16; std::int32_t* i32;
  std::int64_t* i64;
};
struct TfLiteTensor { TfLitePtrUnion data; };
struct TFLMRegistration;
TYPES_CLOSE
namespace tflite { struct Model {}; }
OPEN
class MicroOpResolver {};
class MicroAllocator {
 public:
  std::uint8_t* arena;
  std::size_t size;
  static MicroAllocator* Create(std::uint8_t* arena, std::size_t size) {
    static MicroAllocator made{arena, size};
    return &made;
  }
};
class MicroResourceVariables {
 public:
  int count;
  static MicroResourceVariables* Create(MicroAllocator*, int count) {
    static MicroResourceVariables made{count};
    return &made;
  }
};
class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, MicroAllocator* allocator,
                   MicroResourceVariables*)
      : MicroInterpreter(model, resolver, allocator->arena, allocator->size) {}
  MicroInterpreter(const Model*, const MicroOpResolver&, std::uint8_t* arena, std::size_t size)
      : room(size) { in.data.int8 = reinterpret_cast<std::int8_t*>(arena); out = in; }
  TfLiteStatus AllocateTensors() { return room < 64 ? kTfLiteError : kTfLiteOk; }
  TfLiteStatus Invoke() { return kTfLiteOk; }
  TfLiteTensor* input(std::size_t) { return &in; }
  TfLiteTensor* output(std::size_t) { return &out; }
 private:
  std::size_t room;
  TfLiteTensor in, out;
};
CLOSE
"""
_INTERPRETER_ALONE = """
#pragma once
#include "micro_interpreter.h"
"""
_SCHEMA = """
#pragma once
#include "../micro/micro_interpreter.h"
namespace tflite {
inline const Model* GetModel(const void*) { static Model model; return &model; }
}
"""


def micro_headers(place: Place = "tflite") -> dict[str, str]:
    """The headers by their paths below `tensorflow/lite`.

    The interpreter gives its inputs as outputs.
    """
    names = place.split("::")
    opened = " ".join(f"namespace {name} {{" for name in names)
    closed = "}" * len(names)
    types = (opened, closed) if len(names) > 1 else ("", "")
    methods = "\n".join(
        f"  TfLiteStatus Add{name}() {{ return Add(); }}" for name in RESOLVER_METHODS
    )
    interpreter = _INTERPRETER.replace("TYPES_OPEN", types[0]).replace("TYPES_CLOSE", types[1])
    return {
        "micro/micro_mutable_op_resolver.h": _RESOLVER.replace("METHODS", methods)
        .replace("OPEN", opened)
        .replace("CLOSE", closed),
        "micro/micro_interpreter.h": interpreter.replace("OPEN", opened).replace("CLOSE", closed),
        "micro/micro_allocator.h": _INTERPRETER_ALONE,
        "micro/micro_resource_variable.h": _INTERPRETER_ALONE,
        "schema/schema_generated.h": _SCHEMA,
    }
