"""LanguageModel: read and write the activations of a causal language model.

Shapes: B contexts, C tokens per context, D width of the place read, V vocabulary, N directions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.anatomy import Anatomy
from lexiscope.lm.checks import check_tokens
from lexiscope.lm.generation import check_drawing, next_tokens
from lexiscope.lm.hooks import Pass, capture, visiting
from lexiscope.lm.loading import Dtype, find_folder, load_module, require_transformers
from lexiscope.lm.tokenizing import Bos, load_tokenizer
from lexiscope.lm.unembedding import direct_effects
from lexiscope.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LanguageModel:
    """A causal language model in eval mode with frozen weights.

    Forward passes of one model take turns, so several threads may share it; a `splice` is one long turn. Nothing
    records gradients unless ``grad=True`` is asked for: then they flow to tensors that a `splice` brings in, never to
    the weights. Contexts of different length are padded on the right: no token sees what is to its right, so padding
    needs no mask there, and attention without one is faster.

    Args:
        source: "demo" for the model in the package, a name on the Hugging Face hub, or a local folder in its format.
        revision: commit, tag or branch on the hub.
        device: where to run, as PyTorch names it.
        dtype: to which the weights are converted.
        fetch: whether a model of the hub that is not on this machine is fetched. Off where not the user named it.

    Raises:
        InputError: no whole, safe causal LM is there; the message says what is wrong.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        revision: str | None = None,
        device: str = "cpu",
        dtype: Dtype = "float32",
        fetch: bool = True,
    ) -> None:
        require_transformers()
        folder = find_folder(source, revision, fetch=fetch)
        self.name: str = folder.name
        self.revision: str | None = folder.revision
        self.fingerprint: str = folder.fingerprint()
        """SHA-256 over the configuration and the files of weights."""
        self.module: PreTrainedModel = load_module(folder, dtype=dtype, device=device)
        config = self.module.config.get_text_config()
        self.width: int = config.hidden_size
        self.num_layers: int = config.num_hidden_layers
        self.vocab_size: int = config.vocab_size
        self.max_context: int = getattr(config, "max_position_embeddings", None) or 1 << 20
        self.tokenizer: Tokenizer
        self.bos: Bos
        """Whether contexts start with BOS: whether the model's own tokenizer puts it there."""
        self.tokenizer, self.bos = load_tokenizer(folder.path, self.vocab_size)
        self._anatomy = Anatomy(self.module, config)
        self._turn = threading.RLock()
        self._passes: list[Pass] = []
        self.prompt_tokens: int | None = None
        """While this model generates: with how many tokens each context began."""

    @property
    def under_way(self) -> Pass | None:
        """The forward pass that a replacement of a `splice` is called in; None outside."""
        return self._passes[-1] if self._passes else None

    @property
    def device(self) -> torch.device:
        return cast(torch.device, self.module.device)

    def describe(self) -> dict[str, Any]:
        """For manifests: which model this is, ready for JSON."""
        return {
            "name": self.name,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "tokenizer_fingerprint": self.tokenizer.fingerprint,
            "family": self._anatomy.family,
            "dtype": str(self.module.dtype).removeprefix("torch."),
        }

    def hook_points(self) -> list[HookPoint]:
        """Every hook point with a name, in the order of the forward pass; any ``module:<path>`` works besides."""
        return self._anatomy.hook_points()

    def check(self, hook: HookPoint) -> None:
        """Say no to a hook point that this model lacks.

        Raises:
            InputError: it does; the message says what there is.
        """
        self._anatomy.site(hook)

    def width_at(self, hook: HookPoint) -> int:
        """Width D of the activations at a hook point; for a module, found by running one token through the model."""
        self.check(hook)
        if hook.site != "module":
            return self.width
        token = torch.tensor([[self.tokenizer.pad_id]])
        return self.read(token, [hook])[hook].shape[-1]

    def read(
        self,
        tokens_BC: Tensor,
        hooks: Sequence[HookPoint],
        attention_BC: Tensor | None = None,
        *,
        grad: bool = False,
    ) -> dict[HookPoint, Tensor]:
        """Activations [B, C, D] at each hook point, on the model's device and in its dtype.

        The forward pass ends as soon as the last of them is there. Inside a `splice` they are as the splice left them.

        Args:
            tokens_BC: integers on any device.
            hooks: where to read.
            attention_BC: True for every token but padding; what is read at padding means nothing.
            grad: record gradients.

        Raises:
            InputError: an impossible hook point, or tokens that the model can't take.
        """
        sites = {hook: self._anatomy.site(hook) for hook in hooks}
        if not sites:
            return {}
        tokens_BC = self._take(tokens_BC, attention_BC)
        with self._turn, torch.set_grad_enabled(grad):
            return capture(self.module, sites, lambda: self.module(tokens_BC, use_cache=False))

    def logits(self, tokens_BC: Tensor, attention_BC: Tensor | None = None, *, grad: bool = False) -> Tensor:
        """Logits of the next token, [B, C, V], on the model's device and in its dtype.

        Raises:
            InputError: tokens that the model can't take.
        """
        tokens_BC = self._take(tokens_BC, attention_BC)
        with self._turn, torch.set_grad_enabled(grad):
            return cast(Tensor, self.module(tokens_BC, use_cache=False).logits)

    @contextmanager
    def splice(self, replacements: Mapping[HookPoint, Callable[[Tensor], Tensor]]) -> Iterator[None]:
        """Inside the block, every forward pass uses ``replacement(x_BCD)`` in place of the activation x_BCD.

        Works in `read`, `logits`, `generate` and the bare ``module``. In generation with a cache, a replacement sees
        only the tokens that are new. What it gives is converted to the model's dtype.

        Raises:
            InputError: an impossible hook point, or (in the forward pass) a replacement of another shape.
        """
        visits = [(self._anatomy.site(hook), replacement) for hook, replacement in replacements.items()]
        with self._turn, visiting(self.module, visits, self._passes):
            yield

    def install(self, replacements: Mapping[HookPoint, Callable[[Tensor], Tensor]]) -> Callable[[], None]:
        """As `splice`, but from now on, for every thread, until what is returned is called.

        Raises:
            InputError: an impossible hook point.
        """
        visits = [(self._anatomy.site(hook), replacement) for hook, replacement in replacements.items()]
        installed = ExitStack()
        with self._turn:
            installed.enter_context(visiting(self.module, visits, self._passes))

        def remove() -> None:
            with self._turn:
                installed.close()

        return remove

    def unembed(self, directions_ND: Tensor) -> Tensor:
        """Direct logit effects, float32 [N, V]: see `lexiscope.lm.unembedding`.

        Raises:
            InputError: the family is unknown and its final norm can't be told.
        """
        norm, projection = self._anatomy.final_maps()
        unembedding = self.module.get_output_embeddings()
        return direct_effects(directions_ND, norm=norm, projection=projection, unembedding=unembedding)

    def neurons(self, layer: int) -> Tensor:
        """What one unit of each neuron of a block's MLP adds to the residual stream, float32 [neurons, D] on the CPU.

        Raises:
            InputError: there is no such block, or it can't be told what its neurons write.
        """
        return self._anatomy.neurons(layer, self.width).float().cpu()

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 50,
        temperature: float = 0.0,
        seed: int = 0,
        cache: bool = True,
    ) -> str:
        """The prompt and what the model goes on to write, until its end of text or ``max_new_tokens``.

        Args:
            temperature: 0 takes the likeliest token each time; otherwise tokens are drawn, by ``seed``.
            cache: keep keys and values of earlier tokens; off, each step runs the whole text.
        """
        bos = self.tokenizer.bos_id if self.bos == "context" else None
        tokens = [*([] if bos is None else [bos]), *self.tokenizer.encode(prompt).ids]
        new = self.generate_tokens(
            torch.tensor([tokens]), max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, cache=cache
        )
        text = [token for token in new[0].tolist() if token not in self.tokenizer.special_ids]
        return prompt + self.tokenizer.decode([*tokens, *text])[len(self.tokenizer.decode(tokens)) :]

    def generate_tokens(
        self,
        tokens_BC: Tensor,
        *,
        max_new_tokens: int = 50,
        temperature: float = 0.0,
        seed: int = 0,
        cache: bool = True,
    ) -> Tensor:
        """Tokens that follow each context (all of one length, none padded), int64 [B, at most max_new_tokens].

        A context that ended early is filled up with padding. Arguments as for `generate`.

        Raises:
            InputError: tokens that the model can't take, or more than it has positions for; a temperature or a seed
                that nothing can be drawn by; predictions that are no numbers.
        """
        steps = self.stream_tokens(
            tokens_BC, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, cache=cache
        )
        with self._turn:
            found = list(steps)
        return torch.stack(found, 1) if found else tokens_BC.new_zeros((len(tokens_BC), 0), dtype=torch.int64)

    def stream_tokens(
        self,
        tokens_BC: Tensor,
        *,
        max_new_tokens: int = 50,
        temperature: float = 0.0,
        seed: int = 0,
        cache: bool = True,
    ) -> Iterator[Tensor]:
        """The same tokens as they come, [B] at each step. Between steps others may have a turn.

        Raises:
            InputError: as `generate_tokens`, before the first step; at a step, predictions that are no numbers.
        """
        if tokens_BC.ndim == 2 and tokens_BC.shape[1] + max_new_tokens > self.max_context:
            raise InputError(
                f"{tokens_BC.shape[1]} tokens and {max_new_tokens} new ones are more than the {self.max_context} that "
                f"{self.name} has positions for; shorten one of them"
            )
        check_drawing(temperature, seed)
        tokens_BC = self._take(tokens_BC)
        steps = next_tokens(
            self.module,
            tokens_BC,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            cache=cache,
            end_ids=self._end_ids(),
            pad_id=self.tokenizer.pad_id,
        )
        return self._in_turn(steps, tokens_BC.shape[1])

    def _in_turn(self, steps: Iterator[Tensor], prompt_tokens: int) -> Iterator[Tensor]:
        while True:
            with self._turn:
                before, self.prompt_tokens = self.prompt_tokens, prompt_tokens
                try:
                    next_B = next(steps, None)
                finally:
                    self.prompt_tokens = before
            if next_B is None:
                return
            yield next_B

    def _end_ids(self) -> set[int]:
        stated = self.module.generation_config.eos_token_id
        ids = stated if isinstance(stated, list) else [stated]
        return {
            token for token in (*ids, self.tokenizer.eos_id) if isinstance(token, int) and 0 <= token < self.vocab_size
        }

    def _take(self, tokens_BC: Tensor, attention_BC: Tensor | None = None) -> Tensor:
        """The tokens on the model's device, if it can take them."""
        check_tokens(tokens_BC, attention_BC, self.name, vocab_size=self.vocab_size, max_context=self.max_context)
        return tokens_BC.to(self.device, torch.int64)
