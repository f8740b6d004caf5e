"""Reports and their cues <-> tokens and labels."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from msvlm.batch import TextBatch
from msvlm.data.cues import write_cues
from msvlm.errors import ConfigError, DataError, ModelError
from msvlm.labeling.label import label_sentence
from msvlm.labeling.scope import split_sentences
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements, Vocabulary

VISUAL_TOKEN = "<visual>"
"""Placeholder of one visual token in a prompt."""
IGNORED_LABEL = -100
REQUEST = "Write the findings and the impression of this study's radiology report."
"""The user's request to a chat model; other models are trained to continue with the report."""

_BYTES = 256
_SPECIAL_TOKENS = ("<pad>", "<begin>", "<end>", VISUAL_TOKEN)
_HEADING = re.compile(r"(?:\A|(?<=[.!?:\n]))\s*(findings|impression)\s*:", re.IGNORECASE)


class Section(StrEnum):
    """Sections of a report."""

    FINDINGS = "findings"
    IMPRESSION = "impression"


@dataclass(frozen=True)
class DraftSentence:
    """One sentence of a drafted report, its tokens and its statements.

    Attributes:
        text: the sentence, without the heading of its section.
        first_token, end_token: counted from the report's first token; the end is one past the last.
        statements: its statements about findings, read by the rule-based labeler.
    """

    text: str
    section: Section
    first_token: int
    end_token: int
    statements: Statements = ()

    @property
    def positive_statements(self) -> Statements:
        """Statements that call a finding present or possible."""
        return tuple(item for item in self.statements if item.certainty.is_positive)


