"""Each term against a slow textbook version or another library's; what rows without labels and views are worth."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from blobs import LABELS, blobs
from looking import ALTERED, batch_for, looks_at, started, values
from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor, nn
from torch.nn import functional

from fedchest.errors import ConfigError
from fedchest.learning.augmentation import AUGMENTATIONS
from fedchest.learning.batches import batch_of
from fedchest.learning.objectives import TERMS, Seen, objective_named
from fedchest.learning.objectives.contrastive import TEMPERATURE, sinkhorn
from fedchest.learning.objectives.pretext import INSTANCE_TEMPERATURE, SIAMESE_MARGIN
from fedchest.learning.target_network import MOMENTUM
from fedchest.learning.views import Pairing, Viewing
from fedchest.models.chest import ChestModel, ModelConfig, Output, build_model

IMAGES, VIEWS, WIDTH = 4, 3, 5
ROWS = IMAGES * VIEWS
PAIRS = [(row, other) for row, other in product(range(ROWS), repeat=2) if row != other]


def unit(generator: torch.Generator, rows: int) -> Tensor:
    return functional.normalize(torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64), dim=1)


@pytest.fixture
def seen() -> Seen:
    """Random but fixed float64 outputs for 4 images in 3 views, of 2 labels."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    output = Output(
        normal(ROWS, 2) * 3, None, unit(g, ROWS), normal(ROWS, 2), normal(ROWS, WIDTH), unit(g, ROWS)
    )
    return Seen(
        output=output,
        images=normal(ROWS, 1, 4, 4),
        targets=torch.randint(2, (ROWS, 2), generator=g).double(),
        mask=torch.rand(ROWS, 2, generator=g) < 0.8,
        uncertain=torch.zeros(ROWS, 2, dtype=torch.bool),
        turns=torch.zeros(ROWS, dtype=torch.int64),
        indices=torch.tensor([3, 7, 8, 9]),
        positive_weights=torch.ones(2, dtype=torch.float64),
        target=Output(normal(ROWS, 2), None, unit(g, ROWS)),
        public=Output(normal(6, 2), None, unit(g, 6)),
    )


def same(row: int, other: int) -> bool:
    return row // VIEWS == other // VIEWS


def over_other_views(pair: Callable[[int, int], Tensor]) -> Tensor:
    """The mean over an image's other views of what `pair` says, row by row."""
    return torch.stack(
        [
            torch.stack(
                [pair(row, other) for other in range(ROWS) if other != row and same(row, other)]
            ).mean()
            for row in range(ROWS)
        ]
    )


def slow_byol(seen: Seen) -> Tensor:
    q, z = seen.output.prediction, seen.target.embedding
    return over_other_views(lambda a, b: (functional.normalize(q[a], dim=0) - z[b]).square().sum())


def slow_simsiam(seen: Seen) -> Tensor:
    q, z = seen.output.prediction, seen.output.embedding
    return over_other_views(lambda a, b: 1 - functional.cosine_similarity(q[a], z[b], dim=0))


def slow_nt_xent(seen: Seen) -> Tensor:
    similarity = (seen.output.embedding @ seen.output.embedding.T / TEMPERATURE).exp()

    def pair(a: int, b: int) -> Tensor:
        return -(similarity[a, b] / sum(similarity[a, other] for other in range(ROWS) if other != a)).log()

    return over_other_views(pair)


def slow_public_contrast(seen: Seen) -> Tensor:
    query, keys, negatives = seen.output.embedding, seen.target.embedding, seen.public.embedding

    def pair(a: int, b: int) -> Tensor:
        positive = (query[a] @ keys[b] / TEMPERATURE).exp()
        return -(positive / (positive + (negatives @ query[a] / TEMPERATURE).exp().sum())).log()

    return over_other_views(pair)


def slow_siamese(seen: Seen) -> Tensor:
    embedding, rows = seen.output.embedding, []
    for row in range(ROWS):
        near = [(embedding[row] - embedding[b]).norm() ** 2 for a, b in PAIRS if a == row and same(a, b)]
        far = [
            (SIAMESE_MARGIN - (embedding[row] - embedding[b]).norm()).clamp(min=0) ** 2
            for b in range(ROWS)
            if not same(row, b)
        ]
        rows.append((torch.stack(near).mean() + torch.stack(far).mean()) / 2)
    return torch.stack(rows)


