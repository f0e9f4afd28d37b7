"""SentenceEncoder: texts as unit vectors whose products say how close they are in meaning.

From a folder in Hugging Face format; nothing is fetched, and only safetensors are read. A text's vector is the mean of
the last hidden states of its tokens h_TD, special ones included (Reimers and Gurevych 2019, arXiv:1908.10084):

    v = sum_t h_t / T,   v / |v|

Encoders that were trained to be read in another way, such as at their first token, say so in ``1_Pooling`` and are
refused. N texts, T tokens, D width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.lm.loading import ModelFolder, find_folder, read_config, require_transformers
from lexiscope.lm.quiet import quiet
from lexiscope.lm.tokenizing import load_tokenizer
from lexiscope.lm.weights import check_sizes, first_line, read_json

MOST_TOKENS = 256
"""Of a text; the rest of a longer one is not read."""
_TOKENS_AT_ONCE = 4096
_SORTED_TOGETHER = 4096
_POOLING = Path("1_Pooling") / "config.json"


class SentenceEncoder:
    """An open encoder.

    Attributes:
        width: D.
        fingerprint: of its weights and configuration; vectors of different encoders can't be compared.
    """

    def __init__(self, folder: Path | str, *, device: str = "cpu") -> None:
        """Open one.

        Raises:
            InputError: the folder holds none that can be read by the mean of its tokens.
        """
        if not Path(folder).is_dir():
            raise InputError(f"no folder at {folder}; give that of a sentence encoder in Hugging Face format")
        require_transformers()
        found = find_folder(Path(folder), None, fetch=False)
        _check_pooling(found.path)
        self._module, config = _load(found, device)
        self.width = int(self._module(**self._read_like([[0, 0]])).last_hidden_state.shape[-1])
        load_tokenizer(found.path, config.vocab_size)  # is it one, and of this model
        self._tokenizer = _tokenizer(found.path)
        self._vocab_size, self._most = int(config.vocab_size), _most_tokens(config)
        self.fingerprint = found.fingerprint()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], progress: Progress = SILENT) -> Tensor:
        """Unit vectors, float32 [N, D], in the order of the texts."""
        made_ND = torch.empty(len(texts), self.width)
        with progress.task("Encoding", len(texts), "texts") as task:
            for start in range(0, len(texts), _SORTED_TOGETHER):
                ids = self._ids(texts[start : start + _SORTED_TOGETHER])
                order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
                for chunk in _chunks(order, [len(one) for one in ids]):
                    made_ND[[start + place for place in chunk]] = self._mean([ids[place] for place in chunk])
                    task.advance(len(chunk))
        return torch.nn.functional.normalize(made_ND, dim=1)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=True)
        ids = [list(encoding.ids[: self._most]) or [0] for encoding in encodings]
        if any(number >= self._vocab_size for one in ids for number in one):
            raise InputError("the encoder's tokenizer gives tokens that its model has not; get the two from one place")
        return ids

    def _mean(self, ids: Sequence[Sequence[int]]) -> Tensor:
        inputs = self._read_like(ids)
        mask_BT1 = inputs["attention_mask"][:, :, None]
        hidden_BTD = self._module(**inputs).last_hidden_state
        mean_BD: Tensor = (hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
        return mean_BD.float().cpu()

    def _read_like(self, ids: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        longest = max(map(len, ids))
        ids_BT = torch.tensor([[*one, *[0] * (longest - len(one))] for one in ids], device=self._module.device)
        lengths_B = torch.tensor([len(one) for one in ids], device=self._module.device)
        mask_BT = torch.arange(longest, device=self._module.device) < lengths_B[:, None]
        return {"input_ids": ids_BT, "attention_mask": mask_BT.long()}


def _chunks(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Texts of about the same length together, a bounded number of tokens at once with what fills up."""
    chunks: list[list[int]] = [[]]
    for place in order:
        if chunks[-1] and (len(chunks[-1]) + 1) * lengths[place] > _TOKENS_AT_ONCE:
            chunks.append([])
        chunks[-1].append(place)
    return [chunk for chunk in chunks if chunk]


def _load(folder: ModelFolder, device: str) -> tuple[Any, Any]:
    """The module, in eval mode, and its configuration."""
    from transformers import AutoModel

    config = read_config(folder)
    check_sizes(folder.path, config, folder.weights, AutoModel.from_config)
    with quiet():
        try:
            module, report = AutoModel.from_pretrained(
                folder.path,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            module = module.to(device).eval().requires_grad_(False)
            ids_BT = torch.zeros(1, 2, dtype=torch.int64, device=module.device)
            shape = module(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT)).last_hidden_state.shape
        except Exception as error:
            raise InputError(
                f"{folder.path}: this is no encoder that can be read: {first_line(error)}; give another folder"
            ) from error
    # What is made of the first token for a classifier is not read here, and often left out.
    absent = [key for key in [*report["missing_keys"], *map(str, report["mismatched_keys"])] if "pooler" not in key]
    if absent or len(shape) != 3:
        raise InputError(
            f"{folder.path}: the weights don't fit config.json ({len(absent)} tensors are missing or of another shape)"
            "; get the two from the same place"
        )
    return module, config


def _check_pooling(folder: Path) -> None:
    if (folder / _POOLING).exists():
        said = read_json(folder / _POOLING)
        asked = {name for name, value in said.items() if name.startswith("pooling_mode") and value is True}
        if asked != {"pooling_mode_mean_tokens"}:
            raise InputError(
                f"{folder} is not read by the mean of its tokens ({_POOLING}); give an encoder that is, such as the "
                "all-MiniLM family"
            )


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    table = read_json(folder / "tokenizer.json") | {"truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(table))


def _most_tokens(config: Any) -> int:
    """Some families count positions from the id of what fills up, so two are left."""
    return min(MOST_TOKENS, max(int(getattr(config, "max_position_embeddings", MOST_TOKENS + 2)) - 2, 1))
