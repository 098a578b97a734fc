"""What the commands found, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgeprune.cli.terminal import say, show_table

if TYPE_CHECKING:
    from edgeprune.core.outlook import Outlook
    from edgeprune.core.plan import Plan
    from edgeprune.inspection.inspect_file import Inspection
    from edgeprune.profiles.profile import DeviceProfile
    from edgeprune.targets.checks import Verdict
    from edgeprune.targets.target import Readiness
    from edgeprune.tflite.store_sparsely import EncodingResult


def show_devices(profiles: Iterable[DeviceProfile]) -> None:
    """The device profiles, as a table for a newcomer."""
    show_table(
        "Devices: what makes a model faster or smaller there",
        ("device", "what it is", "numbers", "pattern (goal)", "> zeros", "measured by"),
        (
            (
                profile.name,
                f"{profile.device}\n{profile.summary}\n",
                profile.numerics,
                "\n".join(
                    f"{strategy.rules[0].pattern} ({', '.join(strategy.goals)})"
                    for strategy in profile.strategies
                ),
                "\n".join(f"{strategy.default_sparsity:g}" for strategy in profile.strategies),
                ", ".join(profile.targets),
            )
            for profile in profiles
        ),
    )


def show_targets(states: dict[str, Readiness]) -> None:
    """Which instruments are ready, and what installs the others."""
    show_table(
        "Targets: the instruments that run or compile a file",
        ("target", "ready", "found", "to install"),
        (
            (name, "yes" if state.ready else "no", state.detail, state.remedy)
            for name, state in states.items()
        ),
    )


def show_plan(plan: Plan) -> None:
    """The layers that have a kernel, one line each; the others are counted."""
    shown = [layer for layer in plan.layers if layer.shape]
    show_table(
        f"Plan for {plan.device}: sparsity {plan.asked:g} asked, "
        f"{plan.expected_sparsity:.3f} expected over the prunable weights",
        ("layer", "kind", "kernel", "then", "pattern", ">sparsity", ">error", "why"),
        (
            (
                layer.path,
                layer.kind,
                "x".join(map(str, layer.shape)),
                "x".join(map(str, layer.after or ())) if layer.after != layer.shape else "",
                str(layer.pattern or "-"),
                f"{layer.sparsity:.3f}" if layer.pattern else "-",
                _cell(layer.expected_error),
                layer.reason,
            )
            for layer in shown
        ),
    )
    if plan.padding:
        show_table(
            "Padding made symmetric before training",
            ("layer", "now", "then"),
            ((row.path, row.before, row.after) for row in plan.padding),
        )
    if plan.network:
        _show_outlook(plan.network)
    hidden = len(plan.layers) - len(shown)
    if hidden:
        say(f"{hidden} more layers have no kernel and are left alone (--json lists them).")


def _show_outlook(network: Outlook) -> None:
    """What the network as a whole can gain."""
    rows = [(runtime.runtime, f"{runtime.state}: {runtime.reason}") for runtime in network.runtimes]
    changes = ", ".join(f"{change.name} ({change.places})" for change in network.rewrites)
    facts = (
        ("it gains", {True: "yes", False: "no", None: "not known"}[network.gains]),
        ("because it", network.reason),
        ("rewritten, exactly", changes),
        ("in the way", network.breaker),
        ("remedy", network.remedy),
        *(
            (
                f"{runtime}, expected",
                f"{dense / 1e6:.1f} to {sparse / 1e6:.1f} M instructions in layers with weights, "
                f"{dense / sparse:.2f}x",
            )
            for runtime, dense, sparse in network.instructions
        ),
        ("elsewhere", ", ".join(f"{e.pattern} on {e.device}" for e in network.elsewhere)),
    )
    title = "The network as a whole, with zeros enough"
    show_table(title, ("", "what is expected"), [*rows, *(fact for fact in facts if fact[1])])


def show_verdict(verdict: Verdict) -> None:
    """Every check, and the outcome."""
    show_table(
        f"{verdict.model} for {verdict.device}: {'passed' if verdict.ok else 'FAILED'}",
        ("check", "result", ">value", ">limit", "what it means"),
        (
            (
                check.name,
                "passed" if check.ok else "FAILED",
                _cell(check.value),
                _cell(check.limit),
                check.message,
            )
            for check in verdict.checks
        ),
    )


def _cell(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show_encoding(result: EncodingResult) -> None:
    """How each weight of a file is stored now, and why."""
    sparse = sum(tensor.storage != "dense" for tensor in result.tensors)
    show_table(
        f"{result.output}: {sparse} of {len(result.tensors)} weights stored sparsely, "
        f"{result.bytes_before} to {result.bytes_after} bytes",
        ("weight of", "stored", ">zeros", ">dense bytes", ">sparse bytes", "why"),
        (
            (
                f"{tensor.operator} {shorten(tensor.name)}",
                tensor.storage,
                f"{tensor.sparsity:.3f}",
                str(tensor.dense_bytes),
                str(tensor.sparse_bytes),
                tensor.reason,
            )
            for tensor in result.tensors
        ),
    )


def shorten(name: str, limit: int = 40) -> str:
    """The end of a long tensor name, where the layer is."""
    return name if len(name) <= limit else "…" + name[-limit:]


def show_inspection(inspection: Inspection) -> None:
    """Sizes, operators and findings of a file."""
    show_table(
        f"{inspection.model}: {inspection.parameters} weights, "
        f"{inspection.sparsity:.3f} of them zero; sparse inference: {inspection.sparse_inference}",
        ("size", ">bytes"),
        (
            ("file", str(inspection.size_bytes)),
            ("file after gzip", str(inspection.gzip_bytes)),
            ("weights as stored", str(inspection.weight_bytes)),
            ("weights, each in its smaller form", str(inspection.sparse_weight_bytes)),
        ),
    )
    show_table(
        "Operators",
        (">#", "operator", ">version", "kernel", ">zeros", "why"),
        (
            (
                str(op.index),
                op.op,
                str(op.version),
                op.kernel,
                "-" if op.sparsity is None else f"{op.sparsity:.3f}",
                op.reason,
            )
            for op in inspection.ops
        ),
    )
    if inspection.findings:
        show_table(
            "Findings",
            (">operator", "rule", "what", "remedy"),
            (
                (
                    "-" if finding.op is None else str(finding.op),
                    finding.rule,
                    finding.message,
                    finding.remedy,
                )
                for finding in inspection.findings
            ),
        )
    if inspection.manifest:
        versions = inspection.manifest.get("versions", {})
        say(
            f"Made by edgeprune {versions.get('edgeprune', '?')} for "
            f"{inspection.manifest.get('device', '?')} from the model with sha256 "
            f"{inspection.manifest.get('model_sha256', '?')} (--json shows the whole manifest)."
        )
