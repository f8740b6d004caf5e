"""Checkpoints of the Hugging Face hub, by name or folder: their model type, and whether every weight was loaded."""

from collections.abc import Set as AbstractSet

from transformers import AutoConfig

from msvlm.errors import ModelError

_NAMED_AT_MOST = 5


def read_model_type(checkpoint: str) -> str:
    """Returns the `model_type` of a checkpoint's config.

    Raises:
        ModelError: the checkpoint is not found, or transformers does not know its model type.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"checkpoint {checkpoint}: no config of a known model found ({error}); "
            "give a name on the hub or a folder that save_pretrained() wrote"
        ) from error
    return config.model_type


def check_complete(what: str, missing: AbstractSet[str], unexpected: AbstractSet[str] = frozenset()) -> None:
    """Checks that weights are complete and hold nothing unexpected.

    Raises:
        ModelError: names the missing and the unexpected keys.
    """
    if missing or unexpected:
        raise ModelError(
            f"{what}: {_some_of(missing)} missing, {_some_of(unexpected)} unexpected; save it again or fetch it whole"
        )


def _some_of(keys: AbstractSet[str]) -> str:
    if not keys:
        return "none"
    named = sorted(keys)
    more = f" and {len(named) - _NAMED_AT_MOST} more" if len(named) > _NAMED_AT_MOST else ""
    return ", ".join(named[:_NAMED_AT_MOST]) + more
