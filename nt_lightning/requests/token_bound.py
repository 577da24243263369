"""How many tokens a text may have, for servers whose tokenizer is not known."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[A-Za-z]{1,3}|[^A-Za-z\s]|\n|\s(?=[^A-Za-z]|$)")


def tokens_of(text: str) -> int:
    """Tokens that a text has at most, by a rule that holds for many tokenizers (our choice).

    One for three letters of a word, each digit and each sign; for each newline, and each blank
    that stands in front of no letter; and for each byte of what is not ASCII, since scripts that
    a tokenizer has not learned cost that much.

    Args:
        text: Prose, code, LaTeX in any script; random letters may be more tokens than this.
    """
    return len(_TOKEN.findall(text)) + len(text.encode(errors="replace")) - len(text)
