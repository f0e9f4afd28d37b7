"""Parts: what the activation of a token is made of, and how much of it each part is.

    y = Σ f_i · W_dec[i] + bias (+ what goes around the codes) + error

y is the activation where the dictionary writes. Shares are of y itself, by projection: ⟨part, y⟩ / ‖y‖², so that the
parts of one token add up to 1, and one that points away from y counts below 0. T tokens, E width, P parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.index.feature import Real, Record

_NAMES = ("features", "bias", "around", "error")


class Decomposition(Record):
    """What the activation of a token is made of. The four shares add up to 1."""

    norm: Real
    """Length of the activation where the dictionary writes."""
    features_norm: Real
    bias_norm: Real
    around_norm: Real
    """Of what goes around the codes: a transcoder's skip connection; 0 for most."""
    error_norm: Real
    features_share: Real
    bias_share: Real
    around_share: Real
    error_share: Real
    """What the dictionary does not explain."""
    fvu: Real | None
    """‖error‖² over ‖activation - centre‖²: 0 is perfect, 1 what the centre leaves. None: the activation is there."""


class Parts(NamedTuple):
    """Of every token of some texts."""

    norm_T: Tensor
    """Of the activation."""
    norms_TP: Tensor
    shares_TP: Tensor
    error_T: Tensor
    """Squared."""
    variance_T: Tensor
    """Squared distance from the centre."""

    @classmethod
    def of(
        cls,
        y_TE: Tensor,
        features_TE: Tensor,
        bias_E: Tensor,
        *,
        decoded_TE: Tensor,
        output_TE: Tensor,
        centre_E: Tensor | None,
    ) -> Parts:
        """Take activations apart.

        Args:
            decoded_TE: features and bias.
            output_TE: with what goes around the codes.
            centre_E: None: the bias.
        """
        parts = [features_TE, bias_E.expand_as(y_TE), output_TE - decoded_TE, y_TE - output_TE]
        size_T = y_TE.square().sum(1).clamp_min(torch.finfo(torch.float32).tiny)
        return cls(
            norm_T=y_TE.norm(dim=1),
            norms_TP=torch.stack([part_TE.norm(dim=1) for part_TE in parts], 1),
            shares_TP=torch.stack([torch.linalg.vecdot(part_TE, y_TE) / size_T for part_TE in parts], 1),
            error_T=parts[3].square().sum(1),
            variance_T=(y_TE - (bias_E if centre_E is None else centre_E.cpu())).square().sum(1),
        )

    def at(self, place: int) -> Decomposition:
        """Of one token."""
        variance = float(self.variance_T[place])
        norms, shares = (zip(_NAMES, of_TP[place].tolist(), strict=True) for of_TP in (self.norms_TP, self.shares_TP))
        return Decomposition(
            norm=float(self.norm_T[place]),
            fvu=float(self.error_T[place]) / variance if variance > 0 else None,
            **{f"{name}_norm": value for name, value in norms},
            **{f"{name}_share": value for name, value in shares},
        )

    def error_share(self, places: Tensor) -> float:
        """Mean over some tokens; 0 for none."""
        return float(self.shares_TP[places, _NAMES.index("error")].mean()) if len(places) else 0.0

    def fvu(self, places: Tensor) -> float | None:
        """Over some tokens: sum of squared errors over sum of squares about the centre."""
        errors, variances = self.error_T[places].sum(), self.variance_T[places].sum()
        return float(errors / variances) if variances > 0 else None
