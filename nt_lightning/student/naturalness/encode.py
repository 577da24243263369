"""From a trace's texts to the tokens of its prompt, its response and its steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from nt_lightning.errors import UserError
from nt_lightning.student.naturalness.layout import Ints, ResponseTokens
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN, ThinkMode
from nt_lightning.traces.steps import (
    NoStepsError,
    SentenceSteps,
    Span,
    StepHints,
    StepSplitter,
    step_lengths,
)

PLAIN_QUESTION = ThinkMode("plain", "")
ScoredText = Literal["plain", "tagged"]


class ResponseEncoder:
    """Tokenises a response once and cuts its tokens into steps.

    Args:
        formatter: Renders the question as training and inference do, without the instruction of a
            mode (our choice).
        splitter: Where steps begin.
        scored_text: ``plain`` is reasoning, empty line, answer; ``tagged`` has the think tags and
            the end of turn, as training labels them. Plain is our choice.

    Raises:
        UserError: The tokenizer cannot say which characters a token stands for.
    """

    def __init__(
        self,
        formatter: PromptFormatter,
        splitter: StepSplitter = SentenceSteps(),
        scored_text: ScoredText = "plain",
    ) -> None:
        backend: Any = getattr(formatter.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UserError(
                f"the tokenizer of {formatter.tokenizer.name_or_path!r} is a slow one, which does "
                "not say where its tokens lie in the text; naturalness needs a fast tokenizer"
            )
        self.formatter, self.splitter = formatter, splitter
        self.scored_text = scored_text
        self._backend = copy.deepcopy(backend)
        self._backend.post_processor = None  # a byte-level one trims blanks off the offsets
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = False
        added = formatter.tokenizer.added_tokens_decoder.items()
        tags = formatter.encode_texts([THINK_OPEN + THINK_CLOSE])[0]
        self._special = {n: token.content for n, token in added if token.special and n not in tags}

    def encode(
        self,
        trace_id: str,
        question: str,
        reasoning: str | None,
        answer: str,
        step_starts: Sequence[int] | None = None,
    ) -> ResponseTokens:
        """Tokens of one trace; a response without a token has no step.

        Not to be scored is one that the splitter cannot cut, or whose text holds a special token,
        such as the end of turn, which training refuses, too (our choice).

        Args:
            trace_id: Its id.
            question: The raw question.
            reasoning: Without tags; ``None`` or empty: none.
            answer: Text behind the reasoning.
            step_starts: The column of that name, for ``ColumnSteps``.
        """
        text, span = self.text(reasoning, answer)
        tagged = self.scored_text == "tagged"
        ids, starts = self._tokens(text, apart=THINK_OPEN if reasoning and tagged else "")
        unscored = self._special_in(text, ids)
        if tagged:
            ids, starts = [*ids, self.formatter.stop_token_id], [*starts, len(text)]
        try:
            spans = self.splitter.spans(text, StepHints(starts, step_starts, span))
        except NoStepsError as why:
            spans, unscored = [(0, len(text))] if text else [], str(why)
        self._check(spans, text, trace_id)
        lengths = _ints(step_lengths(starts, spans))
        prompt = _ints(self.formatter.prompt_ids(question, PLAIN_QUESTION))
        first = _ints(starts)[np.cumsum(lengths) - lengths]
        return ResponseTokens(trace_id, prompt, _ints(ids), lengths, first, unscored)

    def text(self, reasoning: str | None, answer: str) -> tuple[str, Span]:
        """The scored text of a response, and the span of the reasoning in it."""
        if not reasoning:
            return answer, (0, 0)
        tagged = self.scored_text == "tagged"
        opening = f"{THINK_OPEN}\n" if tagged else ""
        between = "\n\n" if answer else ""
        closing = f"\n{THINK_CLOSE}\n\n" if tagged else between
        begin = len(opening)
        return f"{opening}{reasoning}{closing}{answer}", (begin, begin + len(reasoning))

    def _special_in(self, text: str, ids: Sequence[int]) -> str | None:
        """That a response's text holds a special token, if it does (an unknown word does not)."""
        for name in (self._special[one] for one in ids if one in self._special):
            if name in text:
                return f"the text holds the special token {name!r}"
        return None

    def _check(self, spans: Any, text: str, trace_id: str) -> None:
        """Raise UserError where a splitter, perhaps the user's own, breaks its promise."""
        edges = [0]
        try:
            for start, end in spans:
                if start != edges[-1] or not start < end:
                    raise ValueError
                edges.append(end)
            if edges[-1] != len(text):
                raise ValueError
        except (TypeError, ValueError):
            raise UserError(
                f"{type(self.splitter).__name__}.spans gave {str(spans)[:80]} for trace "
                f"{trace_id!r}; needed: pairs (start, end) that follow each other from 0 to "
                f"{len(text)}, none of them empty"
            ) from None

    def _tokens(self, text: str, apart: str) -> tuple[list[int], list[int]]:
        """Ids and first characters of a text whose beginning ``apart`` is tokenised apart."""
        ids = list(self.formatter.think_open_ids) if apart else []
        starts = [0] * len(ids)
        encoding = self._backend.encode(text[len(apart) :], add_special_tokens=False)
        ids += encoding.ids
        starts += [len(apart) + start for start, _ in encoding.offsets]
        return ids, np.maximum.accumulate(starts).tolist() if starts else []


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)
