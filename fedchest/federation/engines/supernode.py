"""An institution's SuperNode as a process."""

import json
from pathlib import Path

from fedchest.federation.engines.processes import LOOPBACK, Child, Program, script

_JOINED = "SuperNode ID: "


def supernode(site: Path, *, superlink: str, ca: Path, private_key: Path, port: int, threads: str) -> Program:
    """The SuperNode that serves the hospital's folder `site` and joins the SuperLink at `superlink`.

    The folder's path is node configuration: Flower keeps it at the node and hands it to the ClientApp's process
    there, never to the SuperLink (tests/federation/test_engines.py).
    """
    return Program(
        name="supernode",
        command=[
            *(script("flower-supernode"), "--superlink", superlink, "--root-certificates", str(ca)),
            *("--auth-supernode-private-key", str(private_key)),
            *("--host", LOOPBACK, "--port", str(port)),
            *("--node-config", f"site={json.dumps(str(site))}"),
        ],
        folder=private_key.parent,
        environment={
            "FLWR_HOME": str(private_key.parent / "home"),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "OMP_NUM_THREADS": threads,
        },
    )


def has_joined(node: Child) -> bool:
    """Whether the SuperLink has admitted it."""
    return _JOINED in node.output()
