"""The two tokenizers: a small byte-level BPE for CLIP, and a word-per-piece unigram for T5.

Both know capitals: CLIP's lowers all text by itself, T5's has a piece for each way of writing a word.
"""

from __future__ import annotations

import json

from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTokenizer, T5Tokenizer

from .captions import all_words

TEXT_LENGTH = 32
PUNCTUATION = ",.!?:;-'\"()"
START, END = "<|startoftext|>", "<|endoftext|>"


def build_clip_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer whose merges are learned from the vocabulary, so that every word of it becomes one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=850,
        min_frequency=10,
        special_tokens=[START, END, *(f"{letter}</w>" for letter in alphabet)],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner = CLIPTokenizer().backend_tokenizer
    learner.train_from_iterator(all_words() * 20, trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=_renumbered(learned["vocab"]), merges=merges, model_max_length=TEXT_LENGTH)


def _renumbered(vocabulary: dict[str, int]) -> dict[str, int]:
    """The vocabulary with the two special tokens first and the rest in its own order, without gaps."""
    rest = sorted((token for token in vocabulary if token not in (START, END)), key=lambda token: vocabulary[token])
    return {token: number for number, token in enumerate((START, END, *rest))}


def build_t5_tokenizer() -> T5Tokenizer:
    """A T5 tokenizer with one piece per word and way of writing it; any other word becomes the unknown token."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    for word in all_words():
        for written in dict.fromkeys((word, word.capitalize(), word.upper())):
            pieces.append((f"▁{written}", -1.0))
    pieces.extend((mark, -2.0) for mark in PUNCTUATION)
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=TEXT_LENGTH)
