"""Addresses of boards, as a person writes them and as `ssh` takes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeprune.core.errors import TargetError


@dataclass(frozen=True)
class Address:
    """Where a board is: `[user@]host[:port]`, the host as `ssh` and its configuration know it."""

    host: str
    """With the user in front, if one is named."""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads an address; a numeric IPv6 host is put in brackets if a port follows.

        Raises:
          TargetError: it is not of this form.
        """
        found = re.fullmatch(r"((?:[^@\s:]+@)?)(?:\[([^\]\s@]+)\]|([^\s:\[\]@]+))(?::(\d+))?", text)
        port = int(found[4]) if found and found[4] else None
        if not found or text.startswith("-") or (port is not None and not 0 < port < 65536):
            raise TargetError(
                f"Target 'ssh': expected ssh:[USER@]HOST[:PORT]. Received: 'ssh:{text}'."
            )
        host = found[2] or found[3]
        if host.startswith("-"):
            raise TargetError(f"Target 'ssh': expected the name of a host. Received: '{host}'.")
        return cls(found[1] + host, port)

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def arguments(self) -> list[str]:
        """What names it to `ssh`."""
        return [*(["-p", str(self.port)] if self.port is not None else []), "--", self.host]
