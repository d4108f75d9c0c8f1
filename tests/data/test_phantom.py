"""The renderer: findings are exact parts of the image, visible, and nothing else moves when one is left out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from fedchest.data.phantom.look import BORDERS, SiteLook, draw_look
from fedchest.data.phantom.render import Shot, render
from fedchest.data.phantom.reports import DRAWN

VIEWS = ("frontal-AP", "frontal-PA", "lateral")
FAINTEST_AFFIRMED = 0.4  # the lowest severity of a finding that a report affirms

LOOK = SiteLook(
    contrast=1.9,
    gamma=1.0,
    noise=0.01,
    blur=0.4,
    sharpening=0.4,
    scatter=0.06,
    border="none",
    marker="",
    ap_share=0.8,
)


def shot(**changes: object) -> Shot:
    usual = Shot(seed=1, patient=7, study=1, view="frontal-PA", male=True, age=60, look=LOOK, size=64)
    return replace(usual, **changes)


@pytest.mark.parametrize("view", VIEWS)
def test_the_same_shot_is_the_same_bytes(view: str) -> None:
    findings = dict.fromkeys(DRAWN, 0.7)
    first, second = (render(shot(view=view, findings=findings)) for _ in range(2))
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert render(shot(view=view, findings=findings, seed=2)).pixels.tobytes() != first.pixels.tobytes()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", DRAWN)
def test_a_finding_changes_the_image_only_where_it_is(name: str, view: str) -> None:
    others = {other: 0.6 for other in ("Pleural Effusion", "Support Devices", "Edema") if other != name}
    without = render(shot(view=view, findings=others))
    with_it = render(shot(view=view, findings={**others, name: 0.8}))
    assert (without.healthy == with_it.healthy).all()
    for other in others:
        assert (without.deltas[other] == with_it.deltas[other]).all()
    drawn = np.abs(with_it.deltas[name]) > 1e-6
    reach = 7  # pixels: blur and sharpening at this size
    far = ~binary_dilation(drawn, np.ones((2 * reach + 1, 2 * reach + 1)))
    assert (without.pixels[far] == with_it.pixels[far]).all()
    assert (without.pixels != with_it.pixels).any()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", DRAWN)
def test_an_affirmed_finding_is_visible_at_64_pixels(name: str, view: str) -> None:
    """Averaged over patients: a change of 8 grey levels, on at least 12 pixels, within the finding's own mask."""
    changes, areas = [], []
    for patient in range(12):
        healthy = render(shot(patient=patient, view=view))
        ill = render(shot(patient=patient, view=view, findings={name: FAINTEST_AFFIRMED}))
        mask = ill.masks()[name]
        areas.append(mask.sum())
        changes.append(
            np.abs(ill.pixels[mask].astype(float) - healthy.pixels[mask]).mean() if mask.any() else 0.0
        )
    assert np.mean(changes) > 8
    assert np.mean(areas) > 12


@pytest.mark.parametrize("name", DRAWN)
def test_a_mask_is_where_the_finding_is_strong(name: str) -> None:
    rendering = render(shot(findings={name: 0.9}))
    strength, mask = np.abs(rendering.deltas[name]), rendering.masks()[name]
    assert mask.shape == (64, 64)
    assert strength[mask].min() > 0.25 * strength.max() - 1e-6
    assert strength[~mask].max() <= max(0.02, 0.25 * strength.max())


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "Support Devices"])
def test_more_severe_is_more_visible(name: str) -> None:
    def strength(severity: float) -> float:
        shots = (shot(patient=patient, findings={name: severity}) for patient in range(6))
        return sum(float(np.abs(render(each).deltas[name]).sum()) for each in shots)

    assert strength(0.3) < strength(0.6) < strength(1.0)


@pytest.mark.parametrize("size", [32, 64, 96, 100, 224])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("marker", ["L", "R", ""])
def test_every_size_and_look_gives_an_image_with_contrast(size: int, border: str, marker: str) -> None:
    look = replace(LOOK, border=border, marker=marker)
    findings = dict.fromkeys(DRAWN, 0.8)
    for view in VIEWS:
        rendering = render(shot(size=size, view=view, look=look, findings=findings))
        assert rendering.pixels.shape == (size, size)
        assert rendering.pixels.dtype == np.uint8
        assert rendering.healthy.dtype == np.float32
        assert all(delta.dtype == np.float32 for delta in rendering.deltas.values())
        assert rendering.pixels.std() > 20


def test_sites_look_different_and_a_site_keeps_its_look() -> None:
    looks = [draw_look(3, site) for site in range(5)]
    assert len(set(looks)) == 5
    assert looks == [draw_look(3, site) for site in range(5)]
    assert draw_look(4, 0) != looks[0]
    images = [render(shot(look=look)).pixels.astype(float) for look in looks]
    assert np.abs(images[0] - images[1]).mean() > 5


def test_a_patient_keeps_anatomy_and_finding_from_study_to_study() -> None:
    """Images of one patient in two studies are more alike than those of two patients."""
    findings = {"Lung Lesion": 0.8}

    def image(patient: int, study: int) -> np.ndarray:
        return render(shot(patient=patient, study=study, findings=findings)).pixels.astype(float).ravel()

    same = np.mean([np.corrcoef(image(p, 1), image(p, 2))[0, 1] for p in range(8)])
    other = np.mean([np.corrcoef(image(p, 1), image(p + 1, 1))[0, 1] for p in range(8)])
    assert same > other
