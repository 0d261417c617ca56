"""How alike two layers' activations are: four measures, all of them a mean cosine of suitably prepared vectors."""

from collections.abc import Callable

import torch
from torch import Tensor

from painters_utils.errors import InputError

CHUNK = 2**17  # values of one layer compared in one float32 product: keeps rounding and temporaries small


def centred(activations: Tensor) -> Tensor:
    """Each layer's vectors less their mean over tokens: (G, L, N, D)."""
    activations = activations.float()
    return activations - activations.mean(2, keepdim=True)


def token_gram(activations: Tensor) -> Tensor:
    """Inner products of every two tokens, U-centred (Székely & Rizzo 2014): (G, L, N, D) to (G, L, 1, N·N).

    The inner product of two such vectors is N (N - 3) times the unbiased estimate of HSIC.
    """
    activations = centred(activations)  # changes nothing but the rounding
    tokens = activations.shape[2]
    if tokens < 4:
        raise InputError(f"linear CKA of {tokens} tokens cannot be estimated: record at least 4, or another measure")
    gram = activations @ activations.mT
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    rows = gram.sum(-1, keepdim=True) / (tokens - 2)
    gram = gram - rows - rows.mT + gram.sum((-2, -1), keepdim=True) / ((tokens - 1) * (tokens - 2))
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    return gram.flatten(2).unsqueeze(2)


def products(vectors: Tensor) -> Tensor:
    """Inner products of every two of (G, L, K): (G, L, L)."""
    if vectors.is_cpu:  # numpy sees that both sides are one, and computes half of it
        return torch.stack([torch.from_numpy(rows @ rows.T) for rows in vectors.numpy()])
    return vectors @ vectors.mT


# What is compared of two layers' outputs; `token_gram` makes it the linear CKA of Kornblith et al. 2019 with the
# unbiased estimator of HSIC (Song et al. 2012, equation 5): how alike the layers' token-by-token Gram matrices are,
# about 0 for unrelated layers, at times slightly less. For "update cosine" the recorder gives what the layers *add*.
MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine": lambda activations: activations,  # the vectors of a token, averaged over tokens
    "centred cosine": centred,  # less each layer's mean over the tokens of the picture
    "linear CKA": token_gram,
    "update cosine": lambda updates: updates,
}


def compared(activations: Tensor, measure: str, lengths: Tensor | None = None) -> Tensor:
    """Similarity of every two layers: activations (G, L, N, D) to (G, L, L) float64 on the CPU.

    `lengths` of the tokens' vectors (G, L, N), where known already, save a plain cosine a pass over the activations.
    Activations in float32 are overwritten: room for as many more would have to be found at every step.
    """
    activations = MEASURES[measure](activations)
    if lengths is None or measure not in ("cosine", "update cosine"):
        lengths = torch.linalg.vector_norm(activations, dim=-1, dtype=torch.float32)
    tokens, channels = activations.shape[2:]
    some = max(1, CHUNK // channels)
    sums = []
    for part, length in zip(activations.split(some, dim=2), lengths.split(some, dim=2), strict=True):
        divide = part.div_ if part.dtype == torch.float32 else part.div
        unit = divide(length.clamp_min(1e-12).unsqueeze(-1))  # a zero vector stays zero
        sums.append(products(unit.flatten(2)))  # of (G, L, n·D)
    return torch.stack(sums).cpu().double().sum(0) / tokens
