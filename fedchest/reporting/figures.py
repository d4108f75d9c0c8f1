"""Pictures as PNG files."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from fedchest.files import write_atomically

_DPI = 120


@contextmanager
def picture(path: Path, columns: int, **layout: Any) -> Iterator[list[Axes]]:
    """`columns` axes side by side to draw on; written to `path` when the block ends well. Raises StoreError."""
    drawn, axes = pyplot.subplots(1, columns, squeeze=False, layout="constrained", **layout)
    try:
        yield list(axes[0])
        buffer = BytesIO()
        drawn.savefig(buffer, format="png", dpi=_DPI)
    finally:
        pyplot.close(drawn)
    write_atomically(path, buffer.getvalue())
