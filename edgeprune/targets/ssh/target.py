"""The instrument: outputs and latency of files on a board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.errors import TargetError
from edgeprune.targets.checks import Case, Check, check_finite, named_outputs
from edgeprune.targets.child import WorkerError, worker_model
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.replies import check_refusal, check_reply, check_runs
from edgeprune.targets.ssh.address import Address
from edgeprune.targets.ssh.connection import Session, client, client_version
from edgeprune.targets.target import Capabilities, Readiness, Remote
from edgeprune.targets.timing import choose_runtime, time_files

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

_NAME = "ssh"
FORM = "--target ssh:[USER@]HOST[:PORT]"
_TIME_LIMIT_S = 900.0
_DESCRIPTION_LIMIT_S = 60.0
"""How long a board may take to say what it is."""


class Ssh(Remote):
    """Runs files on a board with whichever runtime is installed there."""

    capabilities = Capabilities(every_numerics=True, cost_unit="ms")

    def __init__(self, address: str) -> None:
        """Takes an address `[user@]host[:port]`; with an empty one it can only say what it is.

        Raises:
          TargetError: the address is not of this form.
        """
        self.address = Address.parse(address) if address else None

    def readiness(self) -> Readiness:
        """Ready if there is an SSH client and a board is named; no connection is made."""
        program = client()[0]
        found = client_version(program)
        if found is None:
            return Readiness(False, f"no '{program}'", "apt-get install openssh-client")
        if self.address is None:
            return Readiness(False, f"{found}; no board is named", FORM)
        return Readiness(True, found)

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Looks whether the board can be used; installs nothing there.

        Raises:
          TargetError: no board is named, it cannot be reached, or it lacks a runtime.
        """
        tell(f"asking {self.address}", 0, 1)
        with self._session(Settings()) as session:
            session.require_runtime(_describe(session)["runtimes"])

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Times files in turn, round by round, by the same protocol as `host`."""
        settings.tell(f"connecting to {self.address}", 0, 1)
        with self._session(settings) as session:
            runtime = _runtime(session, profile, settings)

            def run(job: dict[str, Any], inputs: Any) -> Any:
                return session.run(job, inputs, time_limit_s=_TIME_LIMIT_S)

            name = f"{_NAME}:{self.address}"
            return time_files(run, models, profile, settings, target=name, runtime=runtime)

    def check(self, case: Case) -> Iterator[Check]:
        """Runs a file on the board, if one is named, and compares its outputs."""
        if self.address is None:
            return
        with self._session(case.settings) as session:
            runtime = _runtime(session, case.profile, case.settings)
            job = {
                "kind": "run",
                "runtime": runtime,
                "threads": 1,
                "delegates": True,
                "models": [worker_model(case.graph)],
            }
            try:
                reply = session.run(job, [case.inputs], time_limit_s=_TIME_LIMIT_S)
            except WorkerError as error:
                yield check_refusal(case, f"{runtime} on {self.address}", error)
                return
        reply.facts["runtime"] += f" on {self.address}"
        yield check_runs(case, reply)
        yield check_finite(named_outputs(case.graph, reply.outputs), reply.facts["runtime"])
        if case.wanted is not None:
            yield check_reply(case, reply, case.wanted)

    def _session(self, settings: Settings) -> Session:
        if self.address is None:
            raise TargetError(f"Target '{_NAME}': no board is named. Expected: {FORM}")
        return Session(self.address, settings.python)


def _describe(session: Session) -> dict[str, Any]:
    job = {"kind": "describe", "models": []}
    return session.run(job, [], time_limit_s=_DESCRIPTION_LIMIT_S).facts


def _runtime(session: Session, profile: DeviceProfile, settings: Settings) -> str:
    """The runtime of the board to use: the one asked for, else one that the profile names."""
    found = _describe(session)["runtimes"]
    session.require_runtime(found)
    return choose_runtime(f"{_NAME}:{session.address}", found, profile, settings)
