"""Reports, and the cues that go before them, <-> tokens and labels."""

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
from msvlm.labeling import label_sentence, split_sentences
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements, Vocabulary

VISUAL_TOKEN = "<visual>"
"""Stands in a prompt where one visual token is spliced in."""
IGNORED_LABEL = -100
REQUEST = "Write the findings and the impression of this study's radiology report."
"""What a chat model is asked for; others are trained to go on with the report."""

_BYTES = 256
_SPECIAL_TOKENS = ("<pad>", "<begin>", "<end>", VISUAL_TOKEN)
_HEADING = re.compile(r"(?:\A|(?<=[.!?:\n]))\s*(findings|impression)\s*:", re.IGNORECASE)


class Section(StrEnum):
    """The parts of a report."""

    FINDINGS = "findings"
    IMPRESSION = "impression"


@dataclass(frozen=True)
class DraftSentence:
    """One sentence of a drafted report, its tokens and its statements.

    Attributes:
        text: the sentence, without the heading of its section.
        first_token, end_token: counted from the report's first token; the end is one past the last.
        statements: what the sentence says of findings, by the rule-based labeler.
    """

    text: str
    section: Section
    first_token: int
    end_token: int
    statements: Statements = ()

    @property
    def positive_statements(self) -> Statements:
        """The findings that it calls present or possible."""
        return tuple(item for item in self.statements if item.certainty.is_positive)


class ReportText:
    """Cues and reports as one model's tokens: visual tokens, cues, report, end token.

    The tokenizer is given the visual placeholder where it has none. Where it has a chat template, visual tokens, cues
    and a request are the user's turn.

    Attributes:
        tokenizer: a fast Hugging Face tokenizer.
        visual_tokens: how many visual tokens stand before each report.
        vocabulary: of the findings.
        visual_token_id: the placeholder of each of them.
        end_token_id: ends each report.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, visual_tokens: int, vocabulary: Vocabulary) -> None:
        if not tokenizer.is_fast:
            raise ModelError("the tokenizer has no fast form (tokenizer.json); sentences cannot be found in its tokens")
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end token; set its eos_token, which ends a report")
        tokenizer.add_tokens([AddedToken(VISUAL_TOKEN, special=True, normalized=False)], special_tokens=True)
        self.tokenizer = tokenizer
        self.visual_tokens = visual_tokens
        self.vocabulary = vocabulary
        self.visual_token_id = tokenizer.get_added_vocab()[VISUAL_TOKEN]
        self.end_token_id = int(tokenizer.eos_token_id)

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, visual_tokens: int, vocabulary: Vocabulary) -> "ReportText":
        """Around a saved tokenizer: a folder, or a name on the hub.

        Raises:
            ModelError: there is none, or it has no fast form.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(name_or_folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"no tokenizer in {Path(name_or_folder).name}: {error}") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelError(f"the tokenizer of {Path(name_or_folder).name} has no fast form (tokenizer.json)")
        return cls(tokenizer, visual_tokens, vocabulary)

    def training_batch(self, cues: Sequence[str], reports: Sequence[str]) -> TextBatch:
        """Prompts followed by their reports, padded on the right; labels on reports and end tokens only.

        A study's cues are what `write_cues` gives; an empty text leaves them out.
        """
        prompts = [self._prompt(cue) for cue in cues]
        answers = [[*self._report_tokens(report), self.end_token_id] for report in reports]
        rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        length = max(len(row) for row in rows)
        input_ids = torch.full((len(rows), length), self._padding_id)
        labels = torch.full((len(rows), length), IGNORED_LABEL)
        for index, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            input_ids[index, : len(row)] = torch.tensor(row)
            labels[index, len(row) - len(answer) : len(row)] = torch.tensor(answer)
        lengths = torch.tensor([len(row) for row in rows])
        return TextBatch(input_ids, torch.arange(length) < lengths[:, None], labels)

    def prompt_batch(self, cues: Sequence[str]) -> TextBatch:
        """Prompts to write after, padded on the left."""
        rows = [self._prompt(cue) for cue in cues]
        length = max(len(row) for row in rows)
        input_ids = torch.full((len(rows), length), self._padding_id)
        for index, row in enumerate(rows):
            input_ids[index, length - len(row) :] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows])
        return TextBatch(input_ids, torch.arange(length) >= length - lengths[:, None])

    def decode(self, tokens: Int[Tensor, " tokens"]) -> str:
        """The text of written tokens, up to the end token."""
        written = tokens.tolist()
        if self.end_token_id in written:
            written = written[: written.index(self.end_token_id)]
        known = [token for token in written if 0 <= token < len(self.tokenizer)]
        text = self.tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def draft_sentences(self, report: str) -> tuple[DraftSentence, ...]:
        """Returns the sentences of a report, findings first, with their tokens in a training batch and statements.

        They are those that `split_sentences` finds in the sections that `split_report` gives.
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
        """The report's tokens; what looks like a special token in it stays text."""
        return list(self.tokenizer(report, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _prompt(self, cues: str) -> list[int]:
        told = f"Cues: {cues}\n" if cues else ""
        placeholders = VISUAL_TOKEN * self.visual_tokens
        if self.tokenizer.chat_template is not None:
            prompt = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": f"{placeholders}\n{told}{REQUEST}"}],
                tokenize=False,
                add_generation_prompt=True,
            )
            return list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        begin = self.tokenizer.bos_token_id
        tokens = self.tokenizer(f"{placeholders}\n{told}", add_special_tokens=False)["input_ids"]
        return [*([] if begin is None else [int(begin)]), *tokens]


def train_tokenizer(
    texts: Iterable[str], vocabulary: Vocabulary, vocabulary_size: int = 2048
) -> PreTrainedTokenizerFast:
    """A tokenizer for reports such as these: byte pairs within words, numbers digit by digit, nothing lost.

    Any text is told, those with unseen words in more tokens; `decode(encode(text))` is the text. Cues are learned too.

    Raises:
        ConfigError: the vocabulary has no room for bytes and special tokens.
        DataError: there are no texts.
    """
    least = _BYTES + len(_SPECIAL_TOKENS)
    if vocabulary_size < least:
        raise ConfigError(
            f"a vocabulary of {vocabulary_size} tokens; {least} at least, for the bytes and special tokens"
        )
    reports = [text for text in texts if text]
    if not reports:
        raise DataError("no report to train a tokenizer on; name a manifest whose studies have reports")
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
    """Both sections as one text, each under its heading; an empty one is left out."""
    parts = (("Findings", findings.strip()), ("Impression", impression.strip()))
    return "\n".join(f"{heading}: {text}" for heading, text in parts if text)


def split_report(text: str) -> tuple[str, str]:
    """The findings and the impression of a written report.

    It takes what a model writes: a section that stands twice is joined by a line break, text before any heading
    counts as findings, and headings are known in any case.
    """
    sections: dict[Section, list[str]] = {section: [] for section in Section}
    for part in _parts(text):
        sections[part.section].append(text[part.start : part.end])
    findings, impression = ("\n".join(sections[section]) for section in Section)
    return findings, impression


@dataclass(frozen=True)
class _Part:
    section: Section
    start: int
    end: int


def _parts(text: str) -> list[_Part]:
    """The stretches of a written report between headings, without the blanks around them, in reading order."""
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
