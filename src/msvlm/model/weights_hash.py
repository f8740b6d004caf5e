"""A short name for the exact weights of a module."""

import hashlib

import torch
from torch import nn

_DIGITS = 16


def weights_hash(module: nn.Module, also: str = "") -> str:
    """A sha256 over names, types, shapes and values of all weights and buffers, cut short.

    Args:
        module: whose weights.
        also: what else must be the same.
    """
    digest = hashlib.sha256(also.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_DIGITS]