def slow_bce(seen: Seen) -> Tensor:
    p = seen.output.logits.sigmoid()
    losses = -(seen.targets * p.log() + (1 - seen.targets) * (1 - p).log())
    return torch.stack([(row * kept).sum() / 2 for row, kept in zip(losses, seen.mask, strict=True)])


def slow_prototypes(seen: Seen) -> Tensor:
    return slow_bce(replace(seen, output=seen.output._replace(logits=seen.output.prototype_logits)))


def slow_asymmetric(seen: Seen) -> Tensor:
    """timm's, of one row and its unmasked labels at a time."""
    loss = AsymmetricLossMultiLabel()
    return torch.stack(
        [
            loss(logits[kept][None], targets[kept][None]).double() / 2
            for logits, targets, kept in zip(seen.output.logits, seen.targets, seen.mask, strict=True)
        ]
    )


def slow_supcon(seen: Seen) -> Tensor:
    embedding, positive = seen.output.embedding, seen.targets * seen.mask
    labelled = [row for row in range(ROWS) if seen.mask[row].any()]
    rows = []
    for row in range(ROWS):
        others = [other for other in labelled if other != row]
        shares = torch.stack([embedding[row] @ embedding[o] / 0.2 for o in others]).log_softmax(0)
        overlaps = [
            (positive[row] @ positive[o]) / (positive[row].sum() + positive[o].sum() + 1e-6) for o in others
        ]
        weight = sum(overlaps) if row in labelled else torch.tensor(0.0)
        rows.append(-(torch.stack(overlaps) @ shares) / weight if weight > 0 else torch.tensor(0.0).double())
    return torch.stack(rows)


SLOW: Mapping[str, Callable[[Seen], Tensor]] = {
    "bce": slow_bce,
    "prototypes": slow_prototypes,
    "asymmetric": slow_asymmetric,
    "supcon": slow_supcon,
    "byol": slow_byol,
    "simsiam": slow_simsiam,
    "nt-xent": slow_nt_xent,
    "micle": slow_nt_xent,
    "public-contrast": slow_public_contrast,
    "siamese-margin": slow_siamese,
}
TESTED_APART = {"auc-margin", "swav", "moco", "instance", "rotation", "reconstruction"}


def test_every_term_has_a_slow_version_or_a_test_of_its_own() -> None:
    assert SLOW.keys() | TESTED_APART == TERMS.keys()


@pytest.mark.parametrize("name", SLOW)
def test_a_term_equals_its_textbook_version(seen: Seen, name: str) -> None:
    torch.testing.assert_close(TERMS[name].start()(seen), SLOW[name](seen), rtol=1e-6, atol=1e-7)


def test_the_auc_margin_is_the_pairwise_square_where_no_pair_keeps_the_margin(seen: Seen) -> None:
    """(m - h+ + h-)^2, averaged over the pairs, is var+ + var- + (m - a + b)^2 (Yuan et al. 2021, eq. 4)."""
    expected = []
    for label in range(2):
        scores = seen.output.logits[:, label].sigmoid()
        kept, positive = seen.mask[:, label], seen.targets[:, label] > 0.5
        above, below = scores[kept & positive], scores[kept & ~positive]
        assert above.mean() - below.mean() < 1
        expected.append((1 - above[:, None] + below).square().mean())
    torch.testing.assert_close(TERMS["auc-margin"].start()(seen).mean(), torch.stack(expected).mean())


def test_the_auc_margin_of_a_batch_with_one_class_is_zero(seen: Seen) -> None:
    assert not TERMS["auc-margin"].start()(replace(seen, targets=torch.ones_like(seen.targets))).any()


def test_swavs_codes_are_balanced_and_favour_the_nearest_cluster() -> None:
    cosines = torch.rand(64, 8, generator=torch.Generator().manual_seed(0)).double()
    codes = sinkhorn(cosines)
    torch.testing.assert_close(codes.sum(1), torch.ones(64).double())
    assert (codes.sum(0) - 8).abs().max() < 1.5
    crowded = sinkhorn(cosines + 0.2 * torch.arange(8))
    assert (crowded.sum(0) - 8).abs().max() < 4, "without balancing all rows would choose the last cluster"


