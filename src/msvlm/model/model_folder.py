"""A saved model: a folder with `config.json`, the parts that Hugging Face saves, and the rest as safetensors."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cattrs
import torch
from cattrs.errors import ForbiddenExtraKeysError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, yet not listed
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from msvlm.errors import ConfigError, ModelError
from msvlm.model.hub import check_complete

SLICE_ENCODER_FOLDER = "slice_encoder"
LANGUAGE_MODEL_FOLDER = "language_model"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "msvlm.safetensors"
FORMAT = 2
"""Increased whenever folders of earlier versions can no longer be read unchanged."""

_SAVED_BY_HUGGING_FACE = ("slice_encoder.backbone.", "language_model.")
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.md"]
_HASH_DIGITS = 16
_Config = TypeVar("_Config")


def find_folder(name_or_folder: str | Path) -> Path:
    """Returns the folder itself, or a local copy of the model of that name on the hub.

    Raises:
        ModelError: neither exists.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(str(name_or_folder), allow_patterns=_FETCHED))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"model {name_or_folder}: no such folder, and not found on the hub ({error})") from error


def write_config(config: object, folder: Path) -> None:
    """Writes a config, a dataclass, as `config.json`."""
    content = {"format": FORMAT, "model": cattrs.Converter().unstructure(config)}
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path, kind: type[_Config]) -> _Config:
    """Reads what `write_config` wrote.

    Raises:
        ModelError: the file is missing, has another format, or holds unknown keys or bad values.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ModelError(f"model folder without {CONFIG_FILE}; give a folder that MsVlm.save_pretrained() wrote")
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ModelError(
                f"{CONFIG_FILE}: format {content['format']}, this msvlm reads {FORMAT}; use the version that wrote it"
            )
        return converter.structure(content["model"], kind)
    except ForbiddenExtraKeysError as error:
        names = ", ".join(sorted(error.extra_fields))
        raise ModelError(
            f"{CONFIG_FILE}: unknown keys {names} in {error.cl.__name__}; a newer version of msvlm wrote it"
        ) from error
    except (ValueError, TypeError, KeyError, ConfigError) as error:
        raise ModelError(f"{CONFIG_FILE}: cannot be read ({error}); save the model again") from error


def write_rest(module: nn.Module, folder: Path) -> None:
    """Writes all weights and buffers that Hugging Face does not save, in their own types."""
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in _rest(module).items()},
        folder / WEIGHTS_FILE,
        metadata={"format": "pt"},
    )


def read_rest(module: nn.Module, folder: Path) -> None:
    """Loads what `write_rest` wrote into a module, in the types in which it was saved.

    Raises:
        ModelError: names what is missing, unknown or has another shape.
    """
    try:
        saved = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{WEIGHTS_FILE} of the model folder is missing or damaged ({error}); fetch it again"
        ) from error
    wanted = _rest(module)
    check_complete(WEIGHTS_FILE, wanted.keys() - saved.keys(), saved.keys() - wanted.keys())
    for name, tensor in saved.items():
        if tensor.shape != wanted[name].shape:
            raise ModelError(
                f"{WEIGHTS_FILE}: {name} of shape {tuple(tensor.shape)}, {CONFIG_FILE} expects "
                f"{tuple(wanted[name].shape)}; the two files belong to different models"
            )
    module.load_state_dict(saved, strict=False, assign=True)


def push_saved(save: Callable[[Path], object], repo_id: str) -> None:
    """Uploads to the hub what `save` writes into a folder.

    Raises:
        ModelError: the name is not valid; then nothing is saved or sent.
    """
    check_repo_id(repo_id)
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "model")
        push_folder(Path(folder) / "model", repo_id)


def push_folder(folder: Path, repo_id: str) -> None:
    """Uploads a saved model to the hub under `owner/name`; the repository is made private where it does not exist.

    Raises:
        ModelError: the folder holds no complete model, or the name is not valid; then nothing is sent.
    """
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise ModelError(f"nothing to push: no {file} in the folder; save the model there first")
    check_repo_id(repo_id)
    hub = HfApi()
    hub.create_repo(repo_id, private=True, exist_ok=True)
    hub.upload_folder(repo_id=repo_id, folder_path=folder)


def check_repo_id(repo_id: str) -> None:
    """Checks that a name is valid on the hub.

    Raises:
        ModelError: the name is not valid.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ModelError(f"hub name {repo_id!r}: {error}; wanted owner/name") from error


def weights_hash(module: nn.Module, extra: str = "") -> str:
    """Returns a short sha256 over names, types, shapes and values of all weights and buffers.

    Args:
        module: the module whose weights are hashed.
        extra: text that enters the hash too.
    """
    digest = hashlib.sha256(extra.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_HASH_DIGITS]


def _rest(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(_SAVED_BY_HUGGING_FACE)}
