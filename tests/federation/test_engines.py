"""The same apps in Flower's simulation engine and as real processes: the same rounds, and the same bits."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from small_federation import SmallFederation, founded, small_settings

from fedchest.errors import EngineError
from fedchest.federation.engines.deployment import run_deployed
from fedchest.federation.engines.processes import await_condition, free_ports, running
from fedchest.federation.engines.simulation import run_in_simulation
from fedchest.federation.engines.superlink import SuperLink
from fedchest.federation.engines.supernode import has_joined, supernode
from fedchest.federation.engines.tls import make_node_key, make_server_credentials
from fedchest.federation.run import ENGINES
from fedchest.ledger.records import REQUIRED_CHECKS, Phase
from fedchest.refusals import Reason

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# What a Ray cluster answers to a wrong token or to none.
REFUSED_BY_RAY = "InvalidAuthToken"


@pytest.fixture(autouse=True)
def one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads in every process as the tests' own, so that sums are made in the same order."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@contextmanager
def private_study(cohort: Path, folder: Path, cache: Path, **sections: Any) -> Iterator[SmallFederation]:
    """A founded run of 2 hospitals and 2 rounds with DP on, whose noise depends on the seed alone."""
    defaults = {
        "partition": {"institutions": 2},
        "training": {"rounds": 2},
        "privacy": {"dp": True, "reproducible_noise": True},
    }
    with founded(small_settings(cohort, folder / "run", cache, {**defaults, **sections})) as federation:
        yield federation


@pytest.fixture(scope="module")
def in_process_model(
    cohort_folder: Path, image_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The final model's hash of the study, run in process."""
    with private_study(cohort_folder, tmp_path_factory.mktemp("in-process"), image_cache) as federation:
        federation.run()
        return federation.ledger.global_model()


@pytest.mark.parametrize("engine", ["simulation", "deployment"])
def test_every_engine_ends_with_the_same_model(
    engine: str, in_process_model: bytes, cohort_folder: Path, image_cache: Path, tmp_path: Path
) -> None:
    with private_study(cohort_folder, tmp_path, image_cache) as federation:
        ENGINES[engine](federation.directory, federation.settings)
        for number in (1, 2):
            assert federation.state(number).phase is Phase.FINALIZED
            assert federation.ledger.accepted(number) == (0, 1)
            assert federation.checks(number) == {0: REQUIRED_CHECKS, 1: REQUIRED_CHECKS}
        assert all(institution.epsilon_spent > 0 for institution in federation.ledger.institutions())
        assert federation.ledger.global_model() == in_process_model
        assert not processes_of(federation.directory.root)
        assert_no_site_path_left_the_node(federation)


def assert_no_site_path_left_the_node(federation: SmallFederation) -> None:
    """Nothing that the coordinator's side of Flower wrote names a hospital's folder."""
    kept = [path for path in (federation.directory.coordinator / "superlink").rglob("*") if path.is_file()]
    for site in federation.directory.institutions():
        assert not [path for path in kept if str(site).encode() in path.read_bytes()]


def test_a_simulation_that_fails_names_its_log(
    cohort_folder: Path, image_cache: Path, tmp_path: Path
) -> None:
    with private_study(cohort_folder, tmp_path, image_cache) as federation:
        (federation.directory.coordinator / "coordinator.json").unlink()
        log = federation.directory.root / "simulation" / "simulation.log"
        with pytest.raises(EngineError, match=rf"failed; {log} says why\.$"):
            run_in_simulation(federation.directory, workers=1, seconds=300)
        assert b"coordinator.json does not exist" in log.read_bytes()
        assert not processes_of(federation.directory.root)


def test_a_simulation_is_waited_for_a_bounded_time(
    cohort_folder: Path, image_cache: Path, tmp_path: Path
) -> None:
    with private_study(cohort_folder, tmp_path, image_cache) as federation:
        with pytest.raises(EngineError, match="did not end within 1 s"):
            run_in_simulation(federation.directory, workers=1, seconds=1)
        assert not processes_of(federation.directory.root)


