"""The findings whose form depends on looking from the side."""

import numpy as np

from fedchest.data.phantom.canvas import Map, bump, curve, flat, step, stroke
from fedchest.data.phantom.findings import (
    Finding,
    atelectasis,
    consolidation,
    edema,
    lung_lesion,
    lung_opacity,
    pneumonia,
)
from fedchest.data.phantom.lateral import heart, ribs
from fedchest.data.phantom.scene import Scene


def enlarged_cardiomediastinum(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """The clear space behind the sternum filled."""
    space = bump(scene.u, scene.v, (-0.28, -0.22), (0.14 + 0.08 * severity, 0.24 + 0.08 * severity))
    return scene.open_air * np.float32(0.35 + 0.35 * severity) * space


def cardiomegaly(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """A heart 15 to 50 percent larger that reaches back towards the spine."""
    large = heart(scene.anatomy, scene.u, scene.v, 1.12 + 0.38 * severity)
    return (np.maximum(scene.cover, large) - scene.cover) * (0.85 * scene.air + np.float32(0.10))


def pleural_effusion(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Fluid in the deep angle at the back, its surface rising at front and back."""
    (lung,) = scene.lungs
    level = np.float32(lung.half[1] * (0.95 - 0.95 * severity)) - 0.25 * severity * lung.du**2 / np.float32(
        0.25
    )
    behind = 0.6 + 0.4 * step(8 * lung.du)
    return scene.open_air * np.float32(0.65 + 0.3 * severity) * step(24 * (lung.dv - level)) * behind


def pneumothorax(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Air without vessels in front of and above the lung's white edge."""
    (lung,) = scene.lungs
    upwards = np.clip(-lung.dv / np.float32(lung.half[1]), -0.3, 1)
    forwards = np.clip(-lung.du / np.float32(lung.half[0]), 0, 1)
    edge = 1 - np.float32(0.10 + 0.40 * severity) * np.clip(0.6 * upwards + 0.5 * forwards, 0, 1)
    beyond = step(40 * (lung.rho - edge)) * (lung.rho < 1)
    line = np.exp(-(((lung.rho - edge) / np.float32(0.03)) ** 2)) * (edge < 0.97) * (lung.rho < 1)
    result: Map = np.float32(0.14) * line - beyond * np.float32(0.18 + 0.12 * severity) * lung.thickness
    return result


def pleural_other(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """A thick, lumpy rind along the chest wall behind the lung."""
    (lung,) = scene.lungs
    middle = np.float32(random.uniform(-0.2, 0.3) * lung.half[1])
    place = np.exp(-(((lung.dv - middle) / np.float32(0.32)) ** 2)) * (lung.du > 0)
    thick = np.float32(0.12 + 0.14 * severity) * (1 + 0.35 * scene.fine)
    result: Map = (
        np.float32(0.22 + 0.24 * severity) * step(35 * (lung.rho - 1 + thick)) * (lung.rho < 1.03) * place
    )
    return result


def fracture(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Two to four neighbouring ribs broken in a line: the front ends step down, callus lights up the gaps."""
    x, top = random.uniform(-0.15, 0.25), random.uniform(-0.35, 0.10)
    count = 2 + round(1 + severity)
    spacing = float(scene.anatomy.rib_spacing)
    height = (scene.v - np.float32(top)) / np.float32(spacing)
    near = (
        flat((scene.u - np.float32(x)) / np.float32(0.10))
        * step(12 * height)
        * step(12 * (count - 0.5 - height))
    )
    front = scene.u < x
    shifted = ribs(scene.anatomy, scene.u, scene.v, np.where(front, np.float32(0.02 + 0.05 * severity), 0))
    stepped = near * (shifted - ribs(scene.anatomy, scene.u, scene.v, 0.0))
    callus = np.zeros_like(scene.u)
    for number in range(count):
        centre = (x + random.normal(0, 0.015), top + (number + 0.3) * spacing)
        callus = np.maximum(callus, bump(scene.u, scene.v, centre, (0.045, 0.036)))
    return stepped + np.float32(0.22 + 0.22 * severity) * callus


def support_devices(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """A pacemaker with its lead, or a line down to the heart, of metal or lead."""
    if random.random() < 0.5:
        x, y = random.uniform(-0.45, -0.3), random.uniform(-0.55, -0.45)
        can = step(90 * (0.035 - np.abs(scene.u - np.float32(x)))) * step(
            90 * (0.08 - np.abs(scene.v - np.float32(y)))
        )
        lead = curve((x, y), (0.05, -0.6), (0.03, -0.2), (0.0, 0.15), (-0.28, 0.3))
        metal = np.maximum(1.6 * can, stroke(scene.size, lead, 0.012))
    else:
        path = curve((-0.05, -1.0), (0.0, -0.7), (0.02, -0.4), (0.0, -0.1), (-0.05, 0.1))
        metal = stroke(scene.size, path, 0.014)
    return np.float32(0.18 + 0.28 * severity) * metal


LATERAL_FINDINGS: dict[str, Finding] = {
    "Enlarged Cardiomediastinum": enlarged_cardiomediastinum,
    "Cardiomegaly": cardiomegaly,
    "Lung Opacity": lung_opacity,
    "Lung Lesion": lung_lesion,
    "Edema": edema,
    "Consolidation": consolidation,
    "Pneumonia": pneumonia,
    "Atelectasis": atelectasis,
    "Pneumothorax": pneumothorax,
    "Pleural Effusion": pleural_effusion,
    "Pleural Other": pleural_other,
    "Fracture": fracture,
    "Support Devices": support_devices,
}
"""How each observation but No Finding is drawn in a lateral image."""
