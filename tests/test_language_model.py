"""The language model: built, loaded by name, adapted; and visual tokens spliced into text."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_model import (
    END_TOKEN,
    TINY_INPUT,
    VISUAL_TOKEN,
    VOCABULARY,
    fit,
    packed,
    prompts,
    random_study,
    tiny_config,
    tiny_encoder,
    tiny_language_model,
    tiny_model,
)
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, ViTConfig, ViTModel

from msvlm.batch import TextBatch
from msvlm.errors import ConfigError, ModelError
from msvlm.model.language_model import LanguageModelConfig, LoraConfig, load_language_model, splice
from msvlm.model.ms_vlm import MsVlm


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """A Llama as others would save it, with habits of sampling."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)
    model.save_pretrained(tmp_path / "llama")
    return str(tmp_path / "llama")


def model_with(config: LanguageModelConfig, visual_token_id: int = VISUAL_TOKEN) -> MsVlm:
    torch.manual_seed(0)
    model = MsVlm(tiny_config())
    model.attach_language_model(config, visual_token_id)
    fit(model)
    return model.eval()


def test_a_checkpoint_by_name_has_its_weights(checkpoint: str) -> None:
    theirs = LlamaForCausalLM.from_pretrained(checkpoint)
    ours = load_language_model(LanguageModelConfig(checkpoint=checkpoint))
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in theirs.state_dict().items())
    assert ours.config._attn_implementation == "sdpa"


def test_a_checkpoints_habits_of_sampling_are_dropped(checkpoint: str) -> None:
    model = model_with(LanguageModelConfig(checkpoint=checkpoint))
    text = prompts(model, (4,))
    with torch.no_grad():
        visual_tokens = model.read(random_study(3, 1)).visual_tokens
        first = model.logits(visual_tokens, text)[0, -1].argmax()
    assert model.language_model.generation_config.repetition_penalty != 3.0
    assert model.generate(visual_tokens, text, 3, END_TOKEN)[0, 0] == first


def test_types_of_a_checkpoint_are_kept(checkpoint: str) -> None:
    LlamaForCausalLM.from_pretrained(checkpoint).to(torch.bfloat16).save_pretrained(checkpoint)
    model = model_with(LanguageModelConfig(checkpoint=checkpoint))
    assert model.language_model.dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.isfinite(model(random_study(3, 1), prompts(model, (4,))).logits).all()


def test_a_family_with_learned_positions_does_not_count_padding(tmp_path: Path) -> None:
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=1, n_head=2, initializer_range=0.5))
    gpt2.save_pretrained(tmp_path / "gpt2")
    model = model_with(LanguageModelConfig(checkpoint=str(tmp_path / "gpt2")))
    text = prompts(model, (3, 9))
    own = text.attention_mask[0]
    alone = TextBatch(text.input_ids[:1, own], text.attention_mask[:1, own])
    with torch.no_grad():
        visual_tokens = model.read(packed(random_study(3, 1), random_study(4, 2))).visual_tokens
        among = model.logits(visual_tokens, text)[0, own]
        torch.testing.assert_close(among, model.logits(visual_tokens[:1], alone)[0], rtol=1e-4, atol=1e-4)
    together = model.generate(visual_tokens, text, 5, END_TOKEN)[0]
    written = model.generate(visual_tokens[:1], alone, 5, END_TOKEN)[0]
    assert torch.equal(together[: len(written)], written)


def test_the_placeholder_may_lie_beyond_the_vocabulary(checkpoint: str) -> None:
    beyond = model_with(LanguageModelConfig(checkpoint=checkpoint), VOCABULARY + 5)
    within = model_with(LanguageModelConfig(checkpoint=checkpoint), VISUAL_TOKEN)
    text = prompts(within, (4,))
    ids = torch.where(text.input_ids == VISUAL_TOKEN, VOCABULARY + 5, text.input_ids)
    study = random_study(3, 1)
    with torch.no_grad():
        expected = within(study, text).logits
        torch.testing.assert_close(beyond(study, replace(text, input_ids=ids)).logits, expected)
    assert beyond.language_model.config.vocab_size == VOCABULARY


