"""Whether a file of weights is what the index says: its hash, its kind, its names and shapes."""

import logging
from pathlib import Path

from config.weight_index import PublishedWeights
from tools.fetching.web_page import page_of

_log = logging.getLogger(__name__)
_START = 1 << 16  # bytes that the title of a page is looked for in


def verify(entry: PublishedWeights, path: Path) -> None:
    """Compare the hash where one was published, and read the weights as a run would.

    Args:
        entry: Entry of the weights in the index.
        path: Path of the file.

    Raises:
        ValueError: It is a web page, or the hash, the kind of file, or a tensor is not that of the
            recipe's model; the text says which.
    """
    from engine.provenance import file_sha256  # here: torch takes seconds, --list needs none

    if path.is_file():
        with path.open("rb") as file:
            if page := page_of(file.read(_START)):
                raise ValueError(f"{path} is {page}, not the file")
        digest = file_sha256(path)
        if entry.sha256 and digest != entry.sha256.lower():
            raise ValueError(f"{path} has the SHA-256 {digest}, published is {entry.sha256}")
        said = "as published" if entry.sha256 else "none was published, so it is compared with none"
        _log.info("SHA-256 %s: %s", digest, said)
    _log.info("%s", read_as_a_run(entry, path))


def read_as_a_run(entry: PublishedWeights, path: Path) -> str:
    """Load weights into the model that they are for; return the report.

    Raises:
        ValueError: They are of another kind, or do not fit.
    """
    from config import load_cfg
    from models import build_model, load_model
    from models.pretrained import load_weights

    config, *keys = entry.config.split() or [""]
    if not config:
        return str(load_model(path).report)  # it describes itself
    model = build_model(load_cfg(config, keys))
    return str(load_weights(model, path, head_may_differ=entry.is_start))
