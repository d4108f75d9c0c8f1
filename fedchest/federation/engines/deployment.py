"""A real SuperLink and one SuperNode an institution, as local processes, over TLS with node authentication."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from fedchest.federation.directory import RunDirectory
from fedchest.federation.engines.processes import (
    Child,
    Program,
    await_condition,
    free_ports,
    running,
    threads_each,
)
from fedchest.federation.engines.superlink import SuperLink
from fedchest.federation.engines.supernode import has_joined, supernode
from fedchest.federation.engines.tls import make_node_key, make_server_credentials

_JOIN_SECONDS = 180.0


def run_deployed(directory: RunDirectory, *, seconds: float) -> None:
    """Run the study's remaining rounds, for at most `seconds` from the moment that all SuperNodes have joined.

    A SuperNode that dies on the way does not end the run: the round goes on without it. Raises EngineError,
    naming the log, when a process does not start, a node is not admitted, the SuperLink or every SuperNode dies,
    or the run fails.
    """
    coordinator = directory.coordinator.resolve()
    sites = [site.resolve() for site in directory.institutions()]
    port, *node_ports = free_ports(1 + len(sites))
    credentials = make_server_credentials(_fresh(coordinator / "superlink"))
    link = SuperLink(coordinator / "superlink", port, credentials)
    link.configure()
    with running(link.program(coordinator)) as [superlink]:
        link.await_ready(superlink)
        nodes = []
        for site, node_port in zip(sites, node_ports, strict=True):
            private_key = _fresh(site / "supernode") / "node.key"
            link.register(make_node_key(private_key))
            nodes.append(
                supernode(
                    site,
                    superlink=link.address,
                    ca=credentials.ca,
                    private_key=private_key,
                    port=node_port,
                    threads=threads_each(len(sites)),
                )
            )
        _run_with_nodes(link, superlink, nodes, seconds)


def _run_with_nodes(link: SuperLink, superlink: Child, programs: Sequence[Program], seconds: float) -> None:
    with running(*programs) as nodes:
        for node in nodes:
            _await_joined(node)
        with running(link.run_program()) as [run]:
            _await_run(run, superlink, nodes, seconds)
        if not link.run_succeeded():
            raise run.failure("The federation's run failed")


def _await_joined(node: Child) -> None:
    await_condition(lambda: has_joined(node) or node.status() is not None, _JOIN_SECONDS)
    if node.status() is not None or not has_joined(node):
        raise node.failure("A SuperNode was not admitted by the SuperLink")


def _await_run(run: Child, superlink: Child, nodes: Sequence[Child], seconds: float) -> None:
    def over() -> bool:
        return run.status() is not None or superlink.status() is not None or _all_ended(nodes)

    if not await_condition(over, seconds):
        raise run.failure(f"The federation's run did not end within {seconds:.0f} s")
    if superlink.status() is not None:
        raise superlink.failure("Flower's SuperLink ended during the run")
    if _all_ended(nodes):
        raise nodes[0].failure("Every SuperNode ended during the run")


def _all_ended(nodes: Sequence[Child]) -> bool:
    return all(node.status() is not None for node in nodes)


def _fresh(folder: Path) -> Path:
    """The folder without what an earlier start kept for itself; its logs stay."""
    shutil.rmtree(folder / "home", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
