"""What all tests share: a quiet TensorFlow, and real data only where it is there."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
"""Real data beside the checkout; tests that use it stand in tests/shared."""

collect_ignore = [] if SHARED_DATA.is_dir() else ["shared"]
