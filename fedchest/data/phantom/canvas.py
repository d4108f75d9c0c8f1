"""Drawing primitives on square float32 maps. Coordinates u (right) and v (down) run from -1 to 1."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.floating[Any]]
"""A float32[N, N] map; the alias is wider because numpy's stubs lose the precision of mixed expressions."""

Point = tuple[float, float]


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Map, Map]:
    """The coordinates (u, v) of the pixel centres, each float32[size, size], read-only."""
    axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    u, v = np.meshgrid(axis, axis)
    u.flags.writeable = v.flags.writeable = False
    return u, v


def flat(x: Map) -> Map:
    """A plateau of height 1 from about -0.7 to 0.7 that falls to 1/e at -1 and 1."""
    square = x * x
    result: Map = np.exp(-square * square)
    return result


def step(x: Map) -> Map:
    """The logistic function: 0 far below zero, 1 far above. Scale `x` by the wanted sharpness."""
    result: Map = np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x)
    return result


def bump(u: Map, v: Map, centre: Point, widths: Point) -> Map:
    """A Gaussian of height 1 at `centre` whose value is 1/e at `widths` from it."""
    result: Map = np.exp(-(((u - centre[0]) / widths[0]) ** 2) - ((v - centre[1]) / widths[1]) ** 2)
    return result


def ball(u: Map, v: Map, centre: Point, radius: float) -> Map:
    """The thickness of a ball seen from outside: 1 in the middle, 0 beyond `radius`."""
    return dome(norm(u - np.float32(centre[0]), v - np.float32(centre[1])) / np.float32(radius))


def norm(x: Map, y: Map) -> Map:
    """The length of the vector (x, y); faster than numpy's hypot, whose guard against overflow is not needed."""
    result: Map = np.sqrt(x * x + y * y)
    return result


def dome(x: Map) -> Map:
    """Half a circle: 1 where `x` is 0, 0 from 1 on."""
    result: Map = np.sqrt(np.maximum(1 - x * x, np.float32(0)))
    return result


def upsample(coarse: Map, size: int) -> Map:
    """`coarse`, a square map of at least 2 x 2, interpolated linearly to size x size."""
    low, weight = _interpolation(len(coarse), size)
    rows = coarse[low] * (1 - weight)[:, None] + coarse[low + 1] * weight[:, None]
    result: Map = rows[:, low] * (1 - weight) + rows[:, low + 1] * weight
    return result


@lru_cache(maxsize=64)
def _interpolation(cells: int, size: int) -> tuple[npt.NDArray[np.int64], Map]:
    position = (np.arange(size) + 0.5) / size * (cells - 1)
    low = np.minimum(position.astype(np.int64), cells - 2)
    return low, (position - low).astype(np.float32)


def texture(random: np.random.Generator, size: int, cells: int) -> Map:
    """Smooth noise of about unit variance with `cells` lumps along a side."""
    return upsample(random.standard_normal((cells + 1, cells + 1), dtype=np.float32), size)


_T = np.linspace(0, 1, 12)
_BEZIER = np.stack([(1 - _T) ** 2, 2 * _T * (1 - _T), _T**2], axis=1)


def curve(*points: Point) -> npt.NDArray[np.float64]:
    """Points, [M, 2], along quadratic Bezier curves: start, control, end, and control, end for each further one."""
    corners = np.array(points)
    return np.vstack([_BEZIER @ corners[first : first + 3] for first in range(0, len(points) - 2, 2)])


@lru_cache(maxsize=8)
def _offsets(reach: int) -> npt.NDArray[np.int64]:
    axis = np.arange(-reach, reach + 1)
    return np.stack(np.meshgrid(axis, axis)).reshape(2, -1)


def stroke(size: int, path: npt.NDArray[np.float64], width: float) -> Map:
    """A tube of height 1 along the polyline `path`, [M, 2], about `width` wide but never under a pixel."""
    length = float(np.abs(np.diff(path, axis=0)).sum())
    along = np.linspace(0, len(path) - 1, max(8, int(0.8 * size * length)))
    x = (np.interp(along, np.arange(len(path)), path[:, 0]) + 1) / 2 * size - 0.5
    y = (np.interp(along, np.arange(len(path)), path[:, 1]) + 1) / 2 * size - 0.5
    radius = max(0.6, width * size / 2)
    reach = int(np.ceil(2 * radius))
    dx, dy = _offsets(reach)
    column = np.rint(x).astype(np.int64)[:, None] + dx
    row = np.rint(y).astype(np.int64)[:, None] + dy
    squared = (column - x[:, None]) ** 2 + (row - y[:, None]) ** 2
    height = np.exp(-squared / (2 * (0.6 * radius) ** 2)).astype(np.float32)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    canvas = np.zeros((size, size), dtype=np.float32)
    np.maximum.at(canvas, (row[inside], column[inside]), height[inside])
    return canvas