def test_ray_obeys_nobody_else(
    cohort_folder: Path, image_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray listens on the network; with the run's token code is run, without it or with another it is refused."""
    with (
        TemporaryDirectory(prefix="fc") as short,
        private_study(cohort_folder, tmp_path, image_cache) as federation,
    ):
        monkeypatch.setattr(tempfile, "tempdir", short)
        arguments: dict[str, float] = {"workers": 1, "seconds": 500}
        engine = threading.Thread(target=run_in_simulation, args=(federation.directory,), kwargs=arguments)
        engine.start()
        assert await_condition(lambda: bool(federation.checks(1)) or not engine.is_alive(), 300)
        driver = _simulation_process(short)
        token = _environment(driver)["RAY_AUTH_TOKEN"]
        with _held(driver):
            [cluster] = _clusters(short)
            own = _run_in_ray(cluster, "obeyed 0", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
            none = _run_in_ray(cluster, REFUSED_BY_RAY)
            other = _run_in_ray(cluster, REFUSED_BY_RAY, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
        engine.join()
        assert "obeyed 0" in own
        for output in (none, other):
            assert REFUSED_BY_RAY in output
            assert "obeyed" not in output
        assert federation.state(2).phase is Phase.FINALIZED


def test_a_deployed_run_that_fails_names_its_log(
    cohort_folder: Path, image_cache: Path, tmp_path: Path
) -> None:
    with private_study(cohort_folder, tmp_path, image_cache) as federation:
        (federation.directory.coordinator / "coordinator.json").unlink()
        log = federation.directory.coordinator / "superlink" / "run.log"
        with pytest.raises(EngineError, match=rf"run failed; {log.resolve()} says why\.$"):
            run_deployed(federation.directory, seconds=300)
        assert not processes_of(federation.directory.root)


def test_a_superlink_on_a_taken_port_names_its_log(tmp_path: Path) -> None:
    with admitting_superlink(tmp_path / "first") as link:
        port = int(link.address.rpartition(":")[2])
        other = SuperLink(tmp_path / "second", port, make_server_credentials(tmp_path / "second"))
        with (
            running(other.program(tmp_path)) as [process],
            pytest.raises(EngineError, match=r"superlink\.log"),
        ):
            other.await_ready(process)


def test_only_a_registered_node_is_admitted(tmp_path: Path) -> None:
    """The known node joins with its key, a stranger with a key of its own is turned away and ends."""
    with admitting_superlink(tmp_path / "superlink") as link:
        known, stranger = tmp_path / "known" / "node.key", tmp_path / "stranger" / "node.key"
        link.register(make_node_key(known))
        make_node_key(stranger)
        programs = [
            supernode(
                key.parent,
                superlink=link.address,
                ca=link.credentials.ca,
                private_key=key,
                port=port,
                threads="1",
            )
            for key, port in zip((known, stranger), free_ports(2), strict=True)
        ]
        with running(*programs) as [welcome, turned_away]:
            assert await_condition(lambda: turned_away.status() is not None, 240)
            assert await_condition(lambda: has_joined(welcome), 240)
            assert welcome.status() is None
            assert turned_away.status() != 0
            assert not has_joined(turned_away)


def test_a_round_goes_on_without_a_node_that_was_killed(
    cohort_folder: Path, image_cache: Path, tmp_path: Path
) -> None:
    """Kill -9 of a SuperNode while it trains: Flower misses its heartbeat, the other three reach the quorum."""
    with private_study(
        cohort_folder,
        tmp_path,
        image_cache,
        partition={"institutions": 4},
        training={"rounds": 1},
    ) as federation:
        directory = federation.directory
        engine = threading.Thread(target=run_deployed, args=(directory,), kwargs={"seconds": 500})
        engine.start()
        victim = directory.institution(3)
        log = victim / "supernode" / "supernode.log"
        assert await_condition(lambda: log.exists() and b"train message" in log.read_bytes(), 300)
        for process in processes_of(victim / "supernode"):
            os.kill(process, signal.SIGKILL)
        engine.join()
        assert federation.state(1).phase is Phase.FINALIZED
        assert federation.ledger.accepted(1) == (0, 1, 2)
        assert federation.refusals(1) == {3: Reason.NO_REPLY}
        assert not processes_of(directory.root)


@contextmanager
def admitting_superlink(folder: Path) -> Iterator[SuperLink]:
    """A SuperLink that is ready to admit nodes."""
    link = SuperLink(folder, free_ports(1)[0], make_server_credentials(folder))
    link.configure()
    with running(link.program(folder)) as [process]:
        link.await_ready(process)
        yield link


def _run_in_ray(address: str, awaited: str, **environment: str) -> str:
    """What a process says that has code run in the cluster, until it ends or says `awaited`.

    A refused client of Ray asks again and again: it may not end by itself.
    """
    code = f"import ray; ray.init('{address}'); print('obeyed', ray.get(ray.remote(num_cpus=0)(lambda: 0).remote()))"
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            client = subprocess.Popen(
                [sys.executable, "-u", "-c", code], stdout=output, stderr=output, env=os.environ | environment
            )
        await_condition(lambda: client.poll() is not None or awaited.encode() in log.read_bytes(), 120)
        client.kill()
        client.wait()
        return log.read_text(errors="replace")


def _clusters(temporary: str) -> set[str]:
    """The addresses of the Ray clusters that keep their files below `temporary`, from their processes' arguments."""
    commands = (" ".join(command) for command in _commands(temporary).values())
    return {address for command in commands for address in re.findall(r"--gcs-address=([0-9.:]+)", command)}


def _simulation_process(temporary: str) -> int:
    """The process that runs Flower's simulation with Ray's files below `temporary`; not the guard before it."""
    [process] = [process for process, command in _commands(temporary).items() if command[1:3] == ["-P", "-m"]]
    return process


def _commands(mentioned: str) -> dict[int, list[str]]:
    """The arguments of all processes with `mentioned` among them."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().decode(errors="replace")
            if mentioned in command:
                found[int(path.parent.name)] = command.split("\0")
    return found


def _environment(process: int) -> dict[str, str]:
    entries = Path(f"/proc/{process}/environ").read_text(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@contextmanager
def _held(process: int) -> Iterator[None]:
    """Stop a process for as long as the block runs."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def processes_of(folder: Path) -> list[int]:
    """The processes, this one apart, that work below `folder`; one that is just ending is given some seconds."""
    found: list[int] = []
    for _ in range(50):
        found = [
            int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cwd") if _is_below(path, folder)
        ]
        if not found:
            break
        time.sleep(0.1)
    return found


def _is_below(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder.resolve())
    except OSError:
        return False
