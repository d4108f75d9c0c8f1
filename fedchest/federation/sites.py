"""Where a process finds its own folder: from its own environment or node configuration, never from a message."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedchest.errors import ConfigError

INSTITUTIONS_VARIABLE, COORDINATOR_VARIABLE = "FEDCHEST_INSTITUTIONS", "FEDCHEST_COORDINATOR"


def site_folder(node_config: Mapping[str, Any]) -> Path:
    """The hospital's folder: `site` of the node's own configuration, else by its index below $FEDCHEST_INSTITUTIONS.

    Raises ConfigError when neither is set.
    """
    if "site" in node_config:
        return Path(str(node_config["site"]))
    institutions = os.environ.get(INSTITUTIONS_VARIABLE)
    if institutions is None or "partition-id" not in node_config:
        raise ConfigError(
            f"Neither the node configuration's site nor ${INSTITUTIONS_VARIABLE} names the folder."
        )
    return Path(institutions) / f"{int(node_config['partition-id']):03d}"


def coordinator_folder() -> Path:
    """The coordinator's folder, $FEDCHEST_COORDINATOR. Raises ConfigError when it is not set."""
    folder = os.environ.get(COORDINATOR_VARIABLE)
    if folder is None:
        raise ConfigError(f"${COORDINATOR_VARIABLE} does not name the coordinator's folder.")
    return Path(folder)
