"""Both ways to clipped per-patient gradients against the slow one: each patient alone, through plain autograd."""

from collections.abc import Callable, Iterable

import pytest
import torch
from timm.layers import LayerNorm, LayerNorm2d, StdConv2d, create_conv2d
from torch import Tensor, nn

from fedchest.errors import UnboundedLossError
from fedchest.learning import layer_rules
from fedchest.learning.bookkeeping import book_keeping
from fedchest.learning.gradients import PATIENT_GRADIENTS, DpEngine
from fedchest.learning.layer_rules import BACKWARD_RULES, LAYER_RULES
from fedchest.learning.owners import Owners
from fedchest.models.normalization import ChannelAffine, GroupNorm

OWNERS = torch.tensor([0, 0, 0, 1, 2, 2])
IMAGE = (8, 10, 12)


def one_by_one(module: nn.Module, inputs: Tensor, owners: Owners, bound: float) -> Tensor:
    """The definition: each patient's own gradient in float64, clipped, added up."""
    exact, wide = module.double(), inputs.double()
    trained = [parameter for parameter in exact.parameters() if parameter.requires_grad]
    total = torch.zeros(sum(parameter.numel() for parameter in trained), dtype=torch.float64)
    for patient in range(owners.patients):
        loss = exact(wide[owners.of_rows == patient]).square().sum()
        gradients = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        total += flat * min(1.0, bound / float(flat.norm()))
    module.to(inputs.dtype)
    return total.to(inputs.dtype)


def by_engine(engine: DpEngine, module: nn.Module, inputs: Tensor, owners: Owners, bound: float) -> Tensor:
    with PATIENT_GRADIENTS[engine](module) as gradients:
        return gradients.clipped_sum(module(inputs).square().sum(), owners, bound)


def check(
    module: nn.Module,
    inputs: Tensor,
    owners: Owners | None = None,
    engines: Iterable[DpEngine] = tuple(DpEngine),
) -> None:
    owners = owners or Owners(OWNERS, 3)
    for bound in (1e9, 30.0, 1e-3):
        expected = one_by_one(module, inputs, owners, bound)
        for engine in engines:
            found = by_engine(engine, module, inputs, owners, bound)
            assert float((found - expected).norm() / expected.norm()) < 1e-5, (engine, bound)


LAYERS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8), IMAGE),
    (lambda: nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False), IMAGE),
    (lambda: nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8), IMAGE),
    (lambda: nn.Conv2d(8, 8, (5, 4), stride=(2, 3), padding=(1, 2), dilation=(1, 2), groups=8), IMAGE),
    (lambda: nn.Conv2d(8, 16, 3, padding=1, groups=4), IMAGE),
    (lambda: nn.Conv2d(8, 12, 1), IMAGE),
    (lambda: nn.Conv2d(8, 12, 1, stride=2, bias=False), IMAGE),
    (lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1), IMAGE),
    (lambda: nn.Conv2d(8, 12, (3, 5), padding=(2, 1), dilation=(2, 1)), IMAGE),
    (lambda: nn.Conv2d(64, 64, 3), (64, 4, 4)),
    (lambda: nn.Conv2d(64, 64, 1), (64, 2, 2)),
    (lambda: nn.Linear(8, 5), (8,)),
    (lambda: nn.Linear(64, 64, bias=False), (64,)),
    (lambda: nn.Linear(8, 5), (7, 8)),
    (lambda: ChannelAffine(8), IMAGE),
    (lambda: GroupNorm(4, 8), IMAGE),
    (lambda: nn.GroupNorm(2, 8), IMAGE),
    (lambda: nn.LayerNorm(12), IMAGE),
    (lambda: nn.LayerNorm((10, 12)), IMAGE),
    (lambda: LayerNorm(8), (7, 8)),
    (lambda: LayerNorm2d(8), IMAGE),
]
MAKERS = [make for make, shape in LAYERS if shape == IMAGE]


