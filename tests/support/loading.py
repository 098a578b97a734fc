"""A small classifier to write snippets for, and headers that stand in for those of the runtimes.

No package that can be installed ships the C++ headers of LiteRT. These stand-ins declare what
snippets use of them: names and types are those of tflite/core at LiteRT v2.2.0, and a test holds
them against the symbols of the wheel of tflite-runtime.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.report.loading.snippet import Snippet
from edgeprune.tflite.class_names import Port, with_class_names
from edgeprune.tflite.format.draft import load, write
from tests.support.tflite_builder import Array, Net

NAMES = ("ant", "bee", "cow")
WEIGHTS = np.random.default_rng(0).integers(-20, 20, (3, 48)).astype(np.int8)
MANIFEST = {
    "schema": 1,
    "device": "raspberry-pi-5",
    "route": "int8",
    "scale": {"x0": [127.5, 127.5]},
}


def classifier(
    path: Path,
    *,
    scale: float = 1 / 127.5,
    zero_point: int = -1,
    names: Sequence[str] = NAMES,
    manifest: object = MANIFEST,
    tensor: str = "image",
    operators: int = 1,
) -> Path:
    """One FULLY_CONNECTED of `WEIGHTS` on an int8 picture of 4x4 pixels; RELUs in front of it."""
    net = Net()
    x = last = net.tensor(tensor, (1, 4, 4, 3), "int8", scales=[scale], zero_point=zero_point)
    for number in range(operators - 1):
        made = net.tensor(
            f"relu{number}", (1, 4, 4, 3), "int8", scales=[scale], zero_point=zero_point
        )
        net.operator("RELU", [last], [made], 2)
        last = made
    w = net.constant("w", WEIGHTS, scales=[0.01])
    y = net.tensor("scores", (1, 3), "int8", scales=[0.1], zero_point=5)
    net.operator("FULLY_CONNECTED", [last, w, -1], [y], 4, schema.FullyConnectedOptionsT())
    if manifest is not None:
        net.metadata("edgeprune", json.dumps(manifest).encode())
    net.save(path, [x], [y])
    if names:
        draft = load(path)
        write(with_class_names(draft, names, [Port("x0")], [Port("y0")]), path)
    return path


def with_variables(path: Path) -> Path:
    """A file that keeps two variables, one of them read twice."""
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4))
    for number, name in enumerate((b"a", b"b", b"a")):
        handle = net.tensor(f"handle{number}", (1,), "resource")
        options = schema.VarHandleOptionsT(container=b"", sharedName=name)
        net.operator("VAR_HANDLE", [], [handle], 1, options)
    net.operator("RELU", [x], [y])
    return net.save(path, [x], [y])


def scores_of(pixels: Array) -> Array:
    """The scores of a picture `[4, 4, 3]` of values from 0 to 255, in real numbers."""
    x = (pixels.astype(np.float64) - 127.5) / 127.5
    return (WEIGHTS * 0.01) @ x.reshape(-1)


def write_parts(snippet: Snippet, folder: Path) -> list[Path]:
    """Writes the files of a snippet; returns their paths."""
    paths = [folder / part.name for part in snippet.parts]
    for path, part in zip(paths, snippet.parts, strict=True):
        path.write_text(part.text, encoding="utf-8")
    return paths


def compile_all(folder: Path, sources: Sequence[Path], *more: str) -> Path:
    """Compiles sources, warnings being errors; returns the program or, with `-c`, the object."""
    made = folder / "made"
    compiler = shutil.which("g++")
    assert compiler, "the tests need g++: apt-get install g++"
    warnings = ("-Wall", "-Wextra", "-Werror", f"-I{folder}")
    command = [compiler, "-std=c++17", *warnings, *more, *map(str, sources), "-o", str(made)]
    subprocess.run(command, check=True, timeout=300)
    return made


def stand_in_headers(folder: Path, root: str, headers: dict[str, str]) -> None:
    """Writes headers below a folder, by their paths below `root`."""
    for name, text in headers.items():
        path = folder / root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


RUNTIME_HEADERS = {
    "model.h": """
#pragma once
#include <memory>
#include "interpreter.h"
namespace tflite {
class ErrorReporter;
ErrorReporter* DefaultErrorReporter();
class OpResolver {};
class InterpreterOptions;
namespace impl {
class FlatBufferModel {
 public:
  static std::unique_ptr<FlatBufferModel> BuildFromFile(
      const char* filename, ErrorReporter* error_reporter = DefaultErrorReporter());
};
class InterpreterBuilder {
 public:
  InterpreterBuilder(const FlatBufferModel& model, const OpResolver& op_resolver,
                     const InterpreterOptions* options_experimental = nullptr);
  ~InterpreterBuilder();
  TfLiteStatus operator()(std::unique_ptr<Interpreter>* interpreter);
  TfLiteStatus SetNumThreads(int num_threads);
  void AddDelegate(TfLiteDelegate* delegate);
};
}
using impl::FlatBufferModel;
using impl::InterpreterBuilder;
}
""",
    "interpreter.h": """
#pragma once
typedef enum TfLiteStatus { kTfLiteOk, kTfLiteError } TfLiteStatus;
struct TfLiteDelegate;
namespace tflite {
namespace impl {
class Interpreter {
 public:
  ~Interpreter();
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  template <class T> T* typed_input_tensor(int) { return nullptr; }
  template <class T> T* typed_output_tensor(int) { return nullptr; }
};
}
using impl::Interpreter;
}
""",
    "kernels/register.h": """
#pragma once
#include "../model.h"
namespace tflite { namespace ops { namespace builtin {
class BuiltinOpResolver : public OpResolver { public: BuiltinOpResolver(); };
} } }
""",
    "delegates/external/external_delegate.h": """
#pragma once
struct TfLiteDelegate;
extern "C" {
typedef struct TfLiteExternalDelegateOptions {
  const char* lib_path;
} TfLiteExternalDelegateOptions;
TfLiteExternalDelegateOptions TfLiteExternalDelegateOptionsDefault(const char* lib_path);
TfLiteDelegate* TfLiteExternalDelegateCreate(const TfLiteExternalDelegateOptions* options);
void TfLiteExternalDelegateDelete(TfLiteDelegate* delegate);
}
""",
}
"""Below `tflite` or `tensorflow/lite`."""
