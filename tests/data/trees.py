"""Names that the data tests share."""

from collections.abc import Callable
from pathlib import Path

FOLDER = "CheXpert-v1.0-small"

Row = dict[str, str]
MakeTree = Callable[..., Path]
