"""A folder of images with one sub-folder per class, decoded as they are used.

As in `keras.utils.image_dataset_from_directory`, classes are numbered in the alphabetical order of
their folders, and an orientation noted in EXIF is not applied.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import InputSpec, Ports, Rows, Scale
from edgeprune.core.errors import DataError, QualityWarning
from edgeprune.core.npz import DAMAGE
from edgeprune.core.sources.table import Table, describe_scaling

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
MODES: Mapping[int, str] = MappingProxyType({1: "L", 3: "RGB"})
"""Pillow's mode by the number of channels that a model takes."""
MAX_BROKEN = 0.01
"""Fraction of the images that may be broken."""
KEPT_BYTES = 1 << 30
"""Decoded images are kept if all of them take no more than that; else they are decoded again."""
THREADS = min(8, os.cpu_count() or 1)
_NAMED = 3
"""Files that a message names; more are counted."""


def image_table(folder: Path, ports: Ports, scale: Scale) -> Table:
    """The images of a folder, resized to what a model takes, with the number of their class.

    Args:
      folder: one sub-folder per class, with JPEG, PNG, BMP or WebP files at any depth.
      ports: what the model takes: one input of grey or RGB images.
      scale: what uint8 is scaled by.

    Raises:
      DataError: there are no images, the classes do not fit the model's outputs, or the model does
        not take images of a fixed size.

    Warns:
      QualityWarning: files of other kinds are left out.
    """
    size = _image_size(folder, ports.inputs)
    classes = class_folders(folder)
    files = [_images_below(place) for place in classes]
    _require_classes(folder, [place.name for place in classes], ports.scores)
    paths = [path for found in files for path in found]
    if not paths:
        raise DataError(
            f"{folder}: expected JPEG, PNG, BMP or WebP files in one sub-folder per class. "
            f"Received: none in {', '.join(place.name for place in classes)}."
        )
    numbers = np.repeat(np.arange(len(files)), [len(found) for found in files])
    column = ImageColumn(folder, tuple(paths), size)
    (spec,) = ports.inputs
    return Table(
        subject=str(folder),
        names=("x",),
        columns=(column,),
        specs=ports.inputs,
        scale=scale,
        label_names=("y",),
        stored_labels=(numbers,),
        scaling=describe_scaling([("x", column.dtype)], (spec,), scale),
        classes=tuple(place.name for place in classes),
    )


def class_folders(folder: Path) -> list[Path]:
    """The sub-folders of a folder in alphabetical order, without hidden ones."""
    return sorted(
        (place for place in folder.iterdir() if place.is_dir() and not place.name.startswith(".")),
        key=lambda place: place.name,
    )


def _image_size(folder: Path, inputs: Sequence[InputSpec]) -> tuple[int, int, int]:
    shapes = [spec.shape for spec in inputs]
    if len(shapes) == 1 and len(shapes[0]) == 3:
        height, width, channels = shapes[0]
        if height and width and channels and channels in MODES:
            return height, width, channels
    told = ", ".join(str([size or "any" for size in shape]) for shape in shapes)
    raise DataError(
        f"{folder}: expected a model with one input of images [height, width, 1 or 3] of a fixed "
        f"size, for a folder of images. Received: a model that takes {told}. Give arrays (.npz), "
        "or a function (file.py:function) that makes what the model takes."
    )


def _require_classes(folder: Path, names: Sequence[str], scores: int | None) -> None:
    """Checks that there is a folder for each output; a single output tells two classes apart."""
    wanted = 2 if scores == 1 else scores
    if wanted is None or len(names) == wanted:
        return
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    outputs = "1 output, which tells 2 classes apart" if scores == 1 else f"{scores} outputs"
    raise DataError(
        f"{folder}: expected one sub-folder for each class of the model, which has {outputs}. "
        f"Received: {len(names)} ({shown}). Name the folder that holds the folders of the "
        "classes; a class without images needs an empty one."
    )


def _images_below(place: Path) -> list[Path]:
    files = sorted(path for path in place.rglob("[!.]*") if path.is_file())
    images = [path for path in files if path.suffix.lower() in ENDINGS]
    others = len(files) - len(images)
    if others:
        first = next(path for path in files if path.suffix.lower() not in ENDINGS)
        warnings.warn(
            f"{place}: {others} files that are not JPEG, PNG, BMP or WebP are left out, such as "
            f"{first.name}.",
            QualityWarning,
            stacklevel=2,
        )
    return images


@dataclass(frozen=True, eq=False)
class _Kept:
    """What is known of the images of a folder so far; it grows while they are read."""

    images: dict[int, Array]
    """Decoded images by their row, where they are kept."""
    broken: dict[int, str]
    """Why a row cannot be read."""
    lock: Any


