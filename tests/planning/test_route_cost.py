"""Costs of routes by a cost table, and what `--route auto` makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import pytest

from edgeprune.core.errors import ModelError, PlanError, ProfileError
from edgeprune.core.pattern import Channels
from edgeprune.core.terms import Numerics
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.kernel_costs import CostTable, RuntimeCosts, to_toml
from edgeprune.profiles.operation_costs import FormatCosts
from edgeprune.profiles.profile import DeviceProfile
from tests.support.profiles import profile, rule

pytestmark = pytest.mark.slow
"""Each converts a network."""


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(64, 1, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )


MULTIPLICATIONS = 8 * 8 * 27 * 32 + 8 * 8 * 32 * 64 + 64 * 10


def machine(folder: Path, products: Mapping[Numerics, float]) -> str:
    """A table of a machine that does nothing but multiply, at so much a product; its path."""
    formats = tuple(
        FormatCosts(
            numerics=numerics,
            tile=(1, 1),
            costs={
                "matrix/operators": 0.0,
                "matrix/products": each,
                "vector/operators": 0.0,
                "vector/products": each,
                "PAD/operators": 0.0,
            },
            error=0,
        )
        for numerics, each in products.items()
    )
    runtime = RuntimeCosts(name="LiteRT", version="2.3.0", costs={}, formats=formats)
    table = CostTable(
        date="none", core="cortex-a76", qemu="none", source="imagined", runtimes=(runtime,)
    )
    path = folder / "costs.toml"
    path.write_text(to_toml(table))
    return str(path)


def route(name: str, numerics: str, *rules: Any, **changes: Any) -> dict[str, Any]:
    sparsity = 0.5 if rules else 0.0
    made = {"name": name, "numerics": numerics, "rules": rules, "default_sparsity": sparsity}
    goals = ("latency",) if rules else ()
    return {**made, "goals": goals, "source": "imagined", **changes}


HALF = rule(Channels(8), kinds=("Conv2D",))


def phone(costs: str | None, *routes: dict[str, Any], **changes: Any) -> DeviceProfile:
    base = profile().model_dump(by_alias=True)
    made = {"schema": 2, "strategies": (), "routes": routes, "numerics": routes[0]["numerics"]}
    return DeviceProfile.model_validate({**base, **made, "costs": costs, **changes})


def test_auto_takes_the_cheapest_route_and_the_plan_says_what_it_costs(
    network: keras.Model, tmp_path: Path
) -> None:
    costs = machine(tmp_path, {"float32": 4.0, "int8": 1.0})
    device = phone(
        costs,
        route("half", "float32", HALF),
        route("float32", "float32"),
        route("half-int8", "int8", HALF),
        route("int8", "int8"),
    )
    made = plan(network, device, route="auto")
    assert (made.route, made.numerics) == ("half-int8", "int8")
    assert made.expected is not None
    assert made.expected.dense == pytest.approx(MULTIPLICATIONS)
    assert made.expected.pruned < 0.8 * made.expected.dense
    assert made.faster_route is None


def test_auto_takes_a_dense_route_where_pruning_pays_less_than_the_number_format(
    network: keras.Model, tmp_path: Path
) -> None:
    costs = machine(tmp_path, {"float32": 100.0, "int8": 1.0})
    device = phone(costs, route("half", "float32", HALF), route("int8", "int8"))
    made = plan(network, device, route="auto")
    assert made.route == "int8"
    assert made.pruned == ()
    assert made.expected is not None
    assert made.expected.pruned == made.expected.dense == pytest.approx(MULTIPLICATIONS)


def test_a_plan_names_the_faster_route_with_its_number(
    network: keras.Model, tmp_path: Path
) -> None:
    costs = machine(tmp_path, {"float32": 100.0, "int8": 1.0})
    device = phone(costs, route("half", "float32", HALF), route("int8", "int8"))
    made = plan(network, device)
    assert made.route == "half"
    assert made.faster_route is not None
    assert (made.faster_route.route, made.faster_route.unit) == ("int8", "instructions")
    assert made.faster_route.value == pytest.approx(MULTIPLICATIONS)
    assert made.to_json()["faster_route"]["route"] == "int8"
    assert plan(network, device, look_around=False).faster_route is None


def test_a_plan_expects_nothing_where_the_smaller_model_is_not_converted(
    network: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise ModelError("the converter does not take it")

    device = phone(machine(tmp_path, {"float32": 4.0}), route("half", "float32", HALF))
    monkeypatch.setattr("edgeprune.planning.converted.convert_to_draft", refuse)
    made = plan(network, device)
    assert made.pruned
    assert made.expected is None or made.expected.unit != "instructions"


def test_auto_leaves_out_what_the_core_or_the_runtime_lacks(
    network: keras.Model, tmp_path: Path
) -> None:
    costs = machine(tmp_path, {"float32": 4.0, "float16-arithmetic": 2.0, "int8": 1.0})
    device = phone(
        costs,
        route("float32", "float32"),
        route("halves", "float16-arithmetic", needs=("fp16-arithmetic",)),
        route("elsewhere", "int8", runtimes=("tflite-runtime",)),
        core="cortex-a72",
        runtimes=(
            {"name": "LiteRT", "version": "2.3.0", "source": "imagined"},
            {"name": "tflite-runtime", "version": "2.14.0", "source": "imagined"},
        ),
    )
    assert plan(network, device, route="auto", runtime="LiteRT").route == "float32"
    with pytest.raises(ProfileError, match="needs fp16-arithmetic"):
        plan(network, device, route="halves")
    with pytest.raises(ProfileError, match="route 'elsewhere' pays in tflite-runtime only"):
        plan(network, device, route="elsewhere", runtime="LiteRT==2.3.0")
    with pytest.raises(ProfileError, match="LiteRT==2.3.0, tflite-runtime==2.14.0. Received: TFLM"):
        plan(network, device, runtime="TFLM")


def test_auto_without_a_cost_table_asks_for_a_name(network: keras.Model) -> None:
    device = phone(None, route("half", "float32", HALF), route("int8", "int8"))
    with pytest.raises(PlanError, match="cost table.*Name a route: half, int8"):
        plan(network, device, route="auto")


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("numerics", ["float32", "float16-arithmetic", "int8"])
def test_the_cost_table_of_a_core_expects_what_is_counted_there(
    numerics: Numerics, tmp_path: Path
) -> None:
    """A small network that no probe resembles, within 15 %; large ones come nearer."""
    from edgeprune.planning.network_cost import dense_cost
    from edgeprune.profiles.kernel_costs import read_costs
    from edgeprune.targets.arm64_emulated import ARM64_EMULATED
    from edgeprune.targets.arm64_emulated.probe_network import ProbeNetwork
    from edgeprune.tflite.format.file import read

    net = ProbeNetwork((1, 40, 40, 3), numerics)
    net.convolve(net.random(24, 3, 3, 3), 2, same=True)
    for outputs, stride in ((48, 1), (64, 2), (64, 1), (96, 2)):
        net.convolve(net.random(1, 3, 3, net.shape[3]), stride, same=True)
        net.convolve(net.random(outputs, 1, 1, net.shape[3]), 1)
    net.average()
    net.connect(100)
    path = tmp_path / "net.tflite"
    path.write_bytes(net.packed())
    graph = read(path)
    table = read_costs("cortex-a76")
    for runtime in table.runtimes[:2]:
        words = f"{runtime.name}=={runtime.version}"
        (count,) = ARM64_EMULATED.count_each([graph], words, core="cortex-a76")
        assert dense_cost(graph, runtime, numerics) == pytest.approx(count, rel=0.15)
