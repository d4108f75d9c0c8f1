"""What a run was made with: versions, platform and source revision."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fedchest
from fedchest.files import write_atomically

PACKAGES = ("fedchest", "torch", "torchvision", "timm", "opacus", "flwr", "web3", "cryptography", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_revision() -> str | None:
    """The source's revision with "+changes" where the tree differs from it; None outside a checkout."""
    source = Path(fedchest.__file__).parent
    described = subprocess.run(
        ["git", "-C", str(source), "describe", "--always", "--abbrev=40", "--dirty=+changes"],
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None


def write_provenance(path: Path, *, seed: int) -> None:
    """Write seed, versions, platform and revision as JSON."""
    facts: dict[str, Any] = {
        "seed": seed,
        "versions": versions(),
        "platform": platform.platform(),
        "git_revision": git_revision(),
    }
    write_atomically(path, json.dumps(facts, indent=1).encode())
