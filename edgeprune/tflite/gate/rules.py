"""What XNNPACK takes into a sparse network, by the runtime and version that it comes with.

Sources: see `compatibility`, which applies the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from edgeprune.core.runtime import Runtime, nearest_known

_SHARED_UNARY = frozenset(
    {
        "ABS",
        "CEIL",
        "ELU",
        "FLOOR",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOGISTIC",
        "NEG",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "ROUND",
        "SQUARE",
    }
)
_LATER_UNARY = frozenset({"COS", "EXP", "GELU", "LOG", "RSQRT", "SIN", "SQRT", "TANH"})


@dataclass(frozen=True)
class XnnpackRules:
    """What one runtime's XNNPACK takes into a cluster.

    `unary` are elementwise operators and `reduces` reductions, by name. `keep_dims_shape` says
    that a MEAN that ends a cluster may keep its axes: LiteRT then hands on `[n, c, 1, 1]`.
    `one_pixel` says that maps of one pixel may change their layout between nodes.
    """

    runtime: Runtime
    unary: frozenset[str]
    reduces: frozenset[str]
    fully_connected: bool
    constant_extremes: bool
    """Whether MAXIMUM and MINIMUM with a constant are made a clamp first."""
    keep_dims_shape: bool
    one_pixel: bool
    repeats_count: bool
    """Whether a node that reads a value twice counts as two readers."""
    left_to_tflite: frozenset[str]
    """Operators that the delegate never takes, so that they split a network in two."""
    spatial_reductions: bool
    """Whether only reductions over height and width join a cluster."""
    halves_give_nan: bool
    """Whether float16 weights behind DENSIFY beside a float32 bias compute NaN."""
    half_precision_breaks: bool
    """Whether a sparse network of a file that also asks for half precision computes NaN or crashes;
    else it runs dense on cores that have such arithmetic."""
    reverses_axes_at_once: bool
    """Whether REVERSE_V2 takes several axes; else it reverses the first one alone, silently.

    Measured with LiteRT 1.0.1, 1.4.0, 2.1.6 and 2.3.0, and tflite-runtime 2.14.0, 2026-11-27.
    """
    needs_fp16: bool
    """Whether zeros are skipped only on cores that have half-precision arithmetic."""


_LITERT_2_1_6 = XnnpackRules(
    runtime=Runtime("LiteRT", "2.1.6"),
    unary=_SHARED_UNARY | _LATER_UNARY,
    reduces=frozenset({"MEAN", "SUM"}),
    fully_connected=True,
    constant_extremes=True,
    keep_dims_shape=False,
    one_pixel=False,
    repeats_count=False,
    left_to_tflite=frozenset({"RESIZE_NEAREST_NEIGHBOR"}),
    spatial_reductions=False,
    halves_give_nan=True,
    half_precision_breaks=True,
    reverses_axes_at_once=True,
    needs_fp16=False,
)

_KNOWN: Mapping[Runtime, XnnpackRules] = {
    rules.runtime: rules
    for rules in (
        XnnpackRules(
            runtime=Runtime("tflite-runtime", "2.14.0"),
            unary=_SHARED_UNARY,
            reduces=frozenset({"MEAN"}),
            fully_connected=False,
            constant_extremes=False,
            keep_dims_shape=True,
            one_pixel=True,
            repeats_count=True,
            left_to_tflite=frozenset(
                {"EXP", "GELU", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_NEAREST_NEIGHBOR", "SUM"}
            ),
            spatial_reductions=True,
            halves_give_nan=False,
            half_precision_breaks=True,
            reverses_axes_at_once=False,
            needs_fp16=True,
        ),
        _LITERT_2_1_6,
        replace(
            _LITERT_2_1_6,
            runtime=Runtime("LiteRT", "2.3.0"),
            halves_give_nan=False,
            half_precision_breaks=False,
        ),
    )
}
"""The rules by the runtime that they were found in.

Those of LiteRT 2.3.0 were held against every network of the gate's family by
`scripts/check_instrument`, 2026-11-27.
"""


def known_rules() -> tuple[XnnpackRules, ...]:
    """All rules that are known, each of another runtime or version."""
    return tuple(_KNOWN.values())


def delegating(runtimes: Iterable[Runtime]) -> tuple[Runtime, ...]:
    """Those of some runtimes that hand networks to XNNPACK, and so may run them sparsely."""
    return tuple(each for each in runtimes if nearest_known(each, _KNOWN) is not None)


def rules_for(runtime: Runtime) -> XnnpackRules:
    """The rules of a runtime that delegates to XNNPACK.

    A version without rules of its own takes those of the newest known one that is not newer, else
    of the oldest; `XnnpackRules.runtime` says which they are.

    Raises:
      ValueError: the runtime does not delegate to XNNPACK (see `delegating`).
    """
    known = nearest_known(runtime, _KNOWN)
    if known is None:
        names = ", ".join(map(str, _KNOWN))
        raise ValueError(f"Expected a runtime with XNNPACK, such as {names}. Received: {runtime}.")
    return _KNOWN[known]
