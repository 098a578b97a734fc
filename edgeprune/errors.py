"""Every error that edgeprune raises on purpose, and the exit code each one ends a command with.

    EdgepruneError
    ├── InputError            2  what was given cannot be used
    │   ├── ProfileError         a device profile: unknown name, unreadable file, wrong key or value
    │   ├── PatternError         a pattern that does not parse or does not fit
    │   ├── PlanError            a plan that does not parse or does not fit the model
    │   ├── ModelError           a Keras model that cannot be read, followed or converted
    │   ├── TfliteError          a .tflite file that does not parse
    │   ├── DataError            arrays that are missing, mis-shaped or not finite
    │   └── OutputError          a place that cannot be written to
    ├── TargetError           2  an instrument that is unknown or not installed
    └── CheckError            1  a check of a result failed

A message names its subject (file, layer, tensor), what was expected, what was received and how to
go on. The command line prints it without a traceback.
"""

from __future__ import annotations


class EdgepruneError(Exception):
    """Root of the tree; catch it to catch everything that edgeprune raises on purpose."""

    exit_code = 2


class InputError(EdgepruneError):
    """What was given cannot be used."""


class ProfileError(InputError):
    """A device profile is unknown, unreadable or does not follow the schema."""


class PatternError(InputError):
    """A pattern does not parse, or does not fit what it was asked for."""


class PlanError(InputError):
    """A plan does not parse, or does not fit the model."""


class ModelError(InputError):
    """A Keras model cannot be read, followed or converted."""


class TfliteError(InputError):
    """A .tflite file does not parse."""


class DataError(InputError):
    """Arrays are missing, have the wrong shape, or hold values that are not finite."""


class OutputError(InputError):
    """A file or folder cannot be written."""


class TargetError(EdgepruneError):
    """An instrument is unknown or not installed."""


class CheckError(EdgepruneError):
    """A check of a result failed."""

    exit_code = 1
