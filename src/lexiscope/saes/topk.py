"""TopK: keep the k largest latents of every token.

    f_k = TopK(ReLU(W_enc (x - b_dec) + b_enc)),   x̂_k = W_decᵀ f_k + b_dec,   L = (‖x - x̂_k‖² + μ ‖x - x̂_4k‖²) / D

Rows of W_dec have unit length. Dead latents are brought back by AuxK, a term of the training (`lexiscope.train.terms`).
With μ = 1/8 ("multi-k") the same dictionary also works with other numbers of latents than k; 0 leaves it out. One
selection of 4 k gives both codes, and x̂_4k is x̂_k plus what the other 3 k add.

Source: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", section 2.3; multi-k for progressive recovery.
T tokens, D model width, F latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import activation
from lexiscope.saes.base import Batch, TrainingState
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.kernels.kept import Kept
from lexiscope.saes.kernels.select import read_topk
from lexiscope.saes.parts import columns, mean_square_error, ranks, without_gradients
from lexiscope.saes.settings import SizedConfig

WIDER = 4
FEW_SCORES = 2**18
"""1 MB of fp32: up to here all scores at once are faster than the search for the largest ones."""


class Options(activation.Options):
    k: int = Field(32, ge=1)
    """Latents that fire on each token, at most: L0."""
    multi_k_weight: float = Field(0, ge=0)
    """μ, the weight of the error with 4 k latents."""

    @property
    def remedies(self) -> tuple[str, ...]:
        return ("auxk",)

    @property
    def fixed_l0(self) -> float:
        return self.k

    @property
    def bears_high_rates(self) -> bool:
        return True


class Activation(activation.Activation):
    options: Options
    options_type: ClassVar[type[Options]] = Options

    def encode(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
        k = self.options.k
        if not (self.training and self.options.multi_k_weight):
            return encode_topk(x_TD, centre_D, W_FD, b_F, k)
        wide = encode_topk(x_TD, centre_D, W_FD, b_F, WIDER * k)
        first_N = ranks(wide) < k
        codes = wide.keep(first_N)
        return SparseCodes(codes.offsets, codes.latents, codes.values, codes.num_latents, aside=wide.keep(~first_N))

    def reader(
        self, latents: Sequence[int], centre_D: Tensor, W_FD: Tensor, b_F: Tensor
    ) -> Callable[[Tensor], Tensor] | None:
        """For a token or a few, as in generation, a latent is looked up by how many others have a larger score.

        Most often it has none above 0 itself, or k of the first eighth of the others are larger; then the rest of the
        encoder is not multiplied.
        """
        if self.training:
            return None
        chosen, k, first = list(latents), self.options.k, self.num_latents // 8
        W_FD, b_F, centre_D = W_FD.detach(), b_F.detach(), centre_D.detach()
        weights, wanted_J = Kept(W_FD), torch.tensor(chosen, dtype=torch.int32)
        W_JD, b_J = W_FD[chosen], b_F[chosen]
        self_F = torch.zeros_like(b_F)
        self_F[chosen] = torch.inf  # the chosen ones are counted apart: they must not be larger than themselves
        others_F = b_F - self_F

        @without_gradients
        def read(x_TD: Tensor) -> Tensor:
            if (found_TJ := read_topk(x_TD - centre_D, W_FD, b_F, k, wanted_J, weights)) is not None:
                return found_TJ
            if len(x_TD) * self.num_latents > FEW_SCORES or weights.serves(x_TD):
                return columns(self.encode(x_TD, centre_D, W_FD, b_F), chosen)
            centred_TD = x_TD - centre_D
            scores_TJ = torch.addmm(b_J, centred_TD, W_JD.T).relu_()
            if not bool(scores_TJ.any()):
                return scores_TJ
            larger_TJ = (scores_TJ[:, None] > scores_TJ[:, :, None]).sum(2)
            for part in (slice(first), slice(first, None)):
                part_TF = torch.addmm(others_F[part], centred_TD, W_FD[part].T)
                larger_TJ += (part_TF[:, None] > scores_TJ[:, :, None]).sum(2)
                fires_TJ = (larger_TJ < k) & (scores_TJ > 0)
                if not bool(fires_TJ.any()):
                    break
            return scores_TJ * fires_TJ

        return read

    def penalties(
        self,
        dictionary: LinearDictionary,
        batch: Batch,
        codes: SparseCodes,
        output_TD: Tensor,
        state: TrainingState,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        if codes.aside is None:  # after training nothing is learnt
            return {}
        wider_TD = output_TD + decode_rows(codes.aside, dictionary.W_dec_FD)
        return {"multi_k": self.options.multi_k_weight * mean_square_error(wider_TD, batch.target_TD)}


class Config(Options, SizedConfig):
    architecture: Literal["topk"] = "topk"


class TopK(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def make_activation(self) -> Activation:
        return Activation(self.config, self.num_latents)
