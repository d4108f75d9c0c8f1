"""The step on the models' lineage: each round starts from the last finalized model."""

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.ledger.records import Phase


def lineage(case: Case) -> str:
    """Each round runs under the study and starts from the last finalized model, the first from the initial one."""
    (created,) = case.events_of("StudyCreated")
    head = created.values["initial_model"]
    study = case.ledger.rules().study
    finalized = 0
    for state in case.rounds:
        if state.config != study:
            raise Fault(
                "was opened under another configuration than the study",
                expected=study,
                found=state.config,
                round=state.number,
            )
        if state.base_model != head:
            raise Fault(
                "does not start from the last finalized model",
                expected=head,
                found=state.base_model,
                round=state.number,
            )
        if state.phase is Phase.FINALIZED:
            head = state.new_model
            finalized += 1
    found = case.ledger.global_model()
    if found != head:
        raise Fault("the contract's global model is not the last finalized one", expected=head, found=found)
    return f"{len(case.rounds)} rounds, {finalized} of them finalized, each from the last finalized model"
