"""Why a connection failed, in OpenSSH's words and with what to do."""

from __future__ import annotations

import re
import shlex

from edgeprune.targets.child import MAX_MESSAGE, last_error
from edgeprune.targets.ssh.address import Address


def explain_failure(address: Address, python: str, code: int | None, said: str) -> str:
    """Why a connection failed, and what to do about it.

    Args:
      address: of the board.
      python: the command of the board's Python.
      code: the client's exit code: 255 if it failed by itself, else the remote command's.
      said: what the client and the remote command wrote to standard error.
    """
    host = shlex.join(["ssh", *address.arguments()]).replace(" -- ", " ")
    lines = [line.strip() for line in said.splitlines() if line.strip(" @")]
    reason = last_error(said) if code != 255 else (lines[-1] if lines else "no message")
    for pattern, advice in _ADVICE:
        if re.search(pattern, said):
            found = next((line for line in lines if re.search(pattern, line)), reason)
            return f"{address}: {advice.format(host=host, python=python)} ({found[:MAX_MESSAGE]})"
    if code == 127 or "not found" in said or "No such file" in said:
        return (
            f"{address}: expected Python 3.7 or later there, as '{python}'. Received: "
            f"{reason or 'no such command'}. Name another one: --board-python PATH"
        )
    return (
        f"{address}: the connection broke ({reason or 'no message'}); the board removes by itself "
        f"what was sent. Try: {host} true"
    )


_ADVICE = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host's key is not the one that is known. If you know why it changed, remove the old "
        "one with ssh-keygen -R, then connect once and compare the fingerprint: {host}",
    ),
    (
        r"Host key verification failed",
        "the host's key is not known, and edgeprune adds none by itself. Connect once and compare "
        "the fingerprint: {host}",
    ),
    (
        r"Permission denied",
        "the board accepts none of your keys. Load yours into the agent (ssh-add), or copy it "
        "there: ssh-copy-id; {host} must work without a password",
    ),
    (
        r"Could not resolve hostname|Connection refused|No route to host|timed out|"
        r"Network is unreachable",
        "the board cannot be reached. Try: {host}",
    ),
    (
        r"SyntaxError|future feature annotations",
        "expected Python 3.7 or later there, as '{python}'. Name another one: --board-python PATH",
    ),
)
"""What OpenSSH's client says, and what to do. Source: its messages as of version 9.2."""
