"""What a process does before it imports a framework: nothing is sent home or installed at run time."""

import importlib
import os
import sys

_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DO_NOT_TRACK": "1",
}

# torchvision registers shape rules for these two operators even where its compiled library can't be loaded.
_UNGUARDED_OPERATORS = ("nms", "qnms")


def prepare() -> None:
    """Switch off telemetry, update checks and run-time installs, and make torchvision importable.

    Call it before Flower, Ray or timm is imported; child processes inherit the settings. Calling it again
    changes nothing.
    """
    os.environ.update(_QUIET)
    _ensure_torchvision()


def _ensure_torchvision() -> None:
    """Import torchvision; where its operators don't fit this torch, declare the two that it insists on.

    timm imports torchvision but uses none of its compiled operators, so the declarations are never called.
    """
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in _UNGUARDED_OPERATORS:
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)
        importlib.import_module("torchvision")
