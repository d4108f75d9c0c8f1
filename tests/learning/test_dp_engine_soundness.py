"""What one patient's bound stands on beside exact norms: refusals, rounding, mixed precision, devices."""

import pytest
import torch
from blobs import LABELS
from opacus.validators import ModuleValidator
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from fedchest.errors import UnboundedLossError
from fedchest.learning.bookkeeping import book_keeping
from fedchest.learning.gradients import PATIENT_GRADIENTS, DpEngine
from fedchest.learning.owners import Owners
from fedchest.models.chest import ChestModel, ModelConfig, build_model

PATIENTS = 4
TWO_IMAGES_EACH = Owners(torch.arange(PATIENTS).repeat_interleave(2), PATIENTS)


def frozen(layer: nn.Module) -> nn.Module:
    return layer.requires_grad_(False)


@pytest.mark.parametrize("engine", DpEngine)
@pytest.mark.parametrize(
    "coupling",
    [
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, affine=False, track_running_stats=False),
        frozen(nn.BatchNorm2d(4)),
        frozen(BatchNormAct2d(4)),
    ],
    ids=["without-affine", "without-affine-or-statistics", "frozen", "timm-frozen"],
)
def test_batch_statistics_that_opacus_lets_pass_are_refused(coupling: nn.Module, engine: DpEngine) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), coupling).train()
    assert not ModuleValidator.validate(network)
    with (
        pytest.raises(UnboundedLossError, match=r"Layer 1 is a batch norm"),
        PATIENT_GRADIENTS[engine](network),
    ):
        pass


def contribution(network: nn.Module, inputs: Tensor, owners: Owners, engine: DpEngine) -> float:
    """How long the clipped sum is, in units of the bound."""
    with PATIENT_GRADIENTS[engine](network) as gradients:
        return float(gradients.clipped_sum(network(inputs).square().sum(), owners, 0.5).double().norm()) / 0.5


@pytest.mark.parametrize("engine", DpEngine)
def test_stacked_views_of_a_patient_are_clipped_together(engine: DpEngine) -> None:
    torch.manual_seed(0)
    network, views = nn.Linear(8, 8), torch.randn(1, 8).repeat(2, 1)
    together = contribution(network, views, Owners(torch.tensor([0, 0]), 1), engine)
    one_by_one = contribution(network, views, Owners(torch.tensor([0, 1]), 2), engine)
    assert together == pytest.approx(1, abs=1e-4)
    assert one_by_one == pytest.approx(2, abs=1e-4), "what Opacus makes of stacked views"


@pytest.mark.parametrize("engine", DpEngine)
def test_a_large_even_gradient_is_clipped_to_the_bound(engine: DpEngine) -> None:
    """Adding up a million equal squares one after the other in float32 would be off by more than the margin."""
    layer = nn.Linear(1024, 1024, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for value in torch.linspace(0.5, 2.0, 8):
        inputs = value.expand(1, 600, 1024)
        assert contribution(layer, inputs, Owners(torch.tensor([0]), 1), engine) == pytest.approx(1, abs=1e-5)


@pytest.fixture(scope="module")
def separable() -> ChestModel:
    return build_model(ModelConfig(LABELS, image_size=32, embedding=16, parts=()), seed=0).train()


def clipped(
    model: ChestModel,
    images: Tensor,
    owners: Owners,
    bound: float,
    *,
    mixed: bool = True,
    inside: bool = False,
) -> Tensor:
    """The clipped sum of a forward pass in mixed precision, asked for within autocast or after it."""
    device = images.device.type
    with book_keeping(model) as gradients:
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            loss = nn.functional.softplus(model(images).logits).sum()
            if inside:
                return gradients.clipped_sum(loss, owners, bound)
        return gradients.clipped_sum(loss, owners, bound)


@pytest.mark.parametrize("bound", [1e-3, 0.5])
def test_mixed_precision_keeps_the_bound(separable: ChestModel, bound: float) -> None:
    """Up to the rounding of the other rows, which bfloat16 does otherwise in a batch of another size."""
    torch.manual_seed(0)
    images = torch.rand(2 * PATIENTS, 1, 32, 32)
    total = clipped(separable, images, TWO_IMAGES_EACH, bound)
    for gone in range(PATIENTS):
        others = TWO_IMAGES_EACH.of_rows != gone
        without = clipped(
            separable, images[others], TWO_IMAGES_EACH.only(torch.arange(PATIENTS) != gone), bound
        )
        alone = clipped(separable, images[~others], Owners(torch.tensor([0, 0]), 1), bound)
        assert float(alone.double().norm()) <= bound * (1 + 1e-5)
        assert 0.9 < float((total - without).norm()) / bound <= 1.01


def test_mixed_precision_is_near_full_precision(separable: ChestModel) -> None:
    torch.manual_seed(0)
    images = torch.rand(2 * PATIENTS, 1, 32, 32)
    full = clipped(separable, images, TWO_IMAGES_EACH, 0.5, mixed=False)
    mixed = clipped(separable, images, TWO_IMAGES_EACH, 0.5)
    assert mixed.dtype == torch.float32
    assert 0 < float((mixed - full).norm() / full.norm()) < 0.1


def test_norms_and_sums_are_not_taken_in_mixed_precision(separable: ChestModel) -> None:
    images = torch.rand(2 * PATIENTS, 1, 32, 32)
    after = clipped(separable, images, TWO_IMAGES_EACH, 0.5)
    assert torch.equal(after, clipped(separable, images, TWO_IMAGES_EACH, 0.5, inside=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mixed", [False, True])
def test_a_gpu_gives_the_same_sum(separable: ChestModel, mixed: bool) -> None:
    torch.manual_seed(0)
    images = torch.rand(2 * PATIENTS, 1, 32, 32)
    expected = clipped(separable, images, TWO_IMAGES_EACH, 0.5, mixed=False)
    found = clipped(separable.cuda(), images.cuda(), TWO_IMAGES_EACH, 0.5, mixed=mixed).cpu()
    separable.cpu()
    assert float((found - expected).norm() / expected.norm()) < (0.1 if mixed else 1e-2)
