"""Boards over SSH, such as a Raspberry Pi: real runtimes on the real device.

`connection.py` is this end of a connection, `board.py` the other; what they run is the worker that
`host` runs.
"""

from edgeprune.targets.ssh.target import Ssh

__all__ = ["Ssh"]
