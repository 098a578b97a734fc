"""The manifest of an artifact: the model, plan, device and versions that it was made from.

The full manifest is a JSON file beside the .tflite file. Since flash is scarce, the file itself
holds a short form, as a named metadata entry, which TFLite's tools preserve.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.core.files import Artifact, is_tflite, write_file
from edgeprune.core.runtime import installed_version
from edgeprune.tflite.metadata import manifest_path

if TYPE_CHECKING:
    from edgeprune.core.plan import LayerSparsity, Plan
    from edgeprune.profiles.profile import DeviceProfile

MANIFEST_VERSION = 1
"""Version of the manifest's schema, its key `schema`."""
_PACKAGES = ("edgeprune", "tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime")


def make_manifest(
    *,
    model_sha256: str,
    profile: DeviceProfile,
    numerics: str,
    plan: Plan | None,
    layers: tuple[LayerSparsity, ...],
    sizes: Mapping[str, int],
    scale: Mapping[str, list[Any]],
    preprocess: str | None = None,
    measuring_only: bool = False,
    int8: Mapping[str, Any] | None = None,
    ranges_sha256: str | None = None,
    lifted: bool = False,
    batch: int = 1,
) -> dict[str, Any]:
    """Builds the manifest, a dictionary that can be written as JSON.

    Args:
      model_sha256: hash of the Keras model's architecture and weights, see `hash_model`, or of the
        .tflite file that was given.
      profile: the device on the route that was taken; recorded in full, since a user's own profile
        may change.
      numerics: number format of the artifact.
      plan: the plan that the model was pruned by, if known.
      layers: the zeros of each layer of the model.
      sizes: sizes in bytes, by name.
      scale: what uint8 data is scaled by, by the name of the input, see `scaling.scale_to_json`.
      preprocess: where that comes from, such as `keras.applications.resnet50`.
      measuring_only: whether the file's outputs are worth nothing, and only its cost is of use.
      int8: what was done to an int8 file beyond what the converter does; None where nothing was
        tried.
      ranges_sha256: hash of the ranges of quantisation-aware training that the file has.
      lifted: whether a .tflite file was lifted to Keras and converted again.
      batch: how many samples that file takes at a time, where the new one takes one.
    """
    return {
        "schema": MANIFEST_VERSION,
        "model_sha256": model_sha256,
        "device": profile.name,
        "route": profile.route.name,
        "profile": profile.model_dump(mode="json", by_alias=True),
        "numerics": numerics,
        "scale": dict(scale),
        "preprocess": preprocess,
        "plan": plan.to_json() if plan else None,
        "layers": [
            {"path": row.path, "weights": row.weights, "sparsity": row.sparsity} for row in layers
        ],
        "ranges_sha256": ranges_sha256,
        "measuring_only": measuring_only,
        "versions": installed_versions(),
        "sizes": dict(sizes),
        **({"lifted": True} if lifted else {}),
        **({"batch": {"given": batch, "written": 1}} if batch > 1 else {}),
        **({"int8": dict(int8)} if int8 is not None else {}),
    }


def installed_versions() -> dict[str, str]:
    """Versions by name of Python, edgeprune and what a file depends on beside it."""
    found = {package: installed_version(package) for package in _PACKAGES}
    return {"python": platform.python_version()} | {p: v for p, v in found.items() if v is not None}


def hash_model(config: Mapping[str, Any], weights: list[np.ndarray[Any, Any]]) -> str:
    """The SHA-256 of a model: of its configuration as JSON and its weights in order.

    The saved file cannot be hashed instead, since it contains the time of saving.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for weight in weights:
        digest.update(f"{weight.dtype}{weight.shape}".encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def sha256_of(model: Any, path: Path | None) -> str:
    """The SHA-256 that later steps know a model by: that of its .tflite file, else `hash_model`.

    Args:
      model: the Keras model.
      path: where it was read from or written to, if anywhere.
    """
    if path is not None and is_tflite(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hash_model(model.get_config(), model.get_weights())


def write_beside(artifact: Artifact, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest beside an artifact, with the artifact's hash and sizes added.

    Raises:
      OutputError: the file cannot be written.
    """
    complete = {
        **manifest,
        "artifact": {
            "file": artifact.path.name,
            "sha256": artifact.sha256,
            "size_bytes": artifact.size_bytes,
            "gzip_bytes": artifact.gzip_bytes,
        },
    }
    text = json.dumps(complete, indent=2) + "\n"
    write_file(manifest_path(artifact.path), text.encode())
