from __future__ import annotations

from edgeprune.core.plan import Plan
from tests.support.printing import HOSTILE, check_printed


def row(path: str, **facts: object) -> dict[str, object]:
    return {
        "path": path,
        "kind": "Conv2D",
        "shape": (1, 1, 32, 64),
        "pattern": None,
        "sparsity": 0,
        "reason": "pays here",
        "prunable": True,
        **facts,
    }


def test_a_plan_prints_what_is_done_with_each_layer_and_why() -> None:
    made = Plan.model_validate(
        {
            "device": "xnnpack-arm64",
            "model": "m.keras",
            "goal": "latency",
            "asked": 0.8,
            "layers": [
                row(HOSTILE, pattern="Block(2,1)", sparsity=0.75, expected_error=0.0123),
                row("small", pattern="Channels(8)", sparsity=0.5, after=(1, 1, 32, 32)),
                row("relu", shape=()),
            ],
            "padding": [{"path": "dw", "before": "same", "after": "((1, 1), (1, 1))"}],
            "network": {
                "gains": False,
                "reason": "needs a kernel for SOFTMAX",
                "instructions": [("LiteRT 2.1.6", 2e8, 1e8)],
            },
        }
    )
    check_printed(
        made,
        "Plan for xnnpack-arm64: sparsity 0.8 asked",
        *("Block(2,1)", "0.750", "0.0123", "1x1x32x64", "1x1x32x32", "pays here"),
        "1 more layers have no kernel",
        "Padding made symmetric",
        "needs a kernel for SOFTMAX",
        "200.0 to 100.0 M instructions",
    )
    assert "&lt;script&gt;" in made._repr_html_()
