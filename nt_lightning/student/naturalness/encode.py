"""From a trace's texts to the tokens of its prompt, its response and its steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from nt_lightning.errors import UserError
from nt_lightning.student.naturalness.layout import ResponseTokens
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN, ThinkMode
from nt_lightning.traces.steps import SentenceSteps, Span, StepHints, StepSplitter, step_lengths

PLAIN_QUESTION = ThinkMode("plain", "")
ScoredText = Literal["plain", "tagged"]


class ResponseEncoder:
    """Tokenises a response once and cuts its tokens into steps.

    Args:
        formatter: Renders the question as training and inference do.
        splitter: Where steps begin.
        mode: Instruction behind the question; none is our choice.
        scored_text: ``plain`` is reasoning, empty line, answer; ``tagged`` has the think tags and
            the end of turn, as training labels them. Plain is our choice.

    Raises:
        UserError: The tokenizer cannot say which characters a token stands for.
    """

    def __init__(
        self,
        formatter: PromptFormatter,
        splitter: StepSplitter = SentenceSteps(),
        mode: ThinkMode = PLAIN_QUESTION,
        scored_text: ScoredText = "plain",
    ) -> None:
        backend: Any = getattr(formatter.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UserError(
                f"the tokenizer of {formatter.tokenizer.name_or_path!r} is a slow one, which does "
                "not say where its tokens lie in the text; naturalness needs a fast tokenizer"
            )
        self.formatter, self.splitter, self.mode = formatter, splitter, mode
        self.scored_text = scored_text
        self._backend = copy.deepcopy(backend)
        self._backend.post_processor = None  # a byte-level one trims blanks off the offsets
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = False

    def encode(
        self,
        trace_id: str,
        question: str,
        reasoning: str | None,
        answer: str,
        step_starts: Sequence[int] | None = None,
    ) -> ResponseTokens:
        """Tokens of one trace; a response without a token has no step.

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
        if tagged:
            ids, starts = [*ids, self.formatter.stop_token_id], [*starts, len(text)]
        spans = self.splitter.spans(text, StepHints(starts, step_starts, span))
        self._check(spans, text, trace_id)
        lengths = np.array(step_lengths(starts, spans), dtype=np.int64)
        return ResponseTokens(
            trace_id,
            np.array(self.formatter.prompt_ids(question, self.mode), dtype=np.int64),
            np.array(ids, dtype=np.int64),
            lengths,
            np.array(starts, dtype=np.int64)[np.cumsum(lengths) - lengths],
        )

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
