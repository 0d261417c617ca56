"""Muon for convolutions: torch's own takes matrices only (Jordan et al. 2024)."""

from collections.abc import Sequence

import torch
from torch import nn


class ConvMuon(torch.optim.Muon):
    """Each kernel (out, in, height, width) is one matrix, (out, in · height · width).

    The matrices are views of the kernels, which must lie as torch lays them by default, not with their channels last.
    """

    def __init__(self, kernels: Sequence[nn.Parameter], lr: float) -> None:
        self.kernels = list(kernels)
        flat = [nn.Parameter(kernel.data.view(len(kernel), -1)) for kernel in self.kernels]
        super().__init__(flat, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    def step(self, closure: None = None) -> None:
        for kernel, flat in zip(self.kernels, self.param_groups[0]["params"], strict=True):
            flat.grad = None if kernel.grad is None else kernel.grad.reshape(flat.shape)
        super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for kernel in self.kernels:
            kernel.grad = None