class ImageColumn:
    """Images as uint8 `[n, h, w, c]`, each decoded when it is asked for, in threads.

    Those that were decoded once are kept where all of them fit into `KEPT_BYTES`.
    """

    def __init__(self, folder: Path, paths: tuple[Path, ...], size: tuple[int, int, int]) -> None:
        self.shape = (len(paths), *size)
        self.dtype = np.dtype(np.uint8)
        self._folder, self._paths = folder, paths
        self._keeps = int(np.prod(self.shape)) <= KEPT_BYTES
        self._kept = _Kept({}, {}, threading.Lock())

    def read(self, rows: Rows) -> tuple[Array, Rows]:
        """The images of some rows, and the places in `rows` of those that could be read.

        Raises:
          DataError: more than `MAX_BROKEN` of all images turned out to be broken.

        Warns:
          QualityWarning: names images that are broken and left out, each once.
        """
        known = len(self._kept.broken)
        with ThreadPoolExecutor(THREADS) as pool:
            decoded = list(pool.map(self._image, map(int, rows)))
        if len(self._kept.broken) > known:
            self._tell_broken(known)
        places = [place for place, image in enumerate(decoded) if image is not None]
        images = np.empty((len(places), *self.shape[1:]), np.uint8)
        for image, found in zip(images, filter(lambda one: one is not None, decoded), strict=True):
            image[:] = found
        return images, np.array(places, np.intp)

    def readable(self, rows: Rows) -> Rows:
        """Those of some rows that can be read; looks at all of them."""
        step = 256
        parts = [rows[start : start + step] for start in range(0, len(rows), step)]
        return np.concatenate([part[self.read(part)[1]] for part in parts])

    def identity(self, rows: Rows) -> Iterator[Any]:
        """Size, names, lengths and times of change of the files, which are not read for that."""
        yield str(self.shape).encode()
        for path in (self._paths[row] for row in rows):
            found = path.stat()
            name = path.relative_to(self._folder).as_posix()
            yield f"{name}:{found.st_size}:{found.st_mtime_ns}\n".encode(errors="surrogateescape")

    def content(self, rows: Rows) -> Iterator[Any]:
        """The size that images are read at, and the bytes of their files."""
        yield str(self.shape[1:]).encode()
        for row in rows:
            try:
                yield self._paths[row].read_bytes()
            except OSError:  # it cannot be read as an image either
                yield b""

    def _image(self, row: int) -> Array | None:
        kept = self._kept
        if row in kept.images:
            return kept.images[row]
        if row in kept.broken:
            return None
        try:
            image = decode(self._paths[row], (self.shape[1], self.shape[2], self.shape[3]))
        except (*DAMAGE, AttributeError) as error:
            with kept.lock:
                kept.broken[row] = " ".join(str(error).split())[:200] or type(error).__name__
            return None
        if self._keeps:
            with kept.lock:
                kept.images[row] = image
        return image

    def _tell_broken(self, known: int) -> None:
        broken = self._kept.broken
        fresh = list(broken.items())[known:]
        named = "; ".join(f"{self._paths[row]}: {why}" for row, why in fresh[:_NAMED])
        more = f"; and {len(fresh) - _NAMED} more" if len(fresh) > _NAMED else ""
        count, total = len(broken), self.shape[0]
        if count > MAX_BROKEN * total:
            raise DataError(
                f"{self._folder}: expected at most {MAX_BROKEN:.0%} of {total} images to be "
                f"broken. Received: {count} that cannot be decoded ({named}{more}). Repair or "
                "remove them."
            )
        warnings.warn(
            f"{self._folder}: left out {len(fresh)} of {total} images, which cannot be decoded "
            f"({named}{more}).",
            QualityWarning,
            stacklevel=3,
        )


def decode(path: Path, size: tuple[int, int, int]) -> Array:
    """Decodes an image, grey or RGB, and resizes it.

    Args:
      path: JPEG, PNG, BMP or WebP; of several pictures the first is taken.
      size: height, width and channels (1 or 3).

    Returns:
      uint8 `[h, w, c]`.

    Raises:
      whatever Pillow raises on damaged files, see `npz.DAMAGE`.
    """
    from PIL import Image

    height, width, channels = size
    try:
        with Image.open(path) as file:
            # A JPEG may be decoded at a half or less of its size, if that is still larger.
            file.draft(MODES[channels], (2 * width, 2 * height))
            image = _of_eight_bits(file).convert(MODES[channels])
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(size)


def _of_eight_bits(image: Any) -> Any:
    """An image with eight bits per channel; Pillow would cut values of 16 bits off at 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
