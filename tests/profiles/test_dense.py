"""Dense models on a device: what stands beside a pruned one, in one number format each."""

from __future__ import annotations

from edgeprune.core.pattern import Block
from edgeprune.profiles.dense import dense_on
from edgeprune.profiles.profile import load_profile
from tests.profiles.test_routes import DENSE, SPARSE, phone, route
from tests.support.profiles import rule


def test_a_dense_route_of_the_profile_is_taken_and_else_one_is_added() -> None:
    made = phone(route("half"), SPARSE, DENSE)
    own, added = dense_on(made, "int8"), dense_on(made, "float32")
    assert (own.route.name, added.route.name) == ("dense-int8", "dense-float32")
    assert (own.numerics, added.numerics) == ("int8", "float32")
    assert [each.route.dense for each in (own, added)] == [True, True]
    assert own.prunable == made.prunable


def test_an_added_route_takes_no_name_that_the_profile_has() -> None:
    made = phone(route("dense-int8"))
    assert dense_on(made, "int8").route.name == "unpruned-int8"


def test_a_dense_file_is_stored_densely_whatever_the_profile_stores_sparsely() -> None:
    sparse = load_profile("xnnpack-arm64")
    assert sparse.encoding.runtimes
    assert dense_on(sparse, "float32").encoding.runtimes == ()
    own = {**DENSE, "encoding": sparse.encoding, "numerics": "float32"}
    runtimes = [{**dict(r)} for r in sparse.runtimes]
    made = phone(route("half", "float32", rules=(rule(Block(2, 1)),)), own, runtimes=runtimes)
    assert dense_on(made, "float32").encoding.runtimes == ()


def test_a_dense_route_whose_needs_are_not_met_is_not_taken() -> None:
    made = phone(route("half"), {**DENSE, "needs": ("dot-product",)}, core="cortex-a72")
    assert dense_on(made, "int8").route.name == "unpruned-int8"
