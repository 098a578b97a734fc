"""The gate against a family of networks, and against what decides between its three verdicts.

The verdicts in `gate_networks.FAMILY` were checked on emulated ARM64 (QEMU 7.2, cortex-a76) with
tflite-runtime 2.14.0 and LiteRT 2.1.6 on 2026-11-23: instruction counts and outputs agree with
every one of them. `scripts/check_instrument` did the same with LiteRT 2.3.0 (QEMU 10.0.13) on
2026-11-27.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.gate import (
    asks_for_sparse,
    cluster,
    delegating,
    judge,
    judge_each,
    judge_file,
    known_rules,
    never_engages,
    rules_for,
)
from tests.support import nchw_oracle
from tests.support.gate_networks import (
    FAMILY,
    LATER_LITERT,
    Network,
    Trunk,
    ask_for_halves,
    save_sparse,
)

RUNTIMES = (Runtime("tflite-runtime", "2.14.0"), Runtime("LiteRT", "2.1.6"))
TFLITE_RUNTIME, LITERT = RUNTIMES
LATEST_LITERT = Runtime("LiteRT", "2.3.0")
BY_NAME = {network.name: network for network in FAMILY}


def graph(network: Network | str, folder: Path) -> Graph:
    member = BY_NAME[network] if isinstance(network, str) else network
    return read(save_sparse(member.save(folder / "dense"), folder / "sparse"))


@pytest.mark.parametrize("network", FAMILY, ids=lambda network: network.name)
def test_every_network_gets_its_verdict(tmp_path: Path, network: Network) -> None:
    judged = graph(network, tmp_path)
    verdicts = [judge(judged, runtime) for runtime in (*RUNTIMES, LATEST_LITERT)]
    later = LATER_LITERT.get(network.name, network.verdicts[1])
    assert tuple(verdict.state for verdict in verdicts) == (*network.verdicts, later)
    for verdict in verdicts:
        assert verdict.reason
        assert len(verdict.ops) == len(judged.operators)
        assert (verdict.breaker is not None) or verdict.state != "dangerous"


def test_names_in_the_family_are_unique() -> None:
    assert len(BY_NAME) == len(FAMILY) >= 60


def test_dense_weights_and_sparse_ones_get_the_same_verdict(tmp_path: Path) -> None:
    for name in ("base", "dws2_same", "stem_same"):
        dense = read(BY_NAME[name].save(tmp_path / "net"))
        sparse = graph(name, tmp_path)
        assert judge(dense, LITERT).state == judge(sparse, LITERT).state
        assert not asks_for_sparse(dense)
        assert asks_for_sparse(sparse)


def test_a_whole_network_says_which_operators_skip_zeros(tmp_path: Path) -> None:
    verdict = judge(graph("residual", tmp_path), TFLITE_RUNTIME)
    skipping = {row.op for row in verdict.ops if row.skips_zeros}
    inside = {row.op for row in verdict.ops if row.in_cluster}
    assert skipping == {"CONV_2D"}
    assert {"PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN"} == inside


def test_the_operator_that_cuts_a_network_is_named_with_a_remedy(tmp_path: Path) -> None:
    verdict = judge(graph("maxpool_mid", tmp_path), LITERT)
    assert verdict.breaker is not None
    assert verdict.ops[verdict.breaker].op == "MAX_POOL_2D"
    assert "depthwise" in verdict.remedy
    assert f"MAX_POOL_2D #{verdict.breaker}" in verdict.reason


def test_exactly_two_thirds_of_zeros_are_not_enough(tmp_path: Path) -> None:
    """Three channels in, six out, and 2 of 3 weights of every output are zero."""
    trunk = Trunk()
    x = trunk.stem(out=3)
    before = len(trunk.net.model.buffers)
    x = trunk.conv(x, 6)
    weights = trunk.net.model.buffers[before].data.view("float32")
    for kept, state in ((6, "off"), (5, "on")):
        weights[:] = 0
        weights[:kept] = 1
        path = trunk.save(tmp_path / f"{kept}", trunk.mean(x))
        verdict = judge(read(path), TFLITE_RUNTIME)
        assert (verdict.zeros, verdict.parameters, verdict.state) == (18 - kept, 18, state)


def test_an_unpruned_network_is_judged_as_if_it_were_pruned(tmp_path: Path) -> None:
    unpruned = replace(BY_NAME["base"], zeros=0.0)
    judged = read(unpruned.save(tmp_path / "net"))
    assert judge(judged, LITERT).state == "off"
    assert judge(judged, LITERT, assume_pruned=True).state == "on"
    broken = read(replace(BY_NAME["maxpool_mid"], zeros=0.0).save(tmp_path / "broken"))
    verdict = judge(broken, LITERT, assume_pruned=True)
    assert verdict.state == "dangerous"
    assert "MAX_POOL_2D" in verdict.reason


def test_only_a_file_that_asks_for_sparse_inference_is_in_danger(tmp_path: Path) -> None:
    dense = read(BY_NAME["dws2_same"].save(tmp_path / "net"))
    assert judge_file(dense, RUNTIMES) is None
    broken = judge_file(graph("dws2_same", tmp_path), RUNTIMES)
    assert broken is not None
    assert broken.state == "dangerous"
    assert judge_file(graph("base", tmp_path), RUNTIMES) is None


def test_one_weight_behind_densify_is_enough_for_danger(tmp_path: Path) -> None:
    dense = BY_NAME["dws2_same"].save(tmp_path / "dense")
    path = save_sparse(dense, tmp_path / "sparse", only="FULLY_CONNECTED")
    assert judge_file(read(path), RUNTIMES) is not None


@pytest.mark.parametrize(
    ("value", "states"),
    [
        (b"fp16accfp16", ["dangerous", "dangerous"]),
        (b"fp16bf16accfp16", ["dangerous", "dangerous"]),
        (b"fp16accfp32", ["on", "on"]),
        (b"fp16", ["on", "on"]),
        (b"", ["on", "on"]),
    ],
)
def test_a_sparse_network_beside_half_precision_is_dangerous(
    tmp_path: Path, value: bytes, states: list[str]
) -> None:
    sparse = save_sparse(BY_NAME["base"].save(tmp_path / "dense"), tmp_path / "sparse")
    judged = read(ask_for_halves(sparse, tmp_path / "halves", value))
    verdicts = judge_each(judged, RUNTIMES)
    assert [verdict.state for verdict in verdicts] == states
    if "dangerous" in states:
        assert "half precision (metadata 'reduced_precision_support')" in verdicts[0].reason


def test_later_litert_runs_a_sparse_network_beside_half_precision_densely(tmp_path: Path) -> None:
    """Unless the network is wrong anyway: cores without such arithmetic run it as it is."""
    for name, state in (("base", "off"), ("stem_same", "off"), ("dws2_same", "dangerous")):
        sparse = save_sparse(BY_NAME[name].save(tmp_path / "dense"), tmp_path / "sparse")
        verdict = judge(read(ask_for_halves(sparse, tmp_path / "halves")), LATEST_LITERT)
        assert verdict.state == state
        assert ("half precision" in verdict.reason) == (name == "base")


def test_half_precision_alone_is_no_danger(tmp_path: Path) -> None:
    dense = BY_NAME["base"].save(tmp_path / "dense")
    assert judge_file(read(ask_for_halves(dense, tmp_path / "halves")), RUNTIMES) is None


def random_net(seed: int, path: Path) -> Graph:
    """A stem, then operators that fit a cluster or do not, on any of the maps before."""
    rng = random.Random(seed)  # noqa: S311
    trunk = Trunk(zeros=0.9)
    maps = [trunk.stem()]
    ends = []
    for _ in range(rng.randrange(1, 25)):
        source = rng.choice(maps[-6:])
        match rng.randrange(8):
            case 0 | 1:
                maps.append(trunk.conv(source, 16))
            case 2:
                maps.append(trunk.op("ADD", [source, rng.choice(maps[-6:])], (1, 16, 16, 16)))
            case 3:
                maps.append(trunk.unary("EXP", source, schema.ExpOptionsT()))
            case 4:
                maps.append(trunk.unary("SIGN", source, schema.SignOptionsT()))
            case 5:
                ends.append(trunk.mean(source))
            case _:
                maps.append(trunk.unary("ABS", source, schema.AbsOptionsT()))
    return read(trunk.save(path, *(ends or maps[-1:])))


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_the_pass_ends_where_following_it_step_by_step_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime
) -> None:
    graphs = [random_net(seed, tmp_path / "net") for seed in range(150)]
    graphs += [graph(network, tmp_path) for network in FAMILY]
    found = [judge(each, runtime) for each in graphs]
    monkeypatch.setattr(cluster, "_join_all", nchw_oracle.join_again_and_again)
    monkeypatch.setattr(cluster, "_partitions", nchw_oracle.partitions)
    assert found == [judge(each, runtime) for each in graphs]
    assert len({verdict.state for verdict in found}) == 3


def chain(path: Path, length: int) -> Path:
    """A stem, a chain of elementwise operators of two kinds, and a mean."""
    trunk = Trunk(zeros=0.9)
    x = trunk.conv(trunk.stem(), 16)
    for i in range(length):
        name, options = ("ABS", schema.AbsOptionsT()) if i % 2 else ("EXP", schema.ExpOptionsT())
        x = trunk.unary(name, x, options)
    return trunk.save(path, trunk.mean(x))


def test_a_network_is_judged_in_time_that_grows_with_its_operators(tmp_path: Path) -> None:
    """Twice as many operators are four times as many steps where each one looks at all others."""
    steps = []
    for length in (500, 1000):
        judged = read(chain(tmp_path / "net", length))
        counted = 0

        def count(frame: Any, event: str, argument: Any) -> None:  # noqa: ARG001
            nonlocal counted
            counted += event == "call"

        sys.setprofile(count)
        try:
            for runtime in RUNTIMES:
                judge(judged, runtime)
        finally:
            sys.setprofile(None)
        steps.append(counted)
    assert steps[1] < 2.2 * steps[0]


@pytest.mark.parametrize("network", FAMILY, ids=lambda network: network.name)
def test_what_never_engages_is_off(tmp_path: Path, network: Network) -> None:
    judged = graph(network, tmp_path)
    if never_engages(judged):
        assert network.verdicts == ("off", "off")


@pytest.mark.parametrize(
    ("runtime", "rules"),
    [
        (Runtime("LiteRT", "2.1.6"), LITERT),
        (Runtime("LiteRT", "2.2.0"), LITERT),
        (LATEST_LITERT, LATEST_LITERT),
        (Runtime("LiteRT", "2.4.0"), LATEST_LITERT),
        (Runtime("LiteRT", "1.0.1"), LITERT),
        (Runtime("tflite-runtime", "2.14.0"), TFLITE_RUNTIME),
        (Runtime("tflite-runtime", "2.9"), TFLITE_RUNTIME),
    ],
)
def test_a_verdict_says_whose_rules_it_was_made_by(
    tmp_path: Path, runtime: Runtime, rules: Runtime
) -> None:
    verdict = judge(graph("maxpool_mid", tmp_path), runtime)
    assert (verdict.runtime, verdict.rules_from) == (runtime, rules)
    assert replace(verdict, runtime=rules) == judge(graph("maxpool_mid", tmp_path), rules)


def test_a_missing_kernel_is_named_with_the_version_that_was_looked_at(tmp_path: Path) -> None:
    judged = graph("maxpool_mid", tmp_path)
    for version, known in (("2.1.6", "2.1.6"), ("2.2.0", "2.1.6"), ("2.3.1", "2.3.0")):
        reason = judge(judged, Runtime("LiteRT", version)).reason
        assert f"LiteRT {known} has no kernel of MAX_POOL_2D for sparse networks" in reason


def test_a_runtime_without_xnnpack_has_no_rules_and_is_passed_over(tmp_path: Path) -> None:
    micro = Runtime("TFLM", "0.dev20261023182759")
    assert delegating((micro, *RUNTIMES)) == RUNTIMES
    judged = graph("base", tmp_path)
    assert [verdict.runtime for verdict in judge_each(judged, (micro, LITERT))] == [LITERT]
    with pytest.raises(ValueError, match=r"with XNNPACK, such as .*Received: TFLM"):
        judge(judged, micro)


def test_every_known_rule_names_another_runtime_or_version() -> None:
    assert [rules.runtime for rules in known_rules()] == [*RUNTIMES, LATEST_LITERT]
    assert all(rules_for(rules.runtime) is rules for rules in known_rules())
