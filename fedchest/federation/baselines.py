"""Each hospital's local-only model, to set beside the federated one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fedchest.aggregation.model import parse_model
from fedchest.federation.directory import SITE, STUDY, RunDirectory, SiteDocument, read_document, read_study
from fedchest.federation.evaluation import PublicEvaluation
from fedchest.federation.trainer import LocalTrainer
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import Institution


def local_only_auroc(directory: RunDirectory, ledger: Ledger, *, workers: int) -> dict[int, float | None]:
    """Mean AUROC on the public set of each institution's local-only model, by institution number."""
    base = parse_model(directory.artifacts.get(ledger.round(1).base_model))
    evaluation = PublicEvaluation.open(directory.coordinator)

    def measure(folder: Path, institution: Institution) -> float | None:
        study = read_study(folder / STUDY)
        trainer = LocalTrainer(read_document(folder / SITE, SiteDocument), study, folder)
        model = base
        for finalized in range(study.rounds):
            model = trainer.train_alone(model, institution.weight_class, finalized)
        return evaluation.measure(model).mean_auroc

    with ThreadPoolExecutor(max_workers=workers) as pool:
        figures = pool.map(measure, directory.institutions(), ledger.institutions())
        return dict(enumerate(figures))
