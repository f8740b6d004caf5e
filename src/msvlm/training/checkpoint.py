"""Checkpoints of a run, each written as a whole, so that a killed run resumes from a complete one. Safetensors only."""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from msvlm.errors import TrainingError
from msvlm.files import new_folder, remove_leftovers
from msvlm.training.loop import Training

_FOLDER = re.compile(r"step_(\d{8})")
_MODEL = "model."
"""Prefix of the model's tensors in a stage; others, such as those of a teacher, change without being trained."""
_MODULE_FILE, _OPTIMIZER_FILE = "module.safetensors", "optimizer.safetensors"


def save_checkpoint(training: Training, folder: Path) -> None:
    """Writes a checkpoint of the current step into `folder` and deletes the one before."""
    place = folder / f"step_{training.step:08d}"
    if place.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    header = {"header": json.dumps({"step": training.step})}
    with new_folder(place) as temporary:
        save_file(_module_tensors(training), temporary / _MODULE_FILE, metadata=header)
        save_file(_optimizer_tensors(training), temporary / _OPTIMIZER_FILE, metadata=header)
    for older in _checkpoints(folder)[:-1]:
        shutil.rmtree(older)


def load_checkpoint(training: Training, folder: Path) -> bool:
    """Restores the newest checkpoint of `folder`; returns False where there is none.

    Raises:
        TrainingError: the checkpoint belongs to another model or cannot be read.
    """
    found = _checkpoints(folder)
    if not found:
        return False
    place = found[-1]
    try:
        with safe_open(place / _MODULE_FILE, "pt") as file:
            saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        own = training.module.state_dict()
        kept = _module_tensors(training)
        if set(saved) != set(kept) or any(saved[name].shape != own[name].shape for name in saved):
            raise TrainingError(f"checkpoint {place.name} belongs to another model; train into another output folder")
        training.module.load_state_dict(saved, strict=False)
        with safe_open(place / _OPTIMIZER_FILE, "pt") as file:
            kept_keys = set(file.keys())
            states = _states(training)
            for index, parameter in enumerate(training.trained_parameters):
                own_keys = [key for key in kept_keys if key.startswith(f"{index}.")]
                if not own_keys:
                    continue  # it has not been part of any step yet
                states[id(parameter)][parameter] = {
                    (name := key.partition(".")[2]): file.get_tensor(key).to(
                        "cpu" if name == "step" else parameter.device
                    )
                    for key in own_keys
                }
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"checkpoint {place.name} cannot be read ({error}); delete it to start over") from error
    training.step = int(place.name.removeprefix("step_"))
    return True


def _module_tensors(training: Training) -> dict[str, torch.Tensor]:
    """Returns the tensors of the module; tensors that share memory are included once.

    Frozen parameters of the model are left out: a resumed run loads them from the same start again.
    """
    tensors: dict[str, torch.Tensor] = {}
    seen: set[tuple[int, torch.Size]] = set()
    trained = {id(parameter) for parameter in training.trained_parameters}
    frozen = {
        name
        for name, parameter in training.module.named_parameters(remove_duplicate=False)
        if name.startswith(_MODEL) and id(parameter) not in trained
    }
    for name, tensor in training.module.state_dict().items():
        if name in frozen:
            continue
        place = (tensor.data_ptr(), tensor.shape)
        if place not in seen or tensor.numel() == 0:
            seen.add(place)
            tensors[name] = tensor.detach().contiguous()
    return tensors


def _optimizer_tensors(training: Training) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    states = _states(training)
    for index, parameter in enumerate(training.trained_parameters):
        for key, value in states[id(parameter)].get(parameter, {}).items():
            tensors[f"{index}.{key}"] = value.detach().contiguous()
    return tensors


def _states(training: Training) -> dict[int, dict[torch.nn.Parameter, dict[str, torch.Tensor]]]:
    """Returns, by the id of each trained parameter, the state of the optimiser that updates it."""
    return {
        id(parameter): optimizer.state
        for optimizer in training.optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(place for place in folder.iterdir() if _FOLDER.fullmatch(place.name))
