"""Keeping the machine's folders off the pages: what a fault's text says of a file is its name."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

_ABSOLUTE = re.compile(r"(?<![\w.:/~-])/(?:[^\s/:;,'\"()]+/)*([^\s/:;,'\"()]+)/?")

Conceal = Callable[[str], str]


def concealing(names: Mapping[str, str]) -> Conceal:
    """A function that puts names in the place of the texts in `names`, and of any other absolute path its last part."""
    texts = sorted(names, key=len, reverse=True)  # a file before the folder that it lies in
    # A folder's name may be a part of other words: `run` of `runs`.
    patterns = [(rf"(?<!\w){re.escape(text)}(?!\w)", names[text]) for text in texts]

    def conceal(text: str) -> str:
        for pattern, name in patterns:
            text = re.sub(pattern, name, text)
        return _ABSOLUTE.sub(r"…/\1", text)

    return conceal


def run_names(run: Path, key: Path | None, rpc_url: str | None) -> dict[str, str]:
    """What a run's reports may quote of the command line, each with the words that a page has for it."""
    names = {str(run): "RUN", str(run.absolute()): "RUN", str(run.resolve()): "RUN"}
    if key is not None:
        names |= {str(key): "the key file", str(key.absolute()): "the key file"}
    if rpc_url is not None:
        names[rpc_url] = "the address of --rpc"
    return names