class ReportText:
    """Converts cues and reports to the tokens of one model: visual tokens, cues, report, end token.

    The visual placeholder is added to a tokenizer without it. With a chat template, visual tokens, cues and a request
    are the user's turn.

    Attributes:
        tokenizer: a fast Hugging Face tokenizer.
        visual_tokens: number of visual tokens before each report.
        vocabulary: vocabulary of the findings.
        visual_token_id: token id of their placeholder.
        end_token_id: token id that ends each report.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, visual_tokens: int, vocabulary: Vocabulary) -> None:
        if not tokenizer.is_fast:
            raise ModelError(
                "the tokenizer has no fast form (tokenizer.json), which is needed to find sentences in its tokens"
            )
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end token; set its eos_token")
        tokenizer.add_tokens([AddedToken(VISUAL_TOKEN, special=True, normalized=False)], special_tokens=True)
        self.tokenizer = tokenizer
        self.visual_tokens = visual_tokens
        self.vocabulary = vocabulary
        self.visual_token_id = tokenizer.get_added_vocab()[VISUAL_TOKEN]
        self.end_token_id = int(tokenizer.eos_token_id)

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, visual_tokens: int, vocabulary: Vocabulary) -> "ReportText":
        """Loads a saved tokenizer from a folder, or by its name on the hub.

        Raises:
            ModelError: the tokenizer is missing or has no fast form.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(name_or_folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"no tokenizer in {Path(name_or_folder).name}: {error}") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelError(f"the tokenizer of {Path(name_or_folder).name} has no fast form (tokenizer.json)")
        return cls(tokenizer, visual_tokens, vocabulary)

    def training_batch(self, cues: Sequence[str], reports: Sequence[str]) -> TextBatch:
        """Returns prompts followed by their reports, padded on the right; labels on reports and end tokens only.

        The cues of a study are a text of `write_cues`; with an empty text the prompt has no cues.
        """
        prompts = [self._prompt(cue) for cue in cues]
        targets = [[*self._report_tokens(report), self.end_token_id] for report in reports]
        sequences = [prompt + target for prompt, target in zip(prompts, targets, strict=True)]
        length = max(len(sequence) for sequence in sequences)
        input_ids = torch.full((len(sequences), length), self._padding_id)
        labels = torch.full((len(sequences), length), IGNORED_LABEL)
        for index, (sequence, target) in enumerate(zip(sequences, targets, strict=True)):
            input_ids[index, : len(sequence)] = torch.tensor(sequence)
            labels[index, len(sequence) - len(target) : len(sequence)] = torch.tensor(target)
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        return TextBatch(input_ids, torch.arange(length) < lengths[:, None], labels)

    def prompt_batch(self, cues: Sequence[str]) -> TextBatch:
        """Returns prompts for generation, padded on the left."""
        prompts = [self._prompt(cue) for cue in cues]
        length = max(len(prompt) for prompt in prompts)
        input_ids = torch.full((len(prompts), length), self._padding_id)
        for index, prompt in enumerate(prompts):
            input_ids[index, length - len(prompt) :] = torch.tensor(prompt)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        return TextBatch(input_ids, torch.arange(length) >= length - lengths[:, None])

    def decode(self, tokens: Int[Tensor, " tokens"]) -> str:
        """Returns the text of generated tokens, up to the end token."""
        generated = tokens.tolist()
        if self.end_token_id in generated:
            generated = generated[: generated.index(self.end_token_id)]
        known = [token for token in generated if 0 <= token < len(self.tokenizer)]
        text = self.tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def draft_sentences(self, report: str) -> tuple[DraftSentence, ...]:
        """Returns the sentences of a report, findings first, with their tokens in a training batch and statements.

        The report is a model's output: text before any heading counts as findings, a section may occur several times,
        and headings are recognised in any case.
        """
        encoded = self.tokenizer(
            report, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        offsets = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
        sentences = []
        for part in sorted(_parts(report), key=lambda part: part.section is Section.IMPRESSION):
            start = part.start
            for sentence in split_sentences(report[part.start : part.end]):
                start = report.index(sentence, start)
                inside = np.nonzero((offsets[:, 1] > start) & (offsets[:, 0] < start + len(sentence)))[0]
                first_token, end_token = int(inside[0]), int(inside[-1]) + 1
                statements = label_sentence(sentence, self.vocabulary)
                sentences.append(DraftSentence(sentence, part.section, first_token, end_token, statements))
                start += len(sentence)
        return tuple(sentences)

    @property
    def _padding_id(self) -> int:
        padding = self.tokenizer.pad_token_id
        return self.end_token_id if padding is None else int(padding)

    def _report_tokens(self, report: str) -> list[int]:
        """Returns the report's tokens; text that looks like a special token stays text."""
        return list(self.tokenizer(report, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _prompt(self, cues: str) -> list[int]:
        cue_line = f"Cues: {cues}\n" if cues else ""
        placeholders = VISUAL_TOKEN * self.visual_tokens
        if self.tokenizer.chat_template is not None:
            prompt = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": f"{placeholders}\n{cue_line}{REQUEST}"}],
                tokenize=False,
                add_generation_prompt=True,
            )
            return list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        begin = self.tokenizer.bos_token_id
        tokens = self.tokenizer(f"{placeholders}\n{cue_line}", add_special_tokens=False)["input_ids"]
        return [*([] if begin is None else [int(begin)]), *tokens]


def train_tokenizer(
    texts: Iterable[str], vocabulary: Vocabulary, vocabulary_size: int = 2048
) -> PreTrainedTokenizerFast:
    """Trains a tokenizer on reports and on cues: byte pairs within words, numbers digit by digit, lossless.

    Any text can be encoded, with more tokens for unseen words; `decode(encode(text))` is the text.

    Raises:
        ConfigError: the vocabulary is too small for the bytes and special tokens.
        DataError: no text is given.
    """
    least = _BYTES + len(_SPECIAL_TOKENS)
    if vocabulary_size < least:
        raise ConfigError(f"a vocabulary of {vocabulary_size} tokens; at least {least}, the bytes and special tokens")
    reports = [text for text in texts if text]
    if not reports:
        raise DataError("no report to train a tokenizer on; name a manifest with reports")
    every_cue = [
        write_cues([FindingStatement(kind.name, Certainty.PRESENT, frozenset(kind.attributes), 10.0)], vocabulary)
        for kind in vocabulary.findings
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(_SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain(reports, (f"Cues: {cue}\n" for cue in every_cue)), trainer)
    padding, begin, end, visual = _SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=padding,
        bos_token=begin,
        eos_token=end,
        extra_special_tokens=[visual],
        clean_up_tokenization_spaces=False,
    )


def join_report(findings: str, impression: str) -> str:
    """Returns both sections as one text, each after its heading; an empty section is left out."""
    parts = (("Findings", findings.strip()), ("Impression", impression.strip()))
    return "\n".join(f"{heading}: {text}" for heading, text in parts if text)


@dataclass(frozen=True)
class _Part:
    section: Section
    start: int
    end: int


def _parts(text: str) -> list[_Part]:
    """Returns the parts of a report between headings, without white space around them, in reading order."""
    section, start, parts = Section.FINDINGS, 0, []
    for heading in [*_HEADING.finditer(text), None]:
        end = heading.start() if heading else len(text)
        stretch = text[start:end]
        if stretch.strip():
            first = start + len(stretch) - len(stretch.lstrip())
            parts.append(_Part(section, first, first + len(stretch.strip())))
        if heading:
            section, start = Section(heading[1].lower()), heading.end()
    return parts
