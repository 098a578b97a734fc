"""Number formats beside float32 and int8: what is in the file, and that both runtimes run it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.core.terms import Numerics
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.targets.checks import numerics
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import asks_for_halves
from tests.support.architectures import build, samples

pytestmark = pytest.mark.slow
FORMATS: tuple[Numerics, ...] = ("float16", "float16-arithmetic", "dynamic-range")


def taking(*numerics: Numerics) -> DeviceProfile:
    """A profile whose sparse kernels want float32, which takes other formats too."""
    return load_profile("xnnpack-arm64").model_copy(update={"other_numerics": numerics})


@pytest.mark.parametrize("wanted", FORMATS)
def test_a_file_says_which_format_it_has_and_computes_what_the_model_does(
    tmp_path: Path, wanted: Numerics
) -> None:
    model = build("mobilenet_v1")
    save_model(model, tmp_path / "m.keras")
    profile = taking(*FORMATS)
    export(model, profile, tmp_path / "m.tflite", numerics=wanted)
    graph = read(tmp_path / "m.tflite")
    assert numerics(graph) == wanted
    assert asks_for_halves(graph.metadata) == (wanted == "float16-arithmetic")
    verdict = validate(
        tmp_path / "m.tflite", profile, reference=tmp_path / "m.keras", x=samples(model, 8)
    )
    assert verdict.ok, verdict
    # Without an emulated core nothing is proven of half precision, which has no limit then.
    limits = {check.limit for check in verdict.checks if check.kind == "outputs"} - {None}
    assert limits == {{"float16": 2e-2, "float16-arithmetic": 5e-2, "dynamic-range": 0.5}[wanted]}


def test_half_precision_arithmetic_never_meets_sparse_weights(tmp_path: Path) -> None:
    """On ARM64 the runtimes give NaN for such files, or crash."""
    model = build("mobilenet_v1")
    profile = taking("float16-arithmetic")
    pruned = prune_one_shot(model, plan(model, profile, sparsity=0.9))
    exported = export(pruned, profile, tmp_path / "m.tflite", numerics="float16-arithmetic")
    assert exported.sparse == ()
    graph = read(tmp_path / "m.tflite")
    assert asks_for_halves(graph.metadata)
    assert all(tensor.encoding is None for tensor in graph.tensors)
    zeros = [
        np.mean(v == 0) for t in graph.tensors if (v := t.values()) is not None and v.size > 64
    ]
    assert max(zeros) > 0.85
