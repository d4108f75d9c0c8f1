"""Views: what coins change and what they leave alone, whose images are shown, and that nothing mixes records."""

import numpy as np
import pytest
import torch
from blobs import blobs
from looking import fixed
from torch import Tensor

from fedchest.errors import ConfigError
from fedchest.learning.augmentation import AUGMENTATIONS, COINS, Augmentation, augmented
from fedchest.learning.batches import batch_of, network_input
from fedchest.learning.views import Pairing, Viewing, look_at

MIDDLE = 0.5 * torch.ones(1, COINS)


def coins(**chosen: float) -> Tensor:
    """Coins that leave all alone but what is named, which they move as far as allowed: 1 up, 0 down."""
    names = ["rotation", "scale", "across", "down", "brightness", "contrast", "gamma", "side", "top", "left"]
    found = MIDDLE.clone()
    for name, value in chosen.items():
        found[0, names.index(name)] = value
    return found


@pytest.fixture
def image() -> Tensor:
    """A smooth hill beside the middle, in [0, 1]."""
    across = torch.arange(32) / 31
    return torch.exp(-((across[:, None] - 0.3) ** 2 + (across - 0.6) ** 2) / 0.02)[None, None]


def test_no_augmentation_is_the_image_itself(image: Tensor) -> None:
    assert augmented(image, torch.rand(1, COINS), AUGMENTATIONS["none"]) is image


def test_the_middle_of_every_range_is_nearly_the_image(image: Tensor) -> None:
    every = Augmentation(20, 0.2, 0.1, 0.2, 0.3, 0.5)
    torch.testing.assert_close(augmented(image, MIDDLE, every), image, rtol=0, atol=1e-5)


def test_a_quarter_turn_by_rotation_is_the_exact_one(image: Tensor) -> None:
    turned = augmented(image, coins(rotation=1.0), Augmentation(rotation=90))
    torch.testing.assert_close(turned, torch.rot90(image, 1, (2, 3)), rtol=0, atol=1e-5)


def test_a_shift_moves_by_a_share_of_the_side(image: Tensor) -> None:
    moved = augmented(image, coins(across=1.0), Augmentation(shift=0.25))
    torch.testing.assert_close(moved[..., :24], image[..., 8:], rtol=0, atol=1e-5)


def test_scale_brings_the_image_nearer_or_further(image: Tensor) -> None:
    by = Augmentation(scale=0.5)
    larger, smaller = (augmented(image, coins(scale=coin), by).sum() for coin in (1.0, 0.0))
    assert larger > 1.5 * image.sum() > 3 * smaller


def test_grey_changes_are_what_their_names_say(image: Tensor) -> None:
    middle = 0.25 + image / 4
    brighter = augmented(middle, coins(brightness=1.0), Augmentation(brightness=0.2))
    torch.testing.assert_close(brighter, middle + 0.2)
    flatter = augmented(middle, coins(contrast=0.0), Augmentation(contrast=0.6))
    torch.testing.assert_close(flatter.std(), 0.4 * middle.std())
    darker = augmented(middle, coins(gamma=1.0), Augmentation(gamma=1.0))
    torch.testing.assert_close(darker, middle**2)


def test_erasing_blanks_one_rectangle_around_its_centre(image: Tensor) -> None:
    erased = augmented(image, coins(side=1.0), Augmentation(erasing=0.5))
    changed = (erased != image)[0, 0]
    assert changed[8:24, 8:24].all() and int(changed.sum()) == 16 * 16


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_view_depends_on_its_own_image_and_coins_only(name: str) -> None:
    grey, tossed = torch.rand(5, 1, 32, 32), torch.rand(5, COINS)
    together = augmented(grey.clone(), tossed, AUGMENTATIONS[name])
    assert together.min() >= 0 and together.max() <= 1
    for row in range(5):
        alone = augmented(grey[[row]], tossed[[row]], AUGMENTATIONS[name])
        torch.testing.assert_close(alone[0], together[row])


@pytest.mark.parametrize(
    ("name", "value"), [("rotation", 181.0), ("scale", 1.0), ("erasing", -0.1), ("gamma", float("nan"))]
)
def test_augmentations_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Augmentation(**{name: value})


def test_an_image_needs_a_view() -> None:
    with pytest.raises(ConfigError, match="views = 0"):
        Viewing(views=0)


def test_an_images_views_lie_side_by_side_with_their_own_labels() -> None:
    data, viewing = blobs(3, images_each=2), Viewing(Augmentation(brightness=0.02), views=3)
    looks = look_at([data.rows_of(2), data.rows_of(0)], viewing, fixed())
    batch = batch_of(data, looks, viewing)
    assert batch.views == 3
    assert batch.indices.tolist() == [4, 5, 0, 1]
    rows = np.repeat([4, 5, 0, 1], 3)
    np.testing.assert_array_equal(batch.targets, data.targets[rows])
    np.testing.assert_array_equal(batch.mask, data.mask[rows])
    plain = network_input(data.images[rows])
    distances = (batch.images[:, None] - plain[::3]).abs().mean((2, 3, 4))
    assert (distances.argmin(1) == torch.arange(4).repeat_interleave(3)).all(), (
        "each view resembles its image"
    )
    assert len({float(row.sum()) for row in batch.images}) == 12, "no two views are the same"


def test_one_plain_view_is_the_networks_input() -> None:
    data = blobs(3)
    looks = look_at([np.arange(6)], Viewing(), fixed())
    torch.testing.assert_close(batch_of(data, looks, Viewing()).images, network_input(data.images))


def test_pairing_by_patient_shows_another_image_of_the_patient_where_there_is_one() -> None:
    viewing = Viewing(views=3, pairing=Pairing.PATIENT)
    records = [np.array([4]), np.array([6, 7])]
    alone, two = (look.rows for look in look_at(records, viewing, fixed()))
    assert alone.tolist() == [[4, 4, 4]], "a step shows no image that was not chosen"
    assert two.tolist() == [[6, 7, 7], [7, 6, 6]]
    shown = [
        look_at([np.array([4])], viewing, fixed(str(i)), [np.array([3, 4, 5])])[0].rows for i in range(20)
    ]
    assert {tuple(rows[0, :1]) for rows in shown} == {(4,)}
    assert set(np.concatenate([rows[0, 1:] for rows in shown])) == {3, 5}


def test_coins_are_fresh_for_each_view_and_step() -> None:
    random, record = fixed(), [np.arange(50)]
    coins = np.concatenate([look_at(record, Viewing(views=2), random)[0].coins for _ in range(2)]).ravel()
    assert len(np.unique(coins)) > 0.99 * len(coins)
    assert 0.45 < coins.mean() < 0.55
