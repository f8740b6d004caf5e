"""Checkpoints of Hugging Face, by name on the hub or by folder: what they are, and whether all of them was loaded."""

from collections.abc import Set as AbstractSet

from transformers import AutoConfig

from msvlm.errors import ModelError

_NAMED_AT_MOST = 5


def read_model_type(checkpoint: str) -> str:
    """The `model_type` that a checkpoint's config names.

    Raises:
        ModelError: there is no such checkpoint, or its kind is not known.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"checkpoint {checkpoint}: no config of a known model there ({error}); "
            "give a name on the hub or a folder that save_pretrained() wrote"
        ) from error
    return config.model_type


def check_complete(what: str, missing: AbstractSet[str], unexpected: AbstractSet[str] = frozenset()) -> None:
    """Refuses weights that are not exactly those that were wanted.

    Raises:
        ModelError: names what is missing and what is too much.
    """
    if missing or unexpected:
        raise ModelError(
            f"{what}: {_named(missing)} missing, {_named(unexpected)} unexpected; save it again or fetch it whole"
        )


def _named(keys: AbstractSet[str]) -> str:
    if not keys:
        return "none"
    named = sorted(keys)
    more = f" and {len(named) - _NAMED_AT_MOST} more" if len(named) > _NAMED_AT_MOST else ""
    return ", ".join(named[:_NAMED_AT_MOST]) + more
