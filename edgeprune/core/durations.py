"""How long something may take, as people write it."""

from __future__ import annotations

import re

from edgeprune.core.errors import InputError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def read_duration(given: str | float) -> float:
    """Seconds, of `90s`, `45m`, `2h`, `1h30m` or a number of seconds.

    Raises:
      InputError: it is none of these, or not above 0.
    """
    text = str(given).strip().lower().replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
    whole = "".join(f"{number}{unit}" for number, unit in parts)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not parts or whole != text or not 0 < seconds < float("inf"):
        raise InputError(
            f"Expected a time such as 90s, 45m or 2h, above 0. Received: {given!r:.40}."
        )
    return seconds
