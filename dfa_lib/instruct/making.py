"""Make faces chunk by chunk, in order, so that an interrupted run goes on where it stopped."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel
from tqdm.auto import tqdm

from dfa_lib.records import JsonlLog


def log_in_order(
    pool: Parallel, tasks: Iterable[tuple], log_path: Path, done: int, total: int, label: str
) -> None:
    """Run joblib ``tasks``, each of which returns a list of records, and log these in order."""
    with JsonlLog(log_path) as log, tqdm(total=total, initial=done, desc=label) as bar:
        for records in pool(tasks):
            for record in records:
                log.append(record)
            bar.update(len(records))


def save_png(path: Path, picture: np.ndarray) -> str:
    """Write a PNG (BGR or grey, as OpenCV has it) at once and return its SHA-256."""
    _, code = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    content = code.tobytes()
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
    return sha256(content).hexdigest()