def test_swav_is_the_cross_entropy_of_the_other_views_codes(seen: Seen) -> None:
    clusters = seen.output.clusters.view(IMAGES, VIEWS, WIDTH)
    codes = [sinkhorn(clusters[:, view]) for view in range(VIEWS)]

    def pair(a: int, b: int) -> Tensor:
        shares = (clusters[a // VIEWS, a % VIEWS] / 0.1).softmax(0)
        return -(codes[b % VIEWS][b // VIEWS] * shares.log()).sum()

    torch.testing.assert_close(TERMS["swav"].start()(seen), over_other_views(pair))


def test_moco_contrasts_with_the_last_steps_keys(seen: Seen) -> None:
    moco = TERMS["moco"].start()
    assert not moco(seen).any(), "no key is known in the first step"
    later = replace(seen, public=seen.target)
    torch.testing.assert_close(moco(seen), slow_public_contrast(later))


def test_instances_are_told_from_every_image_seen_so_far(seen: Seen) -> None:
    embedding = seen.output.embedding
    instance = TERMS["instance"].start()
    first = instance(seen)
    bank = embedding[::VIEWS]
    own = torch.arange(IMAGES).repeat_interleave(VIEWS)
    torch.testing.assert_close(
        first, functional.cross_entropy(embedding @ bank.T / INSTANCE_TEMPERATURE, own, reduction="none")
    )
    other = replace(
        seen, indices=torch.tensor([20, 7, 21, 22]), output=seen.output._replace(embedding=-embedding)
    )
    bank = torch.cat([bank, -embedding[[0, 6, 9]]])
    own = torch.tensor([4, 1, 5, 6]).repeat_interleave(VIEWS)
    torch.testing.assert_close(
        instance(other),
        functional.cross_entropy(-embedding @ bank.T / INSTANCE_TEMPERATURE, own, reduction="none"),
    )


def test_the_turn_to_be_told_is_the_one_that_was_made(complete_model: ChestModel) -> None:
    """Of each image the last view is turned; the others, which the other terms see, are upright."""
    data, objective = blobs(12, images_each=1), objective_named("bce+rotation", private=True)
    viewing = objective.viewing(Viewing())
    looks = looks_at(data, objective, Viewing())
    batch = batch_of(data, looks, viewing)
    upright, turned = batch.images[0::2], batch.images[1::2]
    assert not batch.turns[0::2].any()
    assert set(batch.turns[1::2].tolist()) == {0, 1, 2, 3}
    for image, view, turn in zip(upright, turned, batch.turns[1::2], strict=True):
        torch.testing.assert_close(view, torch.rot90(image, int(turn), (1, 2)))
    told = complete_model(turned).rotation.log_softmax(1)
    expected = -told[torch.arange(12), batch.turns[1::2]]
    alone = objective_named("bce", private=True)
    once = batch_of(data, looks_at(data, alone, Viewing()), Viewing())
    bce = started(alone, complete_model, data).rows(complete_model, once)
    loss = objective.start(complete_model, data).rows(complete_model, batch)
    torch.testing.assert_close(loss - expected, bce, rtol=1e-4, atol=1e-5)


def test_reconstruction_is_measured_against_the_networks_input(complete_model: ChestModel) -> None:
    data, objective = blobs(3), objective_named("reconstruction", private=True)
    looks = looks_at(data, objective)
    batch = batch_for(data, looks, objective)
    made = complete_model(batch.images).reconstruction
    expected = np.square((made - batch.images).detach().numpy()).mean((1, 2, 3))
    np.testing.assert_allclose(
        values(started(objective, complete_model, data), complete_model, data, looks), expected, rtol=1e-4
    )


def test_the_third_answer_is_a_softmax_over_three(seen: Seen) -> None:
    """A label without the answer, whose third logit is -1e4, is the binary loss as before."""
    third = seen.output.logits.flip(0).clone()
    third[:, 1] = -1e4
    uncertain = torch.zeros_like(seen.mask)
    uncertain[::4, 0] = True
    asked = replace(
        seen,
        output=seen.output._replace(uncertainty=third),
        uncertain=uncertain,
        mask=seen.mask & ~uncertain,
        positive_weights=torch.tensor([3.0, 1.0]).double(),
    )
    found = TERMS["bce"].start()(asked)
    for row in range(ROWS):
        probabilities = torch.stack(
            [torch.tensor(0.0).double(), seen.output.logits[row, 0], third[row, 0]]
        ).softmax(0)
        answer = 2 if uncertain[row, 0] else int(seen.targets[row, 0])
        counted = bool(asked.mask[row, 0] or uncertain[row, 0])
        first = -probabilities[answer].log() * counted * (3 if answer == 1 else 1)
        second = slow_bce(replace(asked, mask=asked.mask & torch.tensor([False, True])))[row]
        torch.testing.assert_close(found[row], first / 2 + second)


@pytest.mark.parametrize("name", ["bce", "prototypes", "asymmetric", "auc-margin", "supcon"])
def test_a_row_without_labels_is_worth_exactly_zero_and_moves_nothing(
    complete_model: ChestModel, name: str
) -> None:
    """So hospitals without labels can take part in a sum of terms, of which the others still learn."""
    data, objective = blobs(4, images_each=1), objective_named(name, private=False)
    hidden = replace(data, mask=data.mask & (np.arange(4) != 2)[:, None])
    changed = replace(hidden, targets=data.targets.copy(), images=data.images.copy())
    changed.targets[2] = 1 - changed.targets[2]
    changed.images[2] = 255 - changed.images[2]
    both = []
    for cohort in (hidden, changed):
        complete_model.zero_grad()
        batch = batch_for(cohort, looks_at(cohort, objective), objective)
        rows = started(objective, complete_model, cohort).rows(complete_model, batch)
        assert rows[2] == 0
        rows.sum().backward()
        gradients = [p.grad for p in complete_model.parameters() if p.grad is not None]
        both.append(torch.cat([gradient.flatten() for gradient in gradients]))
    torch.testing.assert_close(both[0], both[1], rtol=1e-4, atol=1e-6)
    assert both[0].norm() > 0


def test_a_cohort_without_labels_still_trains_by_the_other_terms(complete_model: ChestModel) -> None:
    data = blobs(3)
    unlabelled = replace(data, mask=np.zeros_like(data.mask))
    joint, alone = (objective_named(name, private=True) for name in ("bce+prototypes+byol", "byol"))
    looks = looks_at(data, joint)
    torch.testing.assert_close(
        values(started(joint, complete_model, unlabelled), complete_model, unlabelled, looks),
        values(started(alone, complete_model, unlabelled), complete_model, unlabelled, looks),
    )


@pytest.mark.parametrize("rule", ["none", "chexpert", "cohort"])
def test_class_weights_multiply_the_positive_answers(model: ChestModel, rule: str) -> None:
    data = blobs(6, images_each=1)
    ones = replace(data, targets=np.ones_like(data.targets), mask=np.ones_like(data.mask))
    objective = objective_named("bce", private=False, class_weights=rule)
    looks = looks_at(ones, objective, Viewing())
    loss = objective.start(model, data)
    found = loss.rows(model, batch_of(ones, looks, Viewing()))
    positives = (data.targets * data.mask).sum(0)
    weights = {
        "none": np.ones(2),
        "chexpert": np.array([(223_414 - 33_376 - 33_739) / 33_376, (223_414 - 27_000 - 8_087) / 27_000]),
        "cohort": (data.mask.sum(0) - positives) / positives,
    }[rule]
    logits = model(batch_of(ones, looks, Viewing()).images).logits
    expected = functional.softplus(-logits) @ torch.tensor(weights, dtype=torch.float32) / 2
    torch.testing.assert_close(found, expected)


def test_a_child_label_counts_only_where_its_parent_is_there(model: ChestModel) -> None:
    names = ("Enlarged Cardiomediastinum", "Cardiomegaly")
    config = ModelConfig(names, image_size=32, embedding=16, hierarchy=True)
    network, objective = build_model(config, seed=0), objective_named("bce", private=True)
    data = replace(blobs(8, images_each=1), label_names=names)
    looks = looks_at(data, objective, Viewing())
    asked, completed = data.mask.copy(), data.targets.copy()
    affirmed = data.mask[:, 1] & (data.targets[:, 1] > 0.5)
    completed[affirmed, 0], asked[affirmed, 0] = 1.0, True
    asked[:, 1] &= asked[:, 0] & (completed[:, 0] > 0.5)
    assert (asked != data.mask).any()
    assert (completed != data.targets).any()
    flat = build_model(replace(config, hierarchy=False), seed=0)
    flat.load_state_dict(network.state_dict())
    torch.testing.assert_close(
        values(objective.start(network, data), network, data, looks),
        values(objective.start(flat, data), flat, replace(data, mask=asked, targets=completed), looks),
    )


class Pair(nn.Module):
    """Two networks side by side."""

    def __init__(self, *members: ChestModel) -> None:
        super().__init__()
        self.config = members[0].config
        self.networks = nn.ModuleList(members)

    @property
    def members(self) -> list[ChestModel]:
        return list(self.networks)


def test_the_loss_of_an_ensemble_is_the_sum_of_its_members(complete_model: ChestModel) -> None:
    other = build_model(complete_model.config, seed=1)
    data, objective = blobs(3), objective_named("bce+byol", private=True)
    looks, together = looks_at(data, objective), Pair(complete_model, other)
    alone = [values(started(objective, one, data), one, data, looks) for one in (complete_model, other)]
    torch.testing.assert_close(values(started(objective, together, data), together, data, looks), sum(alone))


def test_several_views_of_an_image_are_averaged(model: ChestModel) -> None:
    data, objective = blobs(3), objective_named("bce+prototypes", private=True)
    looks = looks_at(data, objective, replace(ALTERED, views=4))
    together = values(objective.start(model, data), model, data, looks)
    alone = [
        values(
            objective.start(model, data),
            model,
            data,
            [replace(look, rows=look.rows[:, [v]], coins=look.coins[:, [v]]) for look in looks],
        )
        for v in range(4)
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean(0))


def test_the_slow_copy_goes_a_constant_part_of_the_way(complete_model: ChestModel) -> None:
    """By linearity it shows in the public embeddings' source: the copy's parameters themselves."""
    data, objective = blobs(3), objective_named("byol", private=True)
    loss = started(objective, complete_model, data)
    start = {name: value.detach().clone() for name, value in complete_model.named_parameters()}
    with torch.no_grad():
        for parameter in complete_model.parameters():
            parameter.add_(1.0)
    loss.after_step(complete_model)
    looks = looks_at(data, objective)
    expected = build_model(complete_model.config, seed=5)
    expected.load_state_dict({name: value + (1 - MOMENTUM) for name, value in start.items()})
    fresh = objective.start(expected, data)
    torch.testing.assert_close(
        values(loss, complete_model, data, looks), values(fresh, complete_model, data, looks)
    )


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_needs_no_part_beyond_those_it_names(name: str) -> None:
    objective = objective_named(name, private=False)
    config = ModelConfig(LABELS, image_size=32, embedding=16, parts=tuple(sorted(objective.parts)))
    network, data = build_model(config, seed=0), blobs(3, images_each=1)
    assert (
        values(started(objective, network, data), network, data, looks_at(data, objective)).isfinite().all()
    )


def test_a_missing_part_and_missing_public_images_are_named(model: ChestModel) -> None:
    with pytest.raises(ConfigError, match=r"'bce\+byol' needs the model part 'predictor'"):
        objective_named("bce+byol", private=True).start(model, blobs(2))
    with pytest.raises(ConfigError, match="'public-contrast' needs public images"):
        objective_named("public-contrast", private=True).start(model, blobs(2))


def test_views_that_are_all_the_same_are_refused() -> None:
    objective = objective_named("bce+byol", private=True)
    with pytest.raises(ConfigError, match="augmentation 'none' makes the views"):
        objective.viewing(Viewing())
    assert objective.viewing(Viewing(pairing=Pairing.PATIENT)).views == 2
    assert objective.viewing(Viewing(AUGMENTATIONS["light"], views=5)).views == 5
    assert objective_named("bce+rotation", private=True).viewing(Viewing()).rows_each == 2


def test_bfloat16_gives_nearly_the_same_losses_in_float32(complete_model: ChestModel) -> None:
    data, objective = blobs(4), objective_named("bce+prototypes+byol", private=True)
    looks = looks_at(data, objective)
    half = objective.start(complete_model, data, autocast=torch.bfloat16)
    found = values(half, complete_model, data, looks)
    assert found.dtype == torch.float32
    exact = values(started(objective, complete_model, data), complete_model, data, looks)
    assert 0 < float((found - exact).abs().max()) < 0.1
