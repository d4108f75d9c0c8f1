"""The process of the simulation engine: `python -m fedchest.federation.engines.simulation_process N WORKERS FOLDER`."""

import sys

from flwr.simulation import run_simulation

from fedchest.federation.apps import client_app, server_app


def main(institutions: int, workers: int, ray_folder: str) -> None:
    """Run both apps in Flower's simulation engine; Ray keeps its sockets and logs below `ray_folder`."""
    run_simulation(
        server_app=server_app(),
        client_app=client_app(),
        num_supernodes=institutions,
        backend_config={
            "init_args": {"num_cpus": workers, "num_gpus": 0, "_temp_dir": ray_folder},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