def test_visual_tokens_are_spliced_in_order() -> None:
    language_model = load_language_model(tiny_language_model())
    visual = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[5, 3, 3, 3, 6], [3, 7, 3, 8, 3]])
    embedded = splice(language_model, visual, TextBatch(ids, torch.ones_like(ids).bool()), VISUAL_TOKEN)
    words = language_model.get_input_embeddings().weight
    assert torch.equal(embedded[0], torch.stack([words[5], *visual[0], words[6]]))
    assert torch.equal(embedded[1], torch.stack([visual[1, 0], words[7], visual[1, 1], words[8], visual[1, 2]]))


def test_another_number_of_placeholders_is_refused() -> None:
    model = tiny_model()
    text = prompts(model, (4,))
    short = replace(text, input_ids=text.input_ids.clone())
    short.input_ids[0, 1] = 7
    with pytest.raises(ModelError, match=r"\[20\] visual placeholders; wanted 21"):
        model(random_study(3, 1), short)


def test_lora_trains_the_adapters_alone(checkpoint: str) -> None:
    model = model_with(LanguageModelConfig(checkpoint=checkpoint, lora=LoraConfig(rank=2))).train()
    trained = {name for name, parameter in model.language_model.named_parameters() if parameter.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    assert {name.split(".")[4] for name in trained} == {"q_proj", "v_proj"}
    before = {name: value.clone() for name, value in model.language_model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.language_model.parameters() if p.requires_grad], lr=1.0)
    model(random_study(3, 1), prompts(model, (4,))).logits.logsumexp(-1).sum().backward()
    optimiser.step()
    after = model.language_model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all("lora_B" in name for name in changed)
    assert model.visual_projection[0].weight.grad.abs().sum() > 0


def test_adapters_are_saved_without_their_base_and_loaded_onto_it(checkpoint: str, tmp_path: Path) -> None:
    model = model_with(LanguageModelConfig(checkpoint=checkpoint, lora=LoraConfig(rank=2)))
    with torch.no_grad():
        for name, parameter in model.language_model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(tmp_path / "model")
    saved = {path.name for path in (tmp_path / "model" / "language_model").iterdir()}
    assert "adapter_model.safetensors" in saved and "model.safetensors" not in saved
    loaded = MsVlm.from_pretrained(tmp_path / "model")
    assert loaded.weights_hash() == model.weights_hash()
    study, text = random_study(3, 1), prompts(model, (4,))
    with torch.no_grad():
        assert torch.equal(loaded(study, text).logits, model(study, text).logits)
    assert all("lora_" in n for n, p in loaded.language_model.named_parameters() if p.requires_grad)


def test_lost_adapters_are_refused(checkpoint: str, tmp_path: Path) -> None:
    model = model_with(LanguageModelConfig(checkpoint=checkpoint, lora=LoraConfig(rank=2)))
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "language_model" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is missing or damaged"):
        MsVlm.from_pretrained(tmp_path / "model")


def test_a_checkpoint_that_writes_no_text_is_refused(tmp_path: Path) -> None:
    vit = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ViTModel(vit).save_pretrained(tmp_path / "vit")
    with pytest.raises(ModelError, match="a vit; wanted a causal language model"):
        load_language_model(LanguageModelConfig(checkpoint=str(tmp_path / "vit")))


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint: str) -> None:
    (Path(checkpoint) / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded as safetensors"):
        load_language_model(LanguageModelConfig(checkpoint=checkpoint))


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="vocabulary_size 0 and no checkpoint"):
        load_language_model(LanguageModelConfig())
    with pytest.raises(ConfigError, match="name its checkpoint"):
        LanguageModelConfig(lora=LoraConfig())
    with pytest.raises(ConfigError, match="rank 0"):
        LoraConfig(rank=0)
    with pytest.raises(ConfigError, match="3 channels a head"):
        LanguageModelConfig(width=12, heads=4)


def test_targets_that_are_not_there_are_refused(checkpoint: str) -> None:
    with pytest.raises(ConfigError, match="no c_attn"):
        load_language_model(LanguageModelConfig(checkpoint=checkpoint, lora=LoraConfig(targets=("c_attn",))))


def test_a_new_language_model_takes_the_place_of_the_old(checkpoint: str) -> None:
    model = tiny_model()
    model.attach_language_model(LanguageModelConfig(checkpoint=checkpoint), 9)
    assert model.config.visual_token_id == 9 and model.config.language_model.checkpoint == checkpoint
    assert not model.language_model.training and not model.visual_projection.training
    assert model.config.input == TINY_INPUT and model.config.slice_encoder == tiny_encoder()
