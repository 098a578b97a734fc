"""What a pruned network's values are on samples."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgeprune.conversion.lift.layers import Saturate
from edgeprune.conversion.lift.mend.watch import watch

SPAN = (-1.0, 0.5)


def test_values_are_seen_before_their_range_cuts_them_and_sums_behind_it() -> None:
    given = keras.Input((6, 4))
    made = keras.layers.Dense(3, name="dense")(given)
    cut = Saturate(*SPAN, name="cut")(made)
    model = keras.Model(given, keras.layers.Flatten()(cut))
    x = np.random.default_rng(0).normal(size=(70, 6, 4)).astype(np.float32)
    found = watch(model, {5: cut, 8: given}, {5: SPAN, 8: (-9.0, 9.0)}, [x], {5})
    whole = x @ np.asarray(model.get_layer("dense").kernel)
    assert (found[5].low, found[5].high) == pytest.approx((whole.min(), whole.max()), abs=1e-5)
    np.testing.assert_allclose(np.sort(found[5].values), np.sort(whole.ravel()), atol=1e-5)
    mean = np.clip(whole, *SPAN).mean(axis=(0, 1))
    inside = ((whole > SPAN[0]) & (whole < SPAN[1])).mean(axis=(0, 1))
    np.testing.assert_allclose(found[5].sums, [mean, inside], atol=1e-5)
    assert found[8].sums.shape == (2, 0)
    assert found[8].high == x.max()
