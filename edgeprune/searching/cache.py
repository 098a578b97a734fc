"""What evaluations left in a folder, by content: files by hash, findings by what they depend on.

Several workers may share it: everything appears whole, and what is there is never changed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.core import digest
from edgeprune.core.digest import Fingerprint
from edgeprune.core.errors import OutputError
from edgeprune.core.files import Artifact, make_output_folder, replacing, write_file
from edgeprune.tflite.metadata import manifest_path

_SCHEMA = 1


@dataclass(frozen=True)
class Cache:
    """A folder with files and findings; it is made when something is kept."""

    folder: Path

    def find(self, kind: str, made_from: Fingerprint) -> Any | None:
        """A finding, if it was kept and is whole.

        Args:
          kind: what was found out, such as "outcome".
          made_from: the digests of all that it depends on.
        """
        try:
            record = json.loads(self._path(kind, made_from).read_text(encoding="utf-8"))
            sha256 = record.pop("sha256")
        except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
            return None
        sound = record.get("schema") == _SCHEMA and sha256 == digest.of_json(record)
        return record.get("content") if sound else None

    def keep(self, kind: str, made_from: Fingerprint, content: Any) -> None:
        """Keeps a finding, as JSON has it.

        Raises:
          OutputError: it cannot be written.
        """
        path = self._path(kind, made_from)
        self.make(path.parent)
        record = {"schema": _SCHEMA, "made_from": dict(made_from), "content": content}
        write_file(path, json.dumps({**record, "sha256": digest.of_json(record)}).encode())

    def keep_file(self, artifact: Artifact) -> Path:
        """Keeps a .tflite file and its manifest; returns where.

        Raises:
          OutputError: they cannot be written.
        """
        path = self.file(artifact.sha256)
        self.make(path.parent)
        for source, target in (
            (manifest_path(artifact.path), manifest_path(path)),
            (artifact.path, path),  # last, since it says that both are there
        ):
            if source.exists():
                with replacing(target) as new:
                    shutil.copyfile(source, new)
        return path

    def file(self, sha256: str) -> Path:
        """Where the file of a hash is, if it was kept; its manifest lies beside it."""
        return self.folder / "files" / f"{sha256}.tflite"

    def has_file(self, sha256: str) -> bool:
        """Whether a file of a hash is there, whole."""
        return digest.of_file(self.file(sha256)) == sha256

    def model(self, key: str) -> Path:
        """Where a pruned model is, if it was kept."""
        return self.folder / "models" / f"{key}.keras"

    def training(self, key: str) -> Path:
        """The folder for the state of training."""
        return self.folder / "training" / key

    def make(self, folder: Path) -> None:
        """Makes a folder of the cache.

        Raises:
          OutputError: it cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be made ({error.strerror or error}). Name another folder."
            ) from error
        make_output_folder(folder)

    def _path(self, kind: str, made_from: Fingerprint) -> Path:
        return self.folder / kind / f"{digest.of_json(dict(made_from))}.json"
