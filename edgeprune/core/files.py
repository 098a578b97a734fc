"""Files that edgeprune writes: atomic writes, and an artifact's sizes and hash."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import OutputError, TfliteError

TFLITE = ".tflite"
"""How the names of TensorFlow Lite's files end."""
KERAS = (".keras", ".h5")
"""How the names of Keras' files end."""
SAVED_MODEL = "saved_model.pb"
"""The file that a SavedModel folder holds."""


@dataclass(frozen=True)
class Artifact:
    """A .tflite file on disk; sizes in bytes."""

    path: Path
    sha256: str
    size_bytes: int
    gzip_bytes: int
    """Size after gzip at level 6, as in a download or an app bundle, where zeros compress."""


def describe_file(path: Path) -> Artifact:
    """Reads a file's hash and sizes.

    Raises:
      TfliteError: the file does not exist or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TfliteError(
            f"{path}: expected a .tflite file. Received: {error.strerror or error}."
        ) from error
    return Artifact(
        path,
        hashlib.sha256(content).hexdigest(),
        len(content),
        len(gzip.compress(content, compresslevel=6, mtime=0)),
    )


def require_file(path: Path) -> None:
    """Checks that there is a .tflite file to read, again and again: a pipe would be waited for.

    Raises:
      TfliteError: there is nothing, or something else than a regular file.
    """
    try:
        found = _kind_at(path) or "no such file"
    except OSError as error:
        found = error.strerror or str(error)
    if found == "a file":
        return
    remedy = "Check the path."
    if found not in {"no such file", "a folder"}:
        remedy = "Write what it holds into a file, and name that."
    raise TfliteError(f"{path}: expected a .tflite file. Received: {found}. {remedy}")


def require_folder(path: Path) -> None:
    """Checks that a file can be written at `path`, before any work on it starts.

    A symbolic link is followed. What is there may only be a regular file: a device, FIFO or socket
    would be replaced by one.

    Raises:
      OutputError: its folder is missing or not writable, the name is too long, or something other
        than a regular file is there.
    """
    found = kind_of(path)
    if found == "a folder":
        raise OutputError(f"{path}: expected the name of a file to write. Received: a folder.")
    if found not in {None, "a file"}:
        raise OutputError(
            f"{path}: expected the name of a file to write. Received: {found}, which edgeprune "
            "does not replace. Name a file, and send that on."
        )
    folder = path.resolve().parent if path.is_symlink() else path.parent
    if kind_of(folder) != "a folder":
        raise OutputError(
            f"{path}: the output folder '{folder}' does not exist. Make it first: mkdir -p {folder}"
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path}: the output folder '{folder}' is not writable.")


def require_output_folder(folder: Path, *names: str) -> None:
    """Checks that files can be written into a folder, which is made later if it is not there yet.

    Args:
      folder: the folder.
      names: of the files.

    Raises:
      OutputError: it is something else, it cannot be made or written to, or one of its files
        cannot be written, as `require_folder` says.
    """
    found = kind_of(folder)
    if found is None:
        require_folder(folder)
        return
    if found != "a folder":
        raise OutputError(f"{folder}: expected a folder. Received: {found}.")
    for name in names:
        require_folder(folder / name)


def make_output_folder(folder: Path) -> None:
    """Makes a folder for outputs where it is not there yet.

    Raises:
      OutputError: it cannot be made.
    """
    require_output_folder(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise _not_written(folder, error) from error


def is_tflite(model: object) -> bool:
    """Whether a model is given as the path of a .tflite file."""
    return isinstance(model, str | Path) and Path(model).suffix == TFLITE


def is_saved_model(model: object) -> bool:
    """Whether a model is given as the path of a folder, which has to be a SavedModel."""
    return isinstance(model, str | Path) and not is_tflite(model) and Path(model).is_dir()


def require_keras_name(path: Path) -> None:
    """Checks that a file at `path` can be written as a Keras model.

    Raises:
      OutputError: as `require_folder`, or the name does not end in `.keras`.
    """
    if path.suffix != ".keras":
        raise OutputError(f"{path}: expected an output name ending in .keras.")
    require_folder(path)


def require_output_name(model: Path, output: Path) -> None:
    """Checks that what is pruned of a model can be written under a name.

    Of a model whose kind its name does not tell, that is found out when it is opened.

    Raises:
      OutputError: the name ends otherwise than the model's kind asks for, or as `require_folder`.
    """
    if is_tflite(model) or is_saved_model(model):
        require_tflite_name(output)
    elif model.suffix in KERAS:
        require_keras_name(output)
    else:
        require_folder(output)


def require_tflite_name(output: Path) -> None:
    """Checks that what is pruned of a .tflite file or SavedModel can be written under a name.

    Raises:
      OutputError: it does not end in .tflite, or as `require_folder`.
    """
    if output.suffix != TFLITE:
        raise OutputError(
            f"{output}: expected an output name ending in .tflite, since what is pruned of a "
            ".tflite file or a SavedModel is written back into a .tflite file. Received: "
            f"'{output.suffix}'."
        )
    require_folder(output)


def write_file(path: Path, *parts: bytes | memoryview) -> None:
    """Writes a file in one step, as `replacing` says.

    Args:
      path: the file; an existing one is replaced.
      parts: contents, written one after the other.

    Raises:
      OutputError: as `require_folder`, or the disk is full.
    """
    with replacing(path) as new, new.open("wb") as file:
        file.writelines(parts)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields where to write a file that appears at `path` when the block ends well.

    The file appears whole and is on the disk by then. Whatever else happens, `path` stays as it
    was, and nothing is left beside it. A symbolic link is followed. A file that is replaced passes
    on its mode and, where the system allows it, its owner; a new one gets what the umask leaves.

    The place is a new folder beside the file, since only there can it be renamed in one step, and
    has a short name of its own, since the file's may be as long as the system allows.

    Raises:
      OutputError: as `require_folder`, or the disk is full.
    """
    require_folder(path)
    target = path.resolve()
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".edgeprune-") as folder:
            new = Path(folder, f"new{path.suffix}")
            yield new
            _put_in_place(new, target)
    except OSError as error:
        raise _not_written(path, error) from error


def _put_in_place(new: Path, target: Path) -> None:
    """Renames a file to its place once its content, mode and owner are as they should be."""
    with new.open("r+b") as file:  # Windows synchronizes only what is open for writing
        with contextlib.suppress(FileNotFoundError):
            before = target.stat()
            if hasattr(os, "chown"):
                with contextlib.suppress(PermissionError):
                    os.chown(file.fileno(), before.st_uid, before.st_gid)
            new.chmod(stat.S_IMODE(before.st_mode))
        os.fsync(file.fileno())
    new.replace(target)
    # The rename itself is kept by the folder; not every file system lets a folder be synchronized.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror or error}).")


_KINDS = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO (named pipe)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def kind_of(path: Path) -> str | None:
    """What is at a path, symbolic links followed; None if nothing is.

    Raises:
      OutputError: that cannot be found out: the name is too long, or links lead in a circle.
    """
    try:
        return _kind_at(path)
    except OSError as error:
        raise _not_written(path, error) from error


def _kind_at(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((name for matches, name in _KINDS if matches(mode)), "something unknown")
