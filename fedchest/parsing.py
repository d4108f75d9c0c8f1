"""Reading what another party wrote."""

import json
from typing import Any


def parse_json(content: bytes | str) -> Any:
    """The value that JSON text stands for. Raises ValueError for any other text, also one nested beyond reason."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
