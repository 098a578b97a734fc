"""The manifest of an artifact: what it was made from, for what, and by which versions.

It lies whole beside the .tflite file as JSON, and in short inside it, since flash is dear: as a
metadata entry of its own name, which TFLite's tools carry along unread.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.core.files import Artifact, write_file

if TYPE_CHECKING:
    from edgeprune.core.plan import LayerSparsity, Plan
    from edgeprune.profiles.profile import DeviceProfile

MANIFEST_VERSION = 1
_PACKAGES = ("edgeprune", "tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime")


def make_manifest(
    *,
    model_sha256: str,
    profile: DeviceProfile,
    numerics: str,
    plan: Plan | None,
    layers: tuple[LayerSparsity, ...],
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    """Collects what a manifest says.

    Args:
      model_sha256: of the Keras model's architecture and weights.
      profile: that the artifact was made for; kept whole, since a user's own may change.
      numerics: number format of the artifact.
      plan: that the model was pruned by, if it is known.
      layers: the zeros that the model holds.
      sizes: bytes, by what they are of.
    """
    return {
        "schema": MANIFEST_VERSION,
        "model_sha256": model_sha256,
        "device": profile.name,
        "profile": profile.model_dump(mode="json", by_alias=True),
        "numerics": numerics,
        "plan": plan.to_json() if plan else None,
        "layers": [
            {"path": row.path, "weights": row.weights, "sparsity": row.sparsity} for row in layers
        ],
        "versions": _versions(),
        "sizes": dict(sizes),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hash_model(config: Mapping[str, Any], weights: list[np.ndarray[Any, Any]]) -> str:
    """A model's sha256: of its configuration as JSON and its weights in order.

    The file it was saved to would not do: it holds the time of saving.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for weight in weights:
        digest.update(f"{weight.dtype}{weight.shape}".encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def manifest_path(artifact: Path) -> Path:
    """Where the manifest of an artifact lies: `model.tflite` has `model.manifest.json`."""
    return artifact.with_suffix(".manifest.json")


def write_beside(artifact: Artifact, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest beside an artifact, with the artifact's own hash and size.

    Raises:
      OutputError: it cannot be written.
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
