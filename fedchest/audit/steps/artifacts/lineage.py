"""The step on the models' lineage: each round starts from the last finalized model, or from one restored."""

from functools import partial

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.ledger.records import Phase, RoundState

_NO_MODEL = bytes(32)


def lineage(case: Case) -> str:
    """Each round runs under the study and starts from the last finalized or a restored model."""
    models = _Models(case)
    case.all(
        lambda: case.each(case.rounds, partial(_starts_from, case, models)),
        lambda: case.each(case.rounds, partial(_is_finalized_by_its_event, models)),
    )
    found = case.ledger.global_model()
    if found != models.model:
        raise Fault(
            "the contract's global model is not the last finalized one", expected=models.model, found=found
        )
    finalized = len(models.finalized) - 1
    return f"{len(case.rounds)} rounds, {finalized} of them finalized, each from the last finalized model"


class _Models:
    """What the events make of the global model: at the end, and at each round's opening."""

    def __init__(self, case: Case) -> None:
        self.head, self.model = 0, _NO_MODEL
        self.finalized = {0: _NO_MODEL}
        self.opened_from: dict[int, tuple[int, bytes]] = {}
        rounds = {state.number: state for state in case.rounds}
        for event in case.events:
            number = event.round or 0
            if event.name == "InitialModelApproved":
                self.model = self.finalized[0] = case.ledger.initial_model()
            elif event.name == "ModelRestored" and number in self.finalized:
                self.head, self.model = number, self.finalized[number]
            elif event.name == "RoundFinalized" and number in rounds:
                self.head, self.model = number, rounds[number].new_model
                self.finalized[number] = self.model
            elif event.name == "RoundOpened":
                self.opened_from[number] = (self.head, self.model)


def _starts_from(case: Case, models: _Models, state: RoundState) -> None:
    study = case.ledger.rules().study
    if state.config != study:
        raise Fault(
            "was opened under another configuration than the study",
            expected=study,
            found=state.config,
            round=state.number,
        )
    due = models.opened_from.get(state.number)
    if due is None:
        raise Fault("was never opened", expected="its opening", found="none", round=state.number)
    for what, expected, found in zip(("round", "model"), due, (state.parent, state.base_model), strict=True):
        if expected != found:
            raise Fault(
                f"does not start from the last finalized {what}",
                expected=expected,
                found=found,
                round=state.number,
            )


def _is_finalized_by_its_event(models: _Models, state: RoundState) -> None:
    finalized = state.number in models.finalized
    if (state.phase is Phase.FINALIZED) != finalized:
        raise Fault(
            "its phase and its events differ on whether it was finalized",
            expected="finalized" if finalized else "not finalized",
            found=state.phase,
            round=state.number,
        )
