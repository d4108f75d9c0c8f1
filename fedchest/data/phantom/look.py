"""What a hospital's machine and workstation do to the picture: exposure, blur, noise, contrast, borders, marker."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from fedchest.data.phantom.canvas import Map, grid, step, upsample
from fedchest.data.phantom.streams import stream

BORDERS = ("none", "shutters", "round")

_LETTERS = {
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
}


@dataclass(frozen=True)
class SiteLook:
    """One hospital's look. Blur and sharpening are in units of 1/64 of the image's side."""

    contrast: float  # attenuation per unit of tissue: lower at higher tube voltage
    gamma: float  # of the display
    noise: float  # of one detected unit of dose
    blur: float
    sharpening: float
    scatter: float  # share of scattered light
    border: str  # one of BORDERS
    marker: str  # "L", "R" or "" for none: the side that is marked in lead
    ap_share: float  # of frontal images taken AP


def draw_look(seed: int, site: int) -> SiteLook:
    """The look of one site, fixed by `seed` and `site`."""
    random = stream(seed, site, "site look")
    return SiteLook(
        contrast=random.uniform(1.6, 2.3),
        gamma=random.uniform(0.75, 1.35),
        noise=random.uniform(0.005, 0.02),
        blur=random.uniform(0.2, 0.55),
        sharpening=random.uniform(0.0, 0.9),
        scatter=random.uniform(0.03, 0.12),
        border=str(random.choice(BORDERS)),
        marker=str(random.choice(["L", "R", ""])),
        ap_share=random.uniform(0.75, 0.95),
    )


def photograph(
    attenuation: Map, healthy: Map, look: SiteLook, random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """The displayed image, uint8[N, N], of a log attenuation map.

    Scatter and the display window follow from `healthy`, the attenuation without any finding, so that a finding
    changes nothing farther from it than the blur reaches.

    Held by tests/data/test_phantom.py::test_a_finding_changes_the_image_only_where_it_is.
    """
    size = len(attenuation)
    scale = size / 64
    dose = np.exp(np.float32(-look.contrast) * np.maximum(attenuation, np.float32(-0.2)))
    dose = np.float32(1 - look.scatter) * dose + np.float32(look.scatter) * _scatter(healthy, look)
    if look.blur * scale > 0.3:
        dose = gaussian_filter(dose, look.blur * scale, truncate=3.0)
    grain = random.standard_normal(dose.shape, dtype=np.float32)
    dose = dose + np.float32(look.noise) * np.sqrt(np.maximum(dose, np.float32(1e-4))) * grain
    density = -np.log(np.maximum(dose, np.float32(4e-3)))
    if look.sharpening > 0:
        density = density + np.float32(look.sharpening) * (
            density - gaussian_filter(density, 1.3 * scale, truncate=2.5)
        )
    low, high = _window(healthy, look)
    shade = np.clip((density - low) / (high - low), 0, 1) ** np.float32(look.gamma)
    shade = _marked(_collimated(shade, look, random), look, random)
    return np.rint(shade * 255).astype(np.uint8)


def _scatter(healthy: Map, look: SiteLook) -> Map:
    side = len(healthy) // 8
    blocks = healthy[: side * 8, : side * 8].reshape(8, side, 8, side).mean(axis=(1, 3))
    return upsample(np.exp(np.float32(-look.contrast) * blocks), len(healthy))


def _window(healthy: Map, look: SiteLook) -> tuple[np.float32, np.float32]:
    ordered = np.sort(healthy[::4, ::4], axis=None)
    low, high = ordered[int(0.03 * len(ordered))], ordered[int(0.985 * len(ordered))]
    return np.float32(look.contrast * (low - 0.12)), np.float32(look.contrast * (high + 0.10))


def _collimated(shade: Map, look: SiteLook, random: np.random.Generator) -> Map:
    u, v = grid(len(shade))
    if look.border == "shutters":
        left, right, top, bottom = random.uniform(0.88, 1.02, 4)
        result: Map = shade * ((u > -left) & (u < right) & (v > -top) & (v < bottom))
        return result
    if look.border == "round":
        return shade * step(40 * (np.float32(1.28) - np.sqrt(u**2 + v**2)))
    return shade


def _marked(shade: Map, look: SiteLook, random: np.random.Generator) -> Map:
    """The lead letter near the upper corner of its side, a little elsewhere in each image."""
    down, inwards = random.uniform(0.04, 0.2), random.uniform(0.04, 0.12)
    if not look.marker:
        return shade
    size = len(shade)
    pixels = max(1, round(size / 64))
    letter = np.kron(
        np.array([[int(dot) for dot in row] for row in _LETTERS[look.marker]]), np.ones((pixels, pixels))
    )
    height, width = letter.shape
    top = round(down * size)
    left = round((1 - inwards) * size) - width if look.marker == "L" else round(inwards * size)
    marked = shade.copy()
    region = marked[top : top + height, left : left + width]
    np.maximum(region, np.float32(0.95) * letter[: len(region), : region.shape[1]], out=region)
    return marked
