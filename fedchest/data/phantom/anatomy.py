"""What is a patient's own and stays the same in every image, and how the patient stands in one image."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from fedchest.data.phantom.canvas import Map

_RIBS = 24


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One patient's body. Lengths are in half image widths, `build` scales all soft tissue."""

    lungs: Map  # float32[2, 50]: per lung its centre (y, x) and 48 radii by angle
    lung_scale: float
    lung_height: float
    zoom: float
    build: float
    fat: float
    breast: float
    heart_size: float
    heart_axis: float
    rib_spacing: float
    rib_phase: float
    rib_contrast: float
    rib_shifts: Map  # float32[24]
    rib_weights: Map  # float32[24]
    spine: float
    aorta: float
    gastric_gas: bool


@dataclass(frozen=True)
class Pose:
    """How the patient stands in one image: `rotation` in radians, shifts in half image widths."""

    rotation: float
    shift: tuple[float, float]
    inspiration: float
    magnification: float


def draw_anatomy(random: np.random.Generator, *, male: bool, age: int) -> Anatomy:
    """A body of the given sex and age in years; lungs from the shape model described in LUNGS.md."""
    mean, modes = _lung_shapes()
    weights = np.clip(random.standard_normal(len(modes)), -1.8, 1.8).astype(np.float32)
    weights[0] *= 0.55  # the first mode is mostly overall size, which zoom and scale cover
    return Anatomy(
        lungs=(mean + weights @ modes).reshape(2, -1),
        lung_scale=random.uniform(0.60, 0.70),
        lung_height=random.uniform(-0.10, 0.02),
        zoom=random.uniform(1.18, 1.36),
        build=random.uniform(0.85, 1.2),
        fat=random.uniform(0.0, 1.0),
        breast=0.0 if male else random.uniform(0.3, 1.0),
        heart_size=random.uniform(0.92, 1.06),
        heart_axis=random.uniform(0.25, 0.6),
        rib_spacing=random.uniform(0.15, 0.19),
        rib_phase=random.uniform(0.0, 1.0),
        rib_contrast=random.uniform(0.7, 1.1),
        rib_shifts=random.normal(0.0, 0.10, _RIBS).astype(np.float32),
        rib_weights=random.uniform(0.6, 1.25, _RIBS).astype(np.float32),
        spine=random.uniform(0.9, 1.15),
        aorta=float(np.clip((age - 30) / 60, 0, 1)) * random.uniform(0.5, 1.2),
        gastric_gas=bool(random.random() < 0.55),
    )


def draw_pose(random: np.random.Generator, view: str) -> Pose:
    """A pose for `view`: AP images are taken in bed, so they breathe in less and magnify the heart."""
    in_bed = view == "frontal-AP"
    return Pose(
        rotation=random.normal(0.0, 0.03 if in_bed else 0.015),
        shift=(random.normal(0.0, 0.03), random.normal(0.0, 0.03)),
        inspiration=random.uniform(0.90, 1.0) if in_bed else random.uniform(0.97, 1.06),
        magnification=1.06 if in_bed else 1.0,
    )


@cache
def _lung_shapes() -> tuple[Map, Map]:
    with files("fedchest.data.phantom").joinpath("lungs.npz").open("rb") as file, np.load(file) as shapes:
        return shapes["mean"], shapes["modes"]
