"""The short manifest that edgeprune embeds in a .tflite file as metadata."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.graph import Graph

METADATA_NAME = "edgeprune"
MENDING_NAME = "edgeprune.int8"
"""Metadata of a pruned quantized file that says how it was mended, until it is exported."""
HALVES_NAME = "reduced_precision_support"
"""Metadata by which a converter says in which number formats a float network may be computed."""
MAX_DEPTH = 64
"""How deep the tables of a manifest may be nested; in those that edgeprune writes it is three."""


def shorten_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What of a manifest goes into the file: the profile as a hash, the plan as its pruned layers.

    A plan row becomes `"path": "Block(2,1) 0.8"`.
    """
    plan = manifest["plan"]
    profile = json.dumps(manifest["profile"], sort_keys=True).encode()
    return {
        **{key: manifest[key] for key in ("schema", "model_sha256", "device", "numerics")},
        "route": manifest["route"],
        "scale": manifest["scale"],
        "profile_sha256": hashlib.sha256(profile).hexdigest(),
        "plan": plan
        and {
            "goal": plan["goal"],
            "asked": plan["asked"],
            "layers": {
                row["path"]: f"{row['pattern']} {row['sparsity']:g}"
                for row in plan["layers"]
                if row["pattern"]
            },
        },
        "versions": manifest["versions"],
        "sizes": manifest["sizes"],
        **({"measuring_only": True} if manifest["measuring_only"] else {}),
    }


def embed(model: Any, manifest: Mapping[str, Any]) -> None:
    """Adds a manifest, in short, to a TFLite `ModelT` in place, replacing one that it had.

    Args:
      model: the schema's object form, as `tflite.draft.load` gives it.
      manifest: as `make_manifest` makes it.
    """
    put_metadata(model, METADATA_NAME, shorten_manifest(manifest))


def put_metadata(model: Any, name: str, content: Mapping[str, Any]) -> None:
    """Adds metadata as JSON to a TFLite `ModelT` in place, replacing what it has of that name."""
    text = json.dumps(content, separators=(",", ":"))
    model.buffers.append(schema.BufferT(data=np.frombuffer(text.encode(), np.uint8)))
    drop_metadata(model, name)
    model.metadata.append(schema.MetadataT(name=name.encode(), buffer=len(model.buffers) - 1))


def asks_for_halves(metadata: Mapping[str, bytes]) -> bool:
    """Whether a file lets its runtime compute and accumulate in half precision, on fp16 cores.

    Source: `reduced_precision_metadata.h` in TensorFlow Lite ("fp16accfp16"), and
    xnnpack_delegate.cc, which hints XNNPACK at fp16 where both are allowed.
    """
    computed, _, accumulated = metadata.get(HALVES_NAME, b"").partition(b"acc")
    return b"fp16" in computed and b"fp16" in accumulated


def drop_metadata(model: Any, name: str) -> None:
    """Removes metadata of a name from a TFLite `ModelT`, in place."""
    model.metadata = [item for item in model.metadata or [] if item.name != name.encode()]


def read_mending(metadata: Mapping[str, bytes]) -> dict[str, Any] | None:
    """What a pruned quantized file says of how it was mended; None if it says nothing."""
    return _read(metadata.get(MENDING_NAME, b"null"))


def read_embedded(metadata: Mapping[str, bytes]) -> dict[str, Any] | None:
    """The manifest in a file's metadata; None if there is none, or none that can be read.

    One that is not JSON, holds a number that is not finite or is nested more than `MAX_DEPTH`
    times is none that edgeprune wrote, and could not be written as JSON again.
    """
    return _read(metadata.get(METADATA_NAME, b"null"))


def manifest_path(artifact: Path) -> Path:
    """The path of an artifact's manifest: `model.manifest.json` for `model.tflite`."""
    return artifact.with_suffix(".manifest.json")


def read_manifest(graph: Graph) -> dict[str, Any]:
    """The manifest in a file, in short; else the one beside it, if that is of this very file.

    Returns:
      An empty dictionary if there is neither.
    """
    embedded = read_embedded(graph.metadata)
    return embedded if embedded is not None else read_beside(graph.path) or {}


def named_route(graph: Graph, device: str, routes: Iterable[str]) -> str | None:
    """The route of a device that a file was made on; None if its manifest names none.

    Args:
      graph: the file.
      device: the profile's name.
      routes: names of the profile's routes.
    """
    found = read_manifest(graph)
    name = found.get("route")
    return name if found.get("device") == device and name in tuple(routes) else None


def read_beside(path: Path) -> dict[str, Any] | None:
    """The whole manifest beside a file; None if there is none, or one of another file.

    Args:
      path: a .tflite file.
    """
    try:
        found = _read(manifest_path(path).read_bytes())
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
    artifact = found and found.get("artifact")
    named = artifact.get("sha256") if isinstance(artifact, dict) else None
    return found if named == sha256 else None


def _read(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and _is_plain(found, MAX_DEPTH) else None


def _is_plain(content: Any, depth: int) -> bool:
    if isinstance(content, float):
        return math.isfinite(content)
    if not isinstance(content, (dict, list)):
        return True
    inside = content.values() if isinstance(content, dict) else content
    return depth > 0 and all(_is_plain(value, depth - 1) for value in inside)
