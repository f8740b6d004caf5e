"""MsVlm: saving, loading, the language model attached, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import (
    TINY_INPUT,
    VISUAL_TOKEN,
    fit,
    packed,
    prompts,
    random_study,
    tiny_config,
    tiny_encoder,
    tiny_language_model,
    tiny_model,
)
from transformers import ViTConfig, ViTModel

from msvlm.batch import StudyBatch
from msvlm.errors import ConfigError, InputMismatchError, ModelError
from msvlm.imaging.preprocess import InputConfig
from msvlm.model.model_folder import push_folder
from msvlm.model.ms_vlm import MsVlm, MsVlmConfig, check_input
from msvlm.model.resampler import ResamplerConfig
from msvlm.model.slice_backbone import SliceEncoderKind


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", list(SliceEncoderKind))
def test_saved_then_loaded_is_the_same_model(kind: SliceEncoderKind, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(tiny_encoder(kind)))
    thresholds = torch.linspace(0.1, 0.9, len(model.vocabulary.findings))
    model.findings_head.set_thresholds(thresholds)
    model.save_pretrained(tmp_path / "model")
    loaded = MsVlm.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config
    assert loaded.weights_hash() == model.weights_hash()
    assert not loaded.training
    batch, text = random_study(5, 1), prompts(model, (4,))
    with torch.no_grad():
        assert torch.equal(loaded(batch, text).logits, model(batch, text).logits)
        assert torch.equal(loaded.read(batch).findings.presence_logits, model.read(batch).findings.presence_logits)
    assert torch.equal(loaded.findings_head.thresholds, thresholds)


def test_a_model_without_language_model_is_saved_and_loaded_too(tmp_path: Path) -> None:
    model = MsVlm(tiny_config())
    fit(model)
    model.save_pretrained(tmp_path / "model")
    loaded = MsVlm.from_pretrained(str(tmp_path / "model"))
    assert loaded.language_model is None and loaded.weights_hash() == model.weights_hash()
    assert loaded.read(random_study(3, 1)).visual_tokens is None


def test_types_of_weights_survive_saving(tmp_path: Path) -> None:
    tiny_model().to(torch.bfloat16).save_pretrained(tmp_path / "model")
    loaded = MsVlm.from_pretrained(tmp_path / "model")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        output = loaded(random_study(3, 1), prompts(loaded, (4,)))
    assert torch.isfinite(output.logits).all()
    assert output.findings.presence_logits.dtype == torch.float32


def test_only_safetensors_and_json_are_written_and_nothing_stays_beside(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale.txt").write_text("of an older model")
    tiny_model().save_pretrained(tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    files = files_of(tmp_path / "model")
    assert {"config.json", "msvlm.safetensors", "slice_encoder/model.safetensors"} <= files
    assert {Path(name).suffix for name in files} == {".json", ".safetensors"}


def test_a_save_that_fails_leaves_the_old_model(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path / "model")
    before = MsVlm.from_pretrained(tmp_path / "model").weights_hash()
    model.z_former.norm.weight = torch.nn.Parameter(torch.ones(24, device="meta"))
    with pytest.raises(NotImplementedError, match="meta"):
        model.save_pretrained(tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    assert MsVlm.from_pretrained(tmp_path / "model").weights_hash() == before


def change_config(folder: Path, change: dict[str, object]) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["model"].update(change)
    path.write_text(json.dumps(content))


def test_unknown_keys_of_a_config_are_named(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    change_config(tmp_path / "model", {"colour": "blue"})
    with pytest.raises(ModelError, match="unknown keys colour in MsVlmConfig"):
        MsVlm.from_pretrained(tmp_path / "model")


def test_values_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    change_config(tmp_path / "model", {"resampler": {"queries": 0}})
    with pytest.raises(ModelError, match="0 queries"):
        MsVlm.from_pretrained(tmp_path / "model")


def test_a_format_of_another_time_is_refused(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ModelError, match="format 99"):
        MsVlm.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("file", ["msvlm.safetensors", "slice_encoder/model.safetensors"])
def test_missing_and_unknown_tensors_are_named(file: str, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / file
    tensors = load_file(path)
    lost = next(name for name in sorted(tensors) if name.endswith("bias"))
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"{lost} missing"):
        MsVlm.from_pretrained(tmp_path / "model")
    save_file(tensors | {"of.nowhere": torch.zeros(1)}, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="of.nowhere unexpected"):
        MsVlm.from_pretrained(tmp_path / "model")


def test_tensors_of_another_shape_are_refused(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "msvlm.safetensors"
    save_file(load_file(path) | {"z_former.mask_token": torch.zeros(7)}, path)
    with pytest.raises(ModelError, match=r"z_former.mask_token of shape \(7,\).*\(24,\)"):
        MsVlm.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("file", ["msvlm.safetensors", "slice_encoder/model.safetensors", "config.json"])
def test_broken_files_are_refused(file: str, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / file
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelError, match=r"missing or damaged|loaded|cannot be read"):
        MsVlm.from_pretrained(tmp_path / "model")


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"without config\.json"):
        MsVlm.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no such folder"):
        MsVlm.from_pretrained(tmp_path / "nowhere")


def test_nothing_is_pushed_without_a_model_or_a_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        push_folder(tmp_path, "owner/name")
    with pytest.raises(ModelError, match="wanted owner/name"):
        tiny_model().push_to_hub("not a name!")


def test_a_checkpoint_of_the_hub_is_kept_with_its_pixel_scale(tmp_path: Path) -> None:
    vit = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    ViTModel(vit).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.25]})
    )
    model = tiny_model(tiny_config(tiny_encoder(checkpoint=str(tmp_path / "vit"))))
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "vit").rename(tmp_path / "gone")
    loaded = MsVlm.from_pretrained(tmp_path / "model")
    assert loaded.weights_hash() == model.weights_hash()
    assert torch.equal(loaded.slice_encoder.pixel_mean, model.slice_encoder.pixel_mean)
    assert loaded.slice_encoder.pixel_scale.tolist() == pytest.approx([2.5, 2.5, 2.0])


def test_the_hash_tells_weights_apart() -> None:
    model = tiny_model()
    before = model.weights_hash(), model.slice_encoder.weights_hash()
    assert tiny_model().weights_hash() == before[0] != tiny_model(seed=1).weights_hash()
    with torch.no_grad():
        model.z_former.mask_token[3] += 1e-6
    assert model.weights_hash() != before[0] and model.slice_encoder.weights_hash() == before[1]


def test_an_unfitted_model_reads_nothing() -> None:
    with pytest.raises(ModelError, match="not fitted"):
        MsVlm(tiny_config()).read(random_study(3, 1))


def test_slices_get_gradients_only_while_the_encoder_learns() -> None:
    model = tiny_model()
    study = random_study(3, 1)
    assert not model.encode(study).slice_vectors.requires_grad
    assert model.train().encode(study).slice_vectors.requires_grad
    model.slice_encoder.requires_grad_(False)
    assert not model.train().encode(study).slice_vectors.requires_grad
    assert not model.slice_encoder.training and model.z_former.training


def test_every_part_gets_a_gradient() -> None:
    model = tiny_model().train()
    batch = packed(random_study(4, 1), random_study(3, 2))
    output = model(batch, prompts(model, (4, 6)), torch.tensor([True] + [False] * 6))
    findings = output.findings
    loss = output.logits.logsumexp(-1).sum() + findings.presence_logits.sum() + findings.attribute_logits.sum()
    (loss + findings.log_sizes_mm.sum() + findings.region_logits.square().sum()).backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    # Only self-distillation masks patches.
    assert without == {"slice_encoder.backbone.embeddings.mask_token"}
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_all_runs_in_bfloat16_autocast_and_logits_stay_exact() -> None:
    model = tiny_model().train()
    batch, text = packed(random_study(4, 1), random_study(6, 2)), prompts(model, (4, 6))
    plain = model(batch, text)
    with torch.autocast("cpu", torch.bfloat16):
        encoded = model.encode(batch)
        output = model(batch, text)
    assert encoded.slice_vectors.dtype == torch.float32
    assert output.findings.presence_logits.dtype == output.findings.region_logits.dtype == torch.float32
    torch.testing.assert_close(output.findings.presence_logits, plain.findings.presence_logits, atol=0.05, rtol=0.05)
    (output.logits.float().sum() + output.findings.presence_logits.sum()).backward()


def test_the_resampler_queries_come_before_the_findings() -> None:
    model = tiny_model()
    assert model.visual_tokens == 3 + 18
    batch = random_study(4, 1)
    with torch.no_grad():
        reading = model.read(batch)
        torch.testing.assert_close(model.visual_projection(reading.findings.vectors), reading.visual_tokens[:, 3:])


def test_visual_tokens_start_as_loud_as_words() -> None:
    model = MsVlm(tiny_config())
    model.attach_language_model(tiny_language_model(), VISUAL_TOKEN)
    fit(model)
    with torch.no_grad():
        words = float(model.language_model.get_input_embeddings().weight.std())
        assert float(model.read(random_study(4, 1)).visual_tokens.std()) == pytest.approx(words, rel=0.1)


def test_without_language_model_nothing_is_written() -> None:
    model = MsVlm(tiny_config())
    fit(model)
    with pytest.raises(ModelError, match="attach_language_model"):
        model(random_study(3, 1), prompts(model, (4,)))


def test_prompts_padded_on_the_right_are_refused_for_generation() -> None:
    model = tiny_model()
    text = prompts(model, (4,))
    text = replace(text, attention_mask=text.attention_mask.flip(1) & (torch.arange(25) < 24))
    with pytest.raises(ModelError, match="left"):
        model.generate(torch.zeros(1, 21, 32), text, 4, 2)


def test_a_batch_with_neither_slices_nor_vectors_is_refused() -> None:
    study = random_study(3, 1)
    bare = StudyBatch(study.study_index, study.series_index, study.position_mm, study.normal_ras, study.role_index)
    with pytest.raises(ModelError, match="has no slices"):
        tiny_model().read(bare)


def test_configs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="visual_token_id -1"):
        replace(tiny_config(), language_model=tiny_language_model())
    with pytest.raises(ConfigError, match="resampler: width 24, 5 heads"):
        replace(tiny_config(), resampler=ResamplerConfig(heads=5))


def test_input_prepared_otherwise_is_refused_by_name() -> None:
    config = MsVlmConfig(input=TINY_INPUT, slice_encoder=tiny_encoder())
    check_input(config, TINY_INPUT)
    with pytest.raises(InputMismatchError, match=r"rows 96 where the model requires 32; columns 128 .* 48; pixel"):
        check_input(config, InputConfig(rows=96, columns=128, pixel_spacing_mm=3.0))
    with pytest.raises(InputMismatchError, match="windows_hu"):
        check_input(config, replace(TINY_INPUT, windows_hu=((0.0, 1.0),) * 3))
