"""An objective, a sum of terms, and its loss during one training."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedchest.data.dataset import ChestDataset
from fedchest.errors import ConfigError
from fedchest.learning.batches import Batch
from fedchest.learning.class_weights import CLASS_WEIGHT_RULES
from fedchest.learning.objectives.terms import OBJECTIVE, Seen, Term
from fedchest.learning.private_inputs import CLASS_WEIGHTS, Declared, admit, declared
from fedchest.learning.target_network import TargetNetwork
from fedchest.learning.views import Pairing, Viewing
from fedchest.models.chest import ChestModel, Output, Part
from fedchest.models.hierarchy import conditional_mask, with_ancestors


@dataclass(frozen=True)
class Objective:
    """A sum of terms; `class_weights` is the rule by which the supervised ones weigh positive labels."""

    terms: tuple[Term, ...]
    class_weights: str = "none"

    @property
    def name(self) -> str:
        return "+".join(term.name for term in self.terms)

    @property
    def declared(self) -> Declared:
        """The private inputs of all terms; what is admissible instead has the coupled terms replaced."""
        reads = "; ".join(f"in {term.name} {term.coupling}" for term in self.terms if term.coupling)
        instead = dict.fromkeys(term.instead if term.coupling else term.name for term in self.terms)
        return Declared(OBJECTIVE, self.name, reads, "+".join(instead))

    @property
    def parts(self) -> frozenset[Part]:
        """What the model must have beside its classifier."""
        return frozenset().union(*(term.parts for term in self.terms))

    @property
    def needs_public(self) -> bool:
        """Whether a term compares with public images."""
        return any(term.public for term in self.terms)

    def admit(self, *, private: bool) -> None:
        """Raise UnboundedLossError, naming the nearest admissible choice, for what couples patients while `private`."""
        admit(self.declared, private=private)
        admit(declared(CLASS_WEIGHTS, self.class_weights), private=private)

    def viewing(self, chosen: Viewing) -> Viewing:
        """`chosen` with the views that the terms need.

        Raises ConfigError when views are to be compared that are all the same.
        """
        needed = max(term.views for term in self.terms)
        by_patient = any(term.pairing is Pairing.PATIENT for term in self.terms)
        viewing = replace(
            chosen,
            views=max(chosen.views, needed),
            pairing=Pairing.PATIENT if by_patient else chosen.pairing,
            turned=any(term.turned for term in self.terms),
        )
        if needed > 1 and viewing.pairing is Pairing.IMAGE and viewing.augmentation.is_none:
            raise ConfigError(
                f"augmentation 'none' makes the views of an image the same, which objective {self.name!r} compares: "
                "choose another, or pairing 'patient'."
            )
        return viewing

    def start(
        self,
        model: ChestModel,
        data: ChestDataset,
        *,
        public_images: Tensor | None = None,
        autocast: torch.dtype | None = None,
    ) -> "Loss":
        """The loss of one training of `model` on `data`, before any hook watches the model.

        `public_images` float32[M,1,H,W] are network input; `autocast` is the type that the network computes in, by
        default its own. Raises ConfigError when the model lacks a part or public images are needed and missing.
        """
        missing = sorted(self.parts - set(model.config.parts))
        if missing:
            raise ConfigError(
                f"objective {self.name!r} needs the model part {missing[0].value!r}, which model.parts lacks."
            )
        if public_images is None and self.needs_public:
            raise ConfigError(f"objective {self.name!r} needs public images, and there are none.")
        weights = torch.from_numpy(CLASS_WEIGHT_RULES[self.class_weights](data))
        return Loss(self, model, weights, public_images, autocast)


class Loss:
    """What training minimises; it may remember past steps, and is made by `Objective.start`."""

    def __init__(
        self,
        objective: Objective,
        model: ChestModel,
        positive_weights: Tensor,
        public_images: Tensor | None,
        autocast: torch.dtype | None,
    ) -> None:
        self.objective = objective
        self._members = [
            _MemberLoss(objective, member, positive_weights, public_images, autocast)
            for member in model.members
        ]

    def rows(self, model: ChestModel, batch: Batch) -> Tensor:
        """The value of each of the N images, float32[N]: of an ensemble, the members' sum."""
        values = [loss.rows(member, batch) for loss, member in zip(self._members, model.members, strict=True)]
        return torch.stack(values).sum(0)

    def after_step(self, model: ChestModel) -> None:
        """Let slow copies follow `model`; call it after each step and, with DP, after its noise only."""
        for loss, member in zip(self._members, model.members, strict=True):
            loss.after_step(member)


class _MemberLoss:
    """The loss of one network."""

    def __init__(
        self,
        objective: Objective,
        network: ChestModel,
        positive_weights: Tensor,
        public_images: Tensor | None,
        autocast: torch.dtype | None,
    ) -> None:
        device = next(network.parameters()).device
        self._terms = [(term, term.start()) for term in objective.terms]
        self._positive_weights = positive_weights.to(device)
        self._autocast = autocast
        self._target = TargetNetwork(network) if any(term.target for term in objective.terms) else None
        self._public_images = (
            public_images.to(device) if objective.needs_public and public_images is not None else None
        )
        self._public = self._see_public()

    def rows(self, network: ChestModel, batch: Batch) -> Tensor:
        seen = self._seen(network, batch)
        turned = any(term.turned for term, _ in self._terms)
        upright = seen.only(slice(-1)) if turned else seen
        values = []
        for term, rows in self._terms:
            of_rows = rows(seen.only(slice(-1, None)) if term.turned else upright)
            values.append(term.weight * of_rows.view(len(batch.indices), -1).mean(1))
        return torch.stack(values).sum(0)

    def after_step(self, network: ChestModel) -> None:
        if self._target is not None:
            self._target.follow(network)
            self._public = self._see_public()

    def _seen(self, network: ChestModel, batch: Batch) -> Seen:
        config, targets, mask, uncertain = network.config, batch.targets, batch.mask, batch.uncertain
        has_third = torch.tensor([name in config.multiclass for name in config.label_names])
        uncertain = uncertain & has_third.to(uncertain.device)
        if config.hierarchy:
            targets, mask = with_ancestors(targets, mask, config.label_names)
            asked = conditional_mask(targets, mask | uncertain, config.label_names)
            mask, uncertain = mask & asked, uncertain & asked & ~mask
        return Seen(
            output=self._output(network, batch.images),
            images=batch.images,
            targets=targets,
            mask=mask,
            uncertain=uncertain,
            turns=batch.turns,
            indices=batch.indices,
            positive_weights=self._positive_weights,
            target=None if self._target is None else self._output(self._target, batch.images),
            public=self._public,
        )

    def _see_public(self) -> Output | None:
        if self._target is None or self._public_images is None:
            return None
        return self._output(self._target, self._public_images)

    def _output(self, network: ChestModel | TargetNetwork, images: Tensor) -> Output:
        """In float32, whatever the network computes in: losses are sums of many values."""
        with torch.autocast(images.device.type, self._autocast, enabled=self._autocast is not None):
            output: Output = network(images)
        return Output._make(None if values is None else values.float() for values in output)
