"""Local training at one hospital: reserve the epsilon, train, hand the update over; nothing else leaves."""

import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fedchest.accounting.cohort_ledger import CohortLedger
from fedchest.accounting.prv import Charge, micro
from fedchest.data.dataset import ChestDataset
from fedchest.errors import BudgetError, TrainingError
from fedchest.federation.directory import SiteDocument
from fedchest.federation.phantoms import public_negatives
from fedchest.federation.progress import ProgressLog
from fedchest.federation.study import Stage, Study
from fedchest.federation.study_data import study_data
from fedchest.files import OWNER_ONLY, append_durably
from fedchest.learning.device import best_device
from fedchest.learning.dp import DpConstants, train_privately
from fedchest.learning.evaluate import evaluate
from fedchest.learning.plain import train_plainly
from fedchest.learning.reach import train_only
from fedchest.ledger.records import Institution
from fedchest.models.chest import ChestModel, build_model
from fedchest.models.parameters import Arrays, load_parameters, trained_parameters
from fedchest.protection.keys import read_secret
from fedchest.protection.randomness import Randomness
from fedchest.refusals import Reason, Refused


class LocalTrainer:
    """Trains on the hospital's own patients and charges their epsilon ledger."""

    def __init__(self, document: SiteDocument, study: Study, folder: Path) -> None:
        self._document = document
        self._study = study
        self._folder = folder
        self._progress = ProgressLog(folder)

    def update(self, base: Arrays, round_number: int, finalized: int, institution: Institution) -> Arrays:
        """`local - global` of the trained parameters, float32, after this round's steps from `base`.

        `base` is the study's `finalized`-th finalized model, which decides the stage. The round's epsilon is reserved
        and flushed before the first step. Raises Refused(BUDGET_EXHAUSTED) when the budget does not cover the round,
        Refused(BUDGET_STATE) when the ledger is missing or outdated, Refused(NOT_FINITE) when training diverges.
        """
        dp = self._study.dp_constants(institution.weight_class)
        label = f"round {round_number}"
        if dp is not None:
            self._reserve(dp, label, institution)
        try:
            trained = self.train(base, self._study.stage(finalized), institution.weight_class, label)
        except TrainingError:
            raise Refused(Reason.NOT_FINITE) from None
        return {name: after - base[name] for name, after in trained.items()}

    def train_alone(
        self, base: Arrays, weight_class: int, finalized: int, *, budget: float = math.inf
    ) -> Arrays:
        """The whole model after one more round of this hospital without others, from its `finalized`-th own model.

        It charges the patients as a study's round would. Raises BudgetError when they would have spent more than
        `budget` after it.
        """
        label = f"local-only round {finalized + 1}"
        dp = self._study.dp_constants(weight_class)
        if dp is not None:
            with self._ledger() as ledger:
                _refuse_beyond(budget, ledger, dp, rounds=1)
                ledger.reserve(_charge(dp), label)
        return base | self.train(base, self._study.stage(finalized), weight_class, label)

    def refuse_beyond(self, budget: float, weight_class: int, rounds: int) -> None:
        """Raise BudgetError when so many more rounds of `train_alone` would spend more than `budget`."""
        dp = self._study.dp_constants(weight_class)
        if dp is not None and rounds:
            with self._ledger() as ledger:
                _refuse_beyond(budget, ledger, dp, rounds)

    def train(self, values: Arrays, stage: Stage, weight_class: int, label: str) -> Arrays:
        """The trained parameters after one round's steps from `values`; the caller has reserved their epsilon.

        `label` names the stream of simulated randomness: the same label repeats the same draws and noise.
        """
        model = self._model(values)
        train_only(model, stage.trainable, self._study.objective(stage), self._study.viewing)
        data = self.training_set()
        dp = self._study.dp_constants(weight_class)
        self._run_steps(model, data, stage, dp, self._randomness(label), label)
        return trained_parameters(model)

    def training_set(self) -> ChestDataset:
        """The images that the hospital trains on. Raises DataError."""
        return self._dataset(self._document.patients)

    def epsilon(self, delta: float) -> float:
        """What the hospital's patients have spent at `delta`, over all studies. Raises BudgetError."""
        with self._ledger() as ledger:
            return ledger.epsilon(delta)

    def epsilon_spent(self, institution: Institution) -> int:
        """Micro-units of epsilon that the cohort has spent at the study's delta, rounded up; 0 with DP off.

        Raises Refused(BUDGET_STATE) when the ledger is damaged or knows of less than the chain.
        """
        if self._study.privacy is None:
            return 0
        delta = self._study.privacy.delta
        try:
            with self._ledger() as ledger:
                ledger.require_at_least(institution.epsilon_spent, delta)
                return micro(ledger.epsilon(delta))
        except BudgetError:
            raise Refused(Reason.BUDGET_STATE) from None

    def evaluate_for_the_hospital(self, round_number: int, model: Arrays) -> None:
        """Measure the global model on the hospital's validation patients; the figures stay in its own folder."""
        if not self._document.validation_patients:
            return
        result = evaluate(self._model(model), self._dataset(self._document.validation_patients))
        line = f'{{"round": {round_number}, "mean_auroc": {_json_number(result.mean_auroc)}}}'
        append_durably(self._folder / "evaluation.jsonl", line.encode(), mode=OWNER_ONLY)

    def _reserve(self, dp: DpConstants, label: str, institution: Institution) -> None:
        charge = _charge(dp)
        try:
            with self._ledger() as ledger:
                ledger.require_at_least(institution.epsilon_spent, dp.delta)
                if micro(ledger.epsilon_after(charge, dp.delta)) > self._budget(institution):
                    raise Refused(Reason.BUDGET_EXHAUSTED)
                ledger.reserve(charge, label)
        except BudgetError:
            raise Refused(Reason.BUDGET_STATE) from None

    def _budget(self, institution: Institution) -> int:
        """The smaller of what the contract and the hospital itself allow, in micro-units."""
        return min(institution.epsilon_budget, micro(self._document.epsilon_budget))

    def _ledger(self) -> AbstractContextManager[CohortLedger]:
        return CohortLedger.open(self._document.epsilon_ledger, self._document.patients)

    def _randomness(self, label: str) -> Randomness:
        secret = self._document.randomness_secret
        if secret is None:
            return Randomness.system()
        return Randomness.derived(read_secret(secret), f"{self._document.randomness_label}|{label}")

    def _model(self, values: Arrays) -> ChestModel:
        model = build_model(self._study.model, seed=0).to(best_device())
        load_parameters(model, values)
        return model

    def _dataset(self, patients: tuple[str, ...]) -> ChestDataset:
        document = self._document
        return study_data(
            self._study,
            document.data,
            "train",
            cache=document.cache,
            patients=patients,
            unlabelled=document.unlabelled_patients,
            teacher=document.teacher,
        )

    def _run_steps(
        self,
        model: ChestModel,
        data: ChestDataset,
        stage: Stage,
        dp: DpConstants | None,
        random: Randomness,
        label: str,
    ) -> None:
        def report(step: int) -> None:
            self._progress.report("step", label=label, step=step, steps=self._study.steps)

        study = self._study
        objective = study.objective(stage)
        seeing: dict[str, Any] = {
            "viewing": study.viewing,
            "public_images": public_negatives(study) if objective.needs_public else None,
            "autocast": study.autocast,
            "on_step": report,
        }
        if dp is not None and study.privacy is not None:
            engine = study.privacy.engine
            train_privately(model, data, dp, study.optimisation, objective, random, engine=engine, **seeing)
        else:
            train_plainly(
                model,
                data,
                study.optimisation,
                objective,
                steps=study.steps,
                batch=study.batch,
                random=random,
                **seeing,
            )


def _charge(dp: DpConstants, rounds: int = 1) -> Charge:
    return Charge(dp.noise_multiplier, dp.sampling_rate, rounds * dp.steps)


def _refuse_beyond(budget: float, ledger: CohortLedger, dp: DpConstants, rounds: int) -> None:
    after = ledger.epsilon_after(_charge(dp, rounds), dp.delta)
    if after > budget:
        planned = "One more round" if rounds == 1 else f"{rounds} more rounds"
        raise BudgetError(
            f"{planned} would bring the patients' epsilon to {after:.2f}; their budget is {budget:.2f}"
            " (privacy.budget)."
        )


def _json_number(value: float | None) -> str:
    return "null" if value is None or math.isnan(value) else repr(value)
