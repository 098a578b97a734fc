"""A .tflite file as C++ source, for firmware that has no file system.

The pair of files is what TFLite Micro's own examples are built from: an aligned array and its
length, declared in a header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeprune.core.errors import OutputError
from edgeprune.core.files import describe_file, write_file
from edgeprune.tflite.firmware_arena import FirmwareArena
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.decode_operator import holds_packed
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.metadata import read_embedded
from edgeprune.tflite.op_resolver import methods_of, resource_variables

ALIGNMENT = 16
"""Bytes; what a flatbuffer's own vectors may ask for.

Source: alignas(16) in tensorflow/lite/micro/tools/generate_cc_arrays.py of tflite-micro.
"""
BYTES_PER_LINE = 12


@dataclass(frozen=True)
class CArray:
    """The files, and the name of the array in them."""

    source: Path
    header: Path
    identifier: str
    has_resolver: bool = False
    """Whether the header has the arena and the operators that TensorFlow Lite Micro needs."""
    compiled: Path | None = None
    """The file in the array, where a compiler made it of the model."""

    def to_json(self) -> dict[str, str | None]:
        """Plain values for `--json`; `resolver` is the file that adds the operators."""
        return {
            "source": str(self.source),
            "header": str(self.header),
            "identifier": self.identifier,
            "resolver": str(self.header) if self.has_resolver else None,
            "compiled": str(self.compiled) if self.compiled else None,
        }


def c_array_paths(model: Path) -> tuple[Path, Path]:
    """Where source and header of a model go: beside it, `model.cc` and `model.h`.

    Raises:
      OutputError: the model itself has such a name, or one that `#include` cannot have.
    """
    if model.suffix in {".cc", ".h"} or re.search(r'["\\\n]', model.name):
        raise OutputError(
            f"{model}: expected a name ending in .tflite without quotes, backslashes and line "
            f"breaks, since the C++ files are named after it. Received: {model.name!r}."
        )
    return model.with_suffix(".cc"), model.with_suffix(".h")


def c_identifier(stem: str) -> str:
    """The name of the array of a file: `my-model 2` is `g_my_model_2_data`.

    Letters beyond ASCII and everything else that C++ does not take become one underscore; two in a
    row are reserved there.
    """
    words = [word for word in re.split(r"[^A-Za-z0-9]+", stem) if word]
    return "_".join(["g", *(words or ["model"]), "data"])


def write_c_array(
    model: Path, arena: FirmwareArena | None = None, compiled: Path | None = None
) -> CArray:
    """Writes a .tflite file as C++ source and header beside it, its manifest as a comment.

    Args:
      model: the file.
      arena: what TensorFlow Lite Micro needs to run it; the header then names it, and has a
        function that adds the operators of the file to a resolver. None for the array alone.
      compiled: what a compiler made of the file, where that goes into the array in its place.

    Raises:
      TfliteError: the file does not parse.
      OutputError: the C++ files cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    source, header = c_array_paths(model)
    linked = compiled or model
    content = linked.read_bytes()
    made = CArray(source, header, c_identifier(model.stem), arena is not None, compiled)
    environment = Environment(
        loader=PackageLoader("edgeprune.tflite", "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    graph = tflite_file.read(linked)
    manifest = json.dumps(read_embedded(tflite_file.read(model).metadata), indent=1)
    facts = {
        "identifier": made.identifier,
        "guard": f"{made.identifier.upper()}_H_",
        "header": header.name,
        "model": json.dumps(linked.name),
        "made_of": json.dumps(model.name) if compiled else None,
        "sha256": describe_file(linked).sha256,
        "edgeprune": version("edgeprune"),
        "manifest": manifest.splitlines(),
        "alignment": ALIGNMENT,
        "size": len(content),
        "lines": _lines(content),
        "arena": arena,
        **_resolver_facts(graph, made.identifier),
    }
    for path in (header, source):
        text = environment.get_template(f"model{path.suffix}").render(facts)
        write_file(path, text.encode())
    return made


def _resolver_facts(graph: Graph, identifier: str) -> dict[str, Any]:
    methods, unknown = methods_of(graph)
    return {
        "methods": methods,
        "prefix": identifier.removesuffix("_data"),
        "unknown": [re.sub(r"[^\w.:-]", "_", op, flags=re.ASCII) for op in unknown],
        "operators": len(methods) + len(unknown) or 1,
        "variables": resource_variables(graph),
        "unpacks": holds_packed(graph),
    }


def _lines(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), BYTES_PER_LINE):
        yield ", ".join(f"0x{byte:02x}" for byte in content[start : start + BYTES_PER_LINE]) + ","