@pytest.mark.parametrize(("make", "shape"), LAYERS, ids=lambda value: None if callable(value) else str(value))
def test_a_layer(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    check(make(), torch.randn(6, *shape))


@pytest.mark.parametrize(("make", "shape"), LAYERS, ids=lambda value: None if callable(value) else str(value))
@pytest.mark.parametrize("from_pairs", [True, False], ids=["norms-from-pairs", "norms-from-gradients"])
def test_a_layer_whichever_way_its_norms_are_found(
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    from_pairs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layer_rules, "_pairs_are_cheaper", lambda *of: from_pairs)
    torch.manual_seed(0)
    check(make(), torch.randn(6, *shape), engines=[DpEngine.BOOKKEEPING])


@pytest.mark.parametrize(("make", "shape"), LAYERS, ids=lambda value: None if callable(value) else str(value))
def test_a_layer_in_float64(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, inputs, owners = make().double(), torch.randn(6, *shape, dtype=torch.float64), Owners(OWNERS, 3)
    found = by_engine(DpEngine.BOOKKEEPING, layer, inputs, owners, 1e-3)
    expected = one_by_one(layer, inputs, owners, 1e-3)
    assert float((found - expected).norm() / expected.norm()) < 1e-12


def test_every_layer_with_a_rule_is_tested() -> None:
    assert {type(make()) for make, _ in LAYERS} == set(LAYER_RULES) | set(BACKWARD_RULES)


@pytest.mark.parametrize("make", MAKERS)
def test_a_layer_between_others_of_channels_last_maps(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 8, 1), make(), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    inputs = torch.randn(6, *IMAGE).contiguous(memory_format=torch.channels_last)
    check(network, inputs, engines=[DpEngine.BOOKKEEPING])


def test_a_layer_norm_without_bias() -> None:
    """Opacus has no gradients for it."""
    check(nn.LayerNorm(8, bias=False), torch.randn(6, 8), engines=[DpEngine.BOOKKEEPING])


@pytest.mark.parametrize("of_rows", [[0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2]])
def test_any_share_of_rows_among_patients(of_rows: list[int]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(480, 4))
    check(network, torch.randn(6, *IMAGE), Owners(torch.tensor(of_rows), max(of_rows) + 1))


def test_large_per_patient_gradients_are_made_again_instead_of_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_rules, "_LARGEST_KEPT", 0)
    torch.manual_seed(0)
    check(nn.Sequential(nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(480, 4)), torch.randn(6, *IMAGE))


def test_frozen_and_unused_parameters() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.unused, self.last = nn.Conv2d(8, 6, 3), nn.Linear(3, 3), nn.Linear(480, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(self.first(inputs).flatten(1))

    torch.manual_seed(0)
    network = Network()
    network.first.weight.requires_grad_(False)
    check(network, torch.randn(6, *IMAGE))


def test_a_patient_without_a_finite_gradient_contributes_nothing() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(480, 4))
    inputs = torch.randn(6, *IMAGE)
    without = by_engine(DpEngine.BOOKKEEPING, network, inputs[3:], Owners(OWNERS[3:] - 1, 2), 0.5)
    nobody = by_engine(DpEngine.BOOKKEEPING, network, inputs * torch.nan, Owners(OWNERS, 3), 0.5)
    inputs[1] = torch.inf
    found = by_engine(DpEngine.BOOKKEEPING, network, inputs, Owners(OWNERS, 3), 0.5)
    torch.testing.assert_close(found, without)
    assert not nobody.any()


def test_rounding_does_not_make_a_norm_smaller_where_positions_cancel() -> None:
    """In float32, the norm found from pairs of positions would be off by more than the norm is long."""
    torch.manual_seed(0)
    layer, owners = nn.Conv2d(64, 64, 1, bias=False), Owners(torch.arange(4), 4)
    for difference in torch.linspace(5e-5, 2e-4, 20):
        inputs = torch.randn(4, 64, 1, 1).repeat(1, 1, 1, 2)
        gradients = torch.randn(4, 64, 1, 1) * torch.stack([torch.ones(()), difference - 1])
        with book_keeping(layer) as keeper:
            clipped = keeper.clipped_sum((layer(inputs) * gradients).sum(), owners, 1e-3)
        each = torch.einsum("pot,pit->poi", gradients[:, :, 0].double(), inputs[:, :, 0].double()).flatten(1)
        expected = (each / each.norm(dim=1, keepdim=True)).sum(0) * 1e-3
        assert float((clipped - expected).norm() / expected.norm()) < 0.03


@pytest.mark.parametrize("from_pairs", [True, False], ids=["norms-from-pairs", "norms-from-gradients"])
def test_rounding_does_not_carry_a_clipped_gradient_above_the_bound(
    monkeypatch: pytest.MonkeyPatch, from_pairs: bool
) -> None:
    """Two positions that differ in the last place only: scaled one by one, they no longer cancel as they did."""
    monkeypatch.setattr(layer_rules, "_pairs_are_cheaper", lambda *of: from_pairs)
    monkeypatch.setattr(layer_rules, "_LARGEST_KEPT", 0)
    layer = nn.Conv2d(64, 64, 1, bias=False)
    inputs, owners = 2.0**16 * torch.ones(1, 64, 1, 2), Owners(torch.zeros(1, dtype=torch.int64), 1)
    for value in torch.linspace(2000, 2100, 400):
        gradients = torch.stack([value, -torch.nextafter(value, torch.tensor(torch.inf))]).expand(1, 64, 1, 2)
        with book_keeping(layer) as keeper:
            clipped = keeper.clipped_sum((layer(inputs) * gradients).sum(), owners, 1.0)
        assert clipped.norm() <= 1.0001


def test_two_passes_of_a_layer_are_refused() -> None:
    layer = nn.Linear(8, 8)
    with book_keeping(layer), pytest.raises(UnboundedLossError, match="stack a patient's views"):
        layer(layer(torch.randn(2, 8)))


def test_a_pass_without_gradients_does_not_count() -> None:
    layer, inputs = nn.Linear(8, 8), torch.randn(2, 8)
    with book_keeping(layer) as keeper:
        with torch.no_grad():
            target = layer(inputs)
        loss = (layer(inputs) - target - 1).square().sum()
        assert keeper.clipped_sum(loss, Owners(torch.arange(2), 2), 1.0).norm() > 0


def test_a_shared_parameter_is_refused() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    network[1].weight = network[0].weight
    with pytest.raises(UnboundedLossError, match="shares a parameter"), book_keeping(network):
        pass


@pytest.mark.parametrize(
    "layer",
    [
        nn.PReLU(),
        StdConv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 3, padding="same"),
        create_conv2d(8, 8, 3, stride=2, padding="same"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_without_a_rule_of_its_own_is_refused_by_name(layer: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(8, 8), layer)
    with pytest.raises(UnboundedLossError, match=r"Layer 1 is .*Opacus engine"), book_keeping(network):
        pass


def test_a_change_of_an_input_in_place_is_noticed() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, inputs: Tensor) -> Tensor:
            between = self.first(inputs)
            result = self.second(between)
            between += 1
            return result + between

    network = Network()
    with book_keeping(network) as keeper:
        loss = network(torch.randn(2, 8)).sum()
        with pytest.raises(UnboundedLossError, match="changed in place"):
            keeper.clipped_sum(loss, Owners(torch.arange(2), 2), 1.0)


def test_rows_that_are_not_the_batch_s_are_refused() -> None:
    """As windowed attention makes them: a window is not a patient."""
    network = nn.Sequential(nn.Flatten(0, 1), nn.Linear(3, 1))
    with book_keeping(network) as keeper:
        loss = network(torch.randn(4, 2, 3)).sum()
        with pytest.raises(UnboundedLossError, match=r"A Linear got 8 rows for the 4 of the batch"):
            keeper.clipped_sum(loss, Owners(torch.arange(4), 4), 1.0)


def test_a_change_of_an_output_in_place_is_followed() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
    check(network, torch.randn(6, 8), engines=[DpEngine.BOOKKEEPING])


def test_hooks_are_taken_off_again() -> None:
    layer = nn.Linear(8, 8)
    with book_keeping(layer):
        pass
    assert not layer._forward_hooks
