"""The findings whose form depends on looking from the front."""

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
from fedchest.data.phantom.frontal import heart, mediastinum, ribs
from fedchest.data.phantom.scene import Lung, Scene


def enlarged_cardiomediastinum(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """A mediastinum up to twice as wide."""
    wide = np.maximum(scene.cover, mediastinum(scene.u, scene.v, 1.25 + 0.75 * severity))
    return (wide - scene.cover) * (scene.air + np.float32(0.12))


def cardiomegaly(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """A heart 15 to 50 percent larger."""
    large = heart(scene.anatomy, scene.pose, scene.u, scene.v, 1.12 + 0.38 * severity)
    return (np.maximum(scene.cover, large) - scene.cover) * (scene.air + np.float32(0.10))


def pleural_effusion(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Fluid with a meniscus that rises towards the chest wall; in bed its upper border is blurred."""
    sharpness = 14 if scene.pose.magnification > 1 else 28
    total = np.zeros_like(scene.u)
    for lung in _one_or_both(scene, random, 0.35):
        outwards = np.clip(lung.du * lung.lateral / np.float32(lung.half[0]), -1, 1.2)
        level = np.float32(lung.half[1] * (0.95 - 1.05 * severity)) - 0.10 * (1 + outwards) ** 2 * severity
        total += step(sharpness * (lung.dv - level)) * (lung.rho < 1)
    return scene.open_air * np.float32(0.75 + 0.35 * severity) * total


def pneumothorax(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Air without vessels beyond the white edge of a shrunken, denser lung, widest at the apex."""
    lung = _one(scene, random)
    upwards = np.clip(-lung.dv / np.float32(lung.half[1]), -0.5, 1)
    outwards = np.clip(lung.du * lung.lateral / np.float32(lung.half[0]), 0, 1)
    edge = 1 - np.float32(0.10 + 0.42 * severity) * np.clip(0.55 * upwards + 0.45 * outwards + 0.1, 0, 1)
    beyond = step(40 * (lung.rho - edge)) * (lung.rho < 1)
    line = np.exp(-(((lung.rho - edge) / np.float32(0.03)) ** 2)) * (edge < 0.97)
    collapsed = (lung.rho < edge) * scene.open_air * np.float32(0.10 + 0.25 * severity)
    emptied = 0.12 * scene.vessels + np.float32(0.22 + 0.13 * severity) * lung.thickness
    result: Map = (
        np.float32(0.16) * line * (lung.rho < 1) + collapsed - beyond * emptied * (1 - 0.8 * scene.cover)
    )
    return result


def pleural_other(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """A thick, lumpy rind along the outer chest wall or over the apex."""
    lung = _one(scene, random)
    if random.random() < 0.4:
        place = step(16 * (np.float32(-0.45 * lung.half[1]) - lung.dv))
    else:
        middle = random.uniform(-0.2, 0.3) * lung.half[1]
        place = np.exp(-(((lung.dv - np.float32(middle)) / np.float32(0.30)) ** 2)) * (
            lung.du * lung.lateral > 0
        )
    thick = np.float32(0.12 + 0.16 * severity) * (1 + 0.35 * scene.fine)
    rind = step(35 * (lung.rho - 1 + thick)) * (lung.rho < 1.03)
    return np.float32(0.22 + 0.26 * severity) * rind * place


def fracture(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """Two to four neighbouring ribs broken in a line: the outer ends step down, callus lights up the gaps."""
    side = 1.0 if random.random() < 0.5 else -1.0
    x, top = random.uniform(0.34, 0.50), random.uniform(-0.35, 0.10)
    count = 2 + round(1 + severity)
    spacing = np.float32(scene.anatomy.rib_spacing)
    outer = scene.u * np.float32(side) > x
    height = (scene.v - np.float32(top)) / spacing
    near = (
        flat((scene.u * np.float32(side) - np.float32(x)) / np.float32(0.10))
        * step(12 * height)
        * step(12 * (count - 0.5 - height))
    )
    shifted = ribs(scene.anatomy, scene.u, scene.v, np.where(outer, np.float32(0.02 + 0.05 * severity), 0))
    stepped = near * (shifted - ribs(scene.anatomy, scene.u, scene.v, 0.0))
    callus = np.zeros_like(scene.u)
    for number in range(count):
        centre = (side * (x + random.normal(0, 0.015)), top + (number + 0.3) * float(spacing))
        callus = np.maximum(callus, bump(scene.u, scene.v, centre, (0.045, 0.036)))
    return stepped + np.float32(0.24 + 0.22 * severity) * callus


def support_devices(scene: Scene, severity: float, random: np.random.Generator) -> Map:
    """At least one of tracheal tube, central line, pacemaker, gastric tube and electrodes, all of metal or lead."""
    present = random.random(5) < (0.45, 0.40, 0.22, 0.25, 0.45)
    if not present.any():
        present[random.integers(5)] = True
    drawers = (_tracheal_tube, _central_line, _pacemaker, _gastric_tube, _electrodes)
    metal = np.zeros_like(scene.u)
    for is_present, draw in zip(present, drawers, strict=True):
        if is_present:
            metal = np.maximum(metal, draw(scene, random))
    return np.float32(0.18 + 0.28 * severity) * metal


def _tracheal_tube(scene: Scene, random: np.random.Generator) -> Map:
    return stroke(scene.size, curve((0.01, -1.0), (0.0, -0.7), (0.01, -0.42 + 0.1 * random.random())), 0.016)


def _central_line(scene: Scene, random: np.random.Generator) -> Map:
    tip = (-0.08, -0.05 + 0.2 * random.random())
    path = curve((-0.55, -0.75), (-0.2, -0.62), (-0.10, -0.45), (-0.09, -0.2), tip)
    return stroke(scene.size, path, 0.010)


def _pacemaker(scene: Scene, random: np.random.Generator) -> Map:
    side = 1.0 if random.random() < 0.8 else -1.0
    x, y = side * random.uniform(0.45, 0.60), random.uniform(-0.55, -0.42)
    can = step(90 * (0.085 - np.abs(scene.u - np.float32(x)))) * step(
        90 * (0.065 - np.abs(scene.v - np.float32(y)))
    )
    lead = curve((x, y), (0.2 * side, -0.6), (-0.04, -0.35), (-0.12, 0.05), (0.12, 0.36))
    return np.maximum(1.6 * can, stroke(scene.size, lead, 0.012))


def _gastric_tube(scene: Scene, random: np.random.Generator) -> Map:
    path = curve((0.0, -1.0), (0.02, -0.3), (0.03, 0.3), (0.06, 0.6), (0.25, 0.72))
    return 0.8 * stroke(scene.size, path, 0.010)


def _electrodes(scene: Scene, random: np.random.Generator) -> Map:
    wires = np.zeros_like(scene.u)
    for _ in range(3):
        x, y = random.uniform(-0.7, 0.7), random.uniform(-0.6, 0.5)
        exit_point = (float(random.choice([-0.95, 0.95])), random.uniform(-0.3, 0.9))
        wire = stroke(scene.size, curve((x, y), (x + random.normal(0, 0.3), y + 0.4), exit_point), 0.007)
        wires = np.maximum(wires, np.maximum(0.7 * wire, bump(scene.u, scene.v, (x, y), (0.024, 0.024))))
    return wires


def _one(scene: Scene, random: np.random.Generator) -> Lung:
    return scene.lungs[int(random.random() < 0.5)]


def _one_or_both(scene: Scene, random: np.random.Generator, both: float) -> tuple[Lung, ...]:
    one = _one(scene, random)
    return scene.lungs if random.random() < both else (one,)


FRONTAL_FINDINGS: dict[str, Finding] = {
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
"""How each observation but No Finding is drawn in a frontal image."""
