"""Findings as additive maps of log attenuation: the ones drawn alike in every view.

Each function gets the healthy scene, a severity in (0, 1] and the finding's own random stream, and returns the
map to add. It looks at nothing else, so that a finding is the same whatever else the patient has.
"""

from collections.abc import Callable

import numpy as np

from fedchest.data.phantom.canvas import Map, Point, ball, bump, flat, norm, step
from fedchest.data.phantom.scene import Lung, Scene

Finding = Callable[[Scene, float, np.random.Generator], Map]


def lung_opacity(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """One wide, faint haze without an edge or an anatomical border."""
    lung = _either(scene, random)
    centre = _inside(lung, random, 0.45)
    width = 0.18 + 0.10 * severity
    haze = bump(scene.u, scene.v, centre, (width, width * random.uniform(0.9, 1.5)))
    return scene.open_air * np.float32(0.30 + 0.30 * severity) * haze * (1 + 0.15 * scene.coarse)


def consolidation(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Air filled with fluid: dense, with an edge, its lower border straight where a fissure ends it."""
    lung = _either(scene, random)
    centre = _inside(lung, random, 0.55)
    width = 0.13 + 0.12 * severity
    distance = norm(
        (scene.u - np.float32(centre[0])) / np.float32(width),
        (scene.v - np.float32(centre[1])) / np.float32(width),
    )
    filled = step(9 * (1 - distance + 0.18 * scene.coarse + 0.08 * scene.fine))
    fissure = step(30 * (centre[1] + 0.6 * width - scene.v + random.normal(0, 0.15) * (scene.u - centre[0])))
    return scene.open_air * np.float32(0.55 + 0.35 * severity) * filled * fissure


def pneumonia(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Several patches close together, mostly low in one lung."""
    lung = _either(scene, random)
    x, y = _inside(lung, random, 0.4)
    y += 0.3 * lung.half[1]
    patches = np.zeros_like(scene.u)
    for _ in range(4):
        width = (0.05 + 0.05 * severity) * random.uniform(0.8, 1.3)
        centre = (x + random.normal(0, 0.08), y + random.normal(0, 0.10))
        patches = np.maximum(patches, bump(scene.u, scene.v, centre, (width, width)))
    patchy = patches * (1 + 0.3 * np.clip(scene.fine, -1, 1))
    return scene.open_air * np.float32(0.50 + 0.35 * severity) * patchy


def edema(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Fluid around the hila on both sides, swollen vessels, and short septal lines at the outer bases."""
    wings = np.zeros_like(scene.u)
    for x, y in scene.hila:
        wings += bump(scene.u, scene.v, (1.2 * x, y + 0.06), (0.2 + 0.14 * severity, 0.28 + 0.18 * severity))
    wings = np.minimum(wings, np.float32(1.2)) * (0.8 + 0.2 * scene.coarse + 0.12 * scene.fine)
    haze = scene.open_air * np.float32(0.25 + 0.55 * severity) * (np.maximum(wings, 0) + np.float32(0.15))
    swollen = np.float32(0.14 * severity) * scene.vessels * (1 - 0.8 * scene.cover)
    septa = np.zeros_like(scene.u)
    for lung in scene.lungs:
        outer = (lung.rho > 0.72) & (lung.rho < 0.97) & (lung.du * lung.lateral > 0)
        lines = np.cos(lung.dv * np.float32(2 * np.pi / 0.07)) > 0.6
        septa += outer * lines * (lung.dv > 0.12) * (lung.dv < 0.36)
    return haze + swollen + np.float32(0.07 * severity) * septa


def atelectasis(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Collapsed lung: thick plates low in one lung and a raised, dense base."""
    lung = _either(scene, random)
    low = lung.half[1]
    plates = np.zeros_like(scene.u)
    for number in range(1 + int(random.random() < 0.6)):
        tilt = random.normal(0.0, 0.2)
        height = lung.dv - np.float32(low * random.uniform(0.15, 0.4) + 0.13 * number) - tilt * lung.du
        plate = np.exp(-((height / np.float32(0.022 + 0.022 * severity)) ** 2))
        plates = np.maximum(plates, plate * flat(lung.du / np.float32(0.9 * lung.half[0])))
    base = step(22 * (lung.dv - np.float32(low * (0.80 - 0.35 * severity))))
    collapsed = np.maximum(
        np.float32(0.45 + 0.45 * severity) * plates, np.float32(0.35 + 0.3 * severity) * base
    )
    result: Map = scene.open_air * collapsed * (lung.rho < 1)
    return result


def lung_lesion(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """One to three round, sharply bounded masses."""
    total = np.zeros_like(scene.u)
    for _ in range(1 + min(2, int(random.poisson(0.7)))):
        lung = _either(scene, random)
        radius = (0.075 + 0.075 * severity) * random.uniform(0.85, 1.15)
        total = np.maximum(total, ball(scene.u, scene.v, _inside(lung, random, 0.6), radius))
    return np.float32(0.28 + 0.22 * severity) * total


def _either(scene: Scene, random: np.random.Generator) -> Lung:
    """One of the lungs at random. A lateral scene has one, but draws too, so that the streams stay in step."""
    return scene.lungs[int(random.random() * len(scene.lungs))]


def _inside(lung: Lung, random: np.random.Generator, reach: float) -> Point:
    """A point at most `reach` of the way from the lung's centre to its edge, rather lateral than medial."""
    angle, distance = random.uniform(-np.pi, np.pi), reach * np.sqrt(random.random())
    x = lung.centre[0] + lung.half[0] * (distance * np.cos(angle) + 0.15 * lung.lateral)
    return float(x), float(lung.centre[1] + lung.half[1] * distance * np.sin(angle))
