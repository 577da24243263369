"""What must hold of every tokenised trace, checked by another way than the one that wrote it.

The prompt's ids are made anew by the tokenizer's own call, and the answer is decoded from the
labels. Each check looks at all traces of a batch at once.
"""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nt_lightning.data.batch import IGNORE_INDEX, labels_of
from nt_lightning.data.plan import Ints
from nt_lightning.data.prepare import OnLong
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import MODE_NAMES, THINK_CLOSE, THINK_OPEN, ThinkModes

CHECKS = {
    "trace": "it is in the pool, once, and as long as its row says",
    "prompt": "its first ids are those that inference asks with",
    "mask": "no token of the prompt is trained, and every token of the response",
    "added": "the tokenizer added no token of its own to the response",
    "stop": "the stop token is its last label, and no other one",
    "think": "a think block stands in front of the answer, or nothing, as its mode says",
    "answer": "the labels end with the whole answer",
}
_IDS_ALONE = {
    "add_special_tokens": False,
    "return_attention_mask": False,
    "return_token_type_ids": False,
    "verbose": False,
}
_SPARE = 8  # tokens of a tail that stand for no byte, such as a sentencepiece's blank
Flags = npt.NDArray[np.bool_]


class Rows(NamedTuple):
    """N tokenised traces, T tokens, beside the texts that they were made from."""

    texts: list[dict[str, Any]]  # id, question, teacher, reasoning, answer
    codes: Ints  # index into MODE_NAMES, [N]
    stated: Ints  # length that is written beside the trace, [N]
    labels: Ints  # [T]
    ids: Ints  # [T]
    starts: Ints  # [N + 1]

    @property
    def lengths(self) -> Ints:
        """Tokens of each trace, [N]."""
        return np.diff(self.starts)

    @property
    def positions(self) -> Ints:
        """Position of each token in its trace, [T]."""
        return np.arange(len(self.ids)) - np.repeat(self.starts[:-1], self.lengths)

    @property
    def last(self) -> Ints:
        """The last id of each trace, [N]; -1 of an empty one."""
        padded = np.concatenate([[-1], self.ids])
        return np.where(self.lengths > 0, padded[self.starts[1:]], -1)

    def sums(self, flags: Flags) -> Ints:
        """Number of set flags ([T]) in each trace, [N]."""
        counted = np.concatenate([[0], np.cumsum(flags)])
        return counted[self.starts[1:]] - counted[self.starts[:-1]]  # type: ignore[no-any-return]


def rows_of(table: pa.Table, texts: list[dict[str, Any]]) -> Rows:
    """Tokenised traces of a file with their labels, as training has them, and their texts."""
    tokens = table["input_ids"].combine_chunks()
    ids = tokens.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    starts = (tokens.offsets.to_numpy() - tokens.offsets[0].as_py()).astype(np.int64)
    codes, stated, prompts = (
        table[name].to_numpy().astype(np.int64) for name in ("mode", "num_tokens", "num_prompt")
    )
    rows = Rows(texts, codes, stated, ids, ids, starts)
    return rows._replace(labels=labels_of(ids, rows.positions, np.repeat(prompts, rows.lengths)))


