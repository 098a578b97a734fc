"""The Edge TPU without one: what its closed compiler would store, map and estimate.

    storage         parameter bytes of a layer, a function of its shape
    cycles          the compiler's own cycle estimate of a layer
    operators       which operators can be mapped
    mapping         which of a network's are: one subgraph, cut by data dependency
    parameters      bytes and cycles of every operator of a file
    estimate        all of it for a file
    fit             whether parameters stay on the chip
    findings        what `inspect` says
    compiler        runs the real edgetpu_compiler where it is installed
    compiler_log    reads what that prints
    opinion         both, of one file
    checks          what `validate` asks
    target          the instrument

Everything up to `fit` works on a graph, or on plain numbers, and can be used without the rest.
"""

from edgeprune.targets.edgetpu_model.target import EDGETPU_MODEL

__all__ = ["EDGETPU_MODEL"]
