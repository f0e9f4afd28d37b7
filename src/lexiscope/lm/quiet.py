"""Silence for the libraries that load models: their progress bars and load reports would tear Lexiscope's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    hub_wasquiet, verbosity = are_progress_bars_disabled(), logging.get_verbosity()
    bars_were_on = logging.is_progress_bar_enabled()
    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars_were_on:
            logging.enable_progress_bar()
        if not hub_wasquiet:
            enable_progress_bars()