class Examiner:
    """Says of tokenised traces which checks they fail.

    Args:
        formatter: Renders the prompts of inference.
        modes: The think modes, ``{K}`` filled.
        max_tokens: Longest trace.
        on_long: Under ``cut`` a trace of ``max_tokens`` may end before its stop token and answer.
    """

    def __init__(
        self, formatter: PromptFormatter, modes: ThinkModes, max_tokens: int, on_long: OnLong
    ) -> None:
        self.formatter = formatter
        self.modes = [modes[name] for name in MODE_NAMES]
        self.max_tokens, self.on_long = max_tokens, on_long
        self.stop = formatter.stop_token_id
        # every response that thinks begins with the tag, prefilled or not
        self.begins = [
            mode.prefix or (THINK_OPEN if mode.name != "no_think" else "") for mode in self.modes
        ]
        self.begin_ids = [np.array(ids, dtype=np.int64) for ids in self._ids(self.begins)]
        tokenizer: Any = formatter.tokenizer
        added = set(tokenizer("x")["input_ids"]) - set(self._ids(["x"])[0])
        self.special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder, self.stop}
        self.added = np.array(sorted(added), dtype=np.int64)

    def is_cut(self, rows: Rows) -> Flags:
        """Which traces the length policy has cut, [N]."""
        if self.on_long != "cut":
            return np.zeros(len(rows.texts), dtype=bool)
        return (rows.lengths == self.max_tokens) & (rows.last != self.stop)

    def examine(self, rows: Rows) -> dict[str, Flags]:
        """For each of ``CHECKS`` the traces that fail it, [N]."""
        prompts = self._ids(
            [
                self.formatter.prompt_text(text["question"], self.modes[code])
                for text, code in zip(rows.texts, rows.codes.tolist(), strict=True)
            ]
        )
        ends = np.array([len(ids) for ids in prompts], dtype=np.int64)
        is_cut = self.is_cut(rows)
        in_prompt = rows.positions < np.repeat(ends, rows.lengths)
        trained = rows.labels != IGNORE_INDEX
        changed = trained & (rows.labels != rows.ids)
        stops = rows.sums(~in_prompt & (rows.ids == self.stop))
        think, answer = self._texts(rows, ends)
        too_long = (rows.lengths != rows.stated) | (rows.lengths > self.max_tokens)
        return {
            "trace": too_long,
            "prompt": self._other_prompt(rows, prompts, ends),
            "mask": rows.sums((trained == in_prompt) | changed) > 0,
            "added": self._something_added(rows, in_prompt),
            "stop": ~is_cut & ((rows.last != self.stop) | (stops != 1)),
            "think": self._other_begin(rows, ends) | (think & ~is_cut),
            "answer": answer & ~is_cut,
        }

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Ids by the tokenizer's own call, which is not what wrote them."""
        tokenizer: Any = self.formatter.tokenizer
        return tokenizer(texts, **_IDS_ALONE)["input_ids"]  # type: ignore[no-any-return]

    @staticmethod
    def _other_prompt(rows: Rows, prompts: list[list[int]], ends: Ints) -> Flags:
        """Traces that do not begin with their prompt, or have nothing behind it."""
        wanted = np.full(len(rows.ids), -1, dtype=np.int64)
        for start, room, ids in zip(
            rows.starts[:-1].tolist(), rows.lengths.tolist(), prompts, strict=True
        ):
            wanted[start : start + min(room, len(ids))] = ids[:room]
        differ = rows.sums((wanted >= 0) & (wanted != rows.ids)) > 0
        return differ | (rows.lengths <= ends)  # type: ignore[no-any-return]

    def _other_begin(self, rows: Rows, ends: Ints) -> Flags:
        """Responses that do not begin with the mode's prefix, tokenised apart."""
        bad = np.zeros(len(rows.texts), dtype=bool)
        for code, begin in enumerate(self.begin_ids):
            padded = np.concatenate([rows.ids, np.full(len(begin), -1)])
            first = np.minimum(rows.starts[:-1] + ends, len(rows.ids))
            found = padded[first[:, None] + np.arange(len(begin))]
            bad |= (rows.codes == code) & (found != begin).any(axis=1)
        return bad

    def _something_added(self, rows: Rows, in_prompt: Flags) -> Flags:
        """Responses with more of the tokenizer's own tokens than their texts spell out."""
        own = ~in_prompt & np.isin(rows.ids, self.added)
        own[rows.starts[1:][rows.lengths > 0] - 1] &= rows.last[rows.lengths > 0] != self.stop
        counts = rows.sums(own)
        bad = counts > 0
        names = self.formatter.tokenizer.convert_ids_to_tokens(self.added.tolist())
        for row in bad.nonzero()[0].tolist():
            text = rows.texts[row]["reasoning"] + rows.texts[row]["answer"]
            bad[row] = counts[row] != sum(text.count(name) for name in names)
        return bad

    def _texts(self, rows: Rows, ends: Ints) -> tuple[Flags, Flags]:
        """Responses without the think block of their mode, and without their whole answer."""
        pieces, wanted, last = [], [], rows.last.tolist()
        for number, text in enumerate(rows.texts):
            code = int(rows.codes[number])
            begin = int(rows.starts[number] + ends[number]) + len(self.begin_ids[code])
            end = int(rows.starts[number + 1])
            end = max(begin, end - (last[number] in self.special))
            front = "" if MODE_NAMES[code] == "no_think" else f"\n{THINK_CLOSE}\n\n"
            if front:  # of a long response the end alone
                room = len((front + text["answer"]).encode()) + _SPARE
                begin = max(begin, end - room)
            pieces.append(rows.ids[begin:end].tolist())
            wanted.append((front, text["answer"]))
        found: Any = self.formatter.tokenizer.batch_decode(
            pieces, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        verdicts = [_verdict(text, *end) for text, end in zip(found, wanted, strict=True)]
        think, answer = np.array(verdicts, dtype=bool).reshape(-1, 2).T
        return think, answer


def _verdict(found: str, front: str, answer: str) -> tuple[bool, bool]:
    """Whether a decoded end lacks what stands in front of the answer, and the answer itself.

    Without ``front`` nothing stands there. Tokenizers that do not give back a text as it was
    (blanks, Unicode forms) are compared without blanks, in NFKC.
    """
    for form in (str, _plain):
        text, ahead, wanted = form(found), form(front), form(answer)
        before = text.removesuffix(wanted)
        no_answer = not text.endswith(wanted)
        other_front = not no_answer and not (before.endswith(ahead) if ahead else not before)
        if not (no_answer or other_front):
            break
    return other_front, no_answer


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())
