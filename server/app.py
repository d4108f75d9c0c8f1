"""The Flower ServerApp: opens the coordinator's folder and lets the strategy run the rounds that are left."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from fedchest.federation.sites import coordinator_folder
from fedchest.files import held
from server.coordinator import Coordinator
from server.strategy import VerifiedFedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study's remaining rounds. Raises StoreError when another process does so already."""
    with held(coordinator_folder()):
        _run(grid)


def _run(grid: Grid) -> None:
    coordinator = Coordinator.open(coordinator_folder())
    strategy = VerifiedFedAvg(coordinator)
    strategy.settle_interrupted_round(grid)
    strategy.start(
        grid,
        initial_arrays=ArrayRecord(),
        num_rounds=coordinator.rounds_left(),
        timeout=coordinator.reply_seconds,
        evaluate_fn=coordinator.evaluate,
    )
