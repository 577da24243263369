r"""Mathematics as people write it, turned into what math-verify reads, and its signs."""

from __future__ import annotations

import re
from fractions import Fraction

_REPEATING = re.compile(
    r"(?P<whole>\d*)\.(?P<first>\d*)(?:"
    r"\\dot\s*\{?(?P<begin>\d)\}?(?P<middle>\d*)\\dot\s*\{?(?P<end>\d)\}?"
    r"|\\(?:overline|bar|dot)\s*(?:\{\s*(?P<period>\d+)\s*\}|(?P<digit>\d))|\((?P<inside>\d+)\))"
)
_LABEL = re.compile(
    r"\s*\$?\\(?:textbf|text|mathrm|mathbf|textrm)\s*\{\s*\([A-J]\)\s*\}[\s\\$]*(?=\S)"
)
_VARIABLE = r"[A-Za-z](?:_\{?\w+\}?)?"
_TURNED = re.compile(rf"(?P<value>[^=<>]*[^=<>\s])\s*=\s*(?P<name>{_VARIABLE})\s*")
_TRIGONOMETRIC = re.compile(
    r"(?P<name>\\(?:sin|cos|tan|cot|sec|csc))\s*(?P<open>[({]?)\s*(?P<degrees>\d+(?:\.\d+)?)"
    r"\s*\^\s*\{?\s*\\circ\s*\}?\s*(?P<close>[)}]?)"
)
_ORDERS = {"<": "<", ">": ">", "≤": r"\le", "≥": r"\ge"} | {
    rf"\{name}": sign
    for sign, names in (
        ("<", ("lt",)),
        (">", ("gt",)),
        (r"\le", ("le", "leq", "leqslant")),
        (r"\ge", ("ge", "geq", "geqslant")),
    )
    for name in names
}
_MIRRORED = {">": "<", r"\ge": r"\le"}
_ORDER = re.compile(r"\\(?:leqslant|leq|le|geqslant|geq|ge|lt|gt)(?![A-Za-z])|[<>≤≥]")
_OTHER = re.compile(
    r"\\(?:neq?|not|equiv|approx|simeq|sim|cong|propto|subseteq|subset|notin|nmid|mid|perp"
    r"|parallel|pmod|bmod|mod)(?![A-Za-z])|[≠≡≈:]"
)
_ALIKE = {r"\neq": r"\ne", "≠": r"\ne", "≡": r"\equiv", "≈": r"\approx"}


def relations(latex: str) -> tuple[str, ...]:
    r"""Its signs of order and of other relations but ``=``, in a spelling of their own.

    An order counts without its direction where something stands on both of its sides, since it
    can be read from either.
    """
    found = [_ALIKE.get(sign, sign) for sign in _OTHER.findall(latex)]
    is_open = _ORDER.match(latex.strip(" $({")) is not None
    for sign in _ORDER.findall(latex):
        sign = _ORDERS[sign]
        found.append(f"open {sign}" if is_open else _MIRRORED.get(sign, sign))
    return tuple(sorted(found))


def has_order(latex: str) -> bool:
    """Whether a text has a sign of order."""
    return _ORDER.search(latex) is not None


def without_label(text: str) -> str:
    r"""The text without the letter of its option: of ``\textbf{(C) }3`` what is 3."""
    return _LABEL.sub("", text, count=1) if _LABEL.match(text) else text


def turned(text: str) -> str:
    """``5 = x`` as ``x = 5``; other texts as they are."""
    found = _TURNED.fullmatch(text.strip(" $")) if "=" in text else None
    if found is None or re.fullmatch(_VARIABLE, found["value"].strip()):
        return text
    return f"{found['name']} = {found['value'].strip()}"


def without_periods(text: str) -> str:
    r"""Repeating decimals as fractions: of ``0.1\overline{6}`` what is ``\frac{1}{6}``."""
    return _REPEATING.sub(_fraction, text) if "\\" in text or "(" in text else text


def _fraction(found: re.Match[str]) -> str:
    period = found["period"] or found["digit"] or found["inside"]
    period = period or found["begin"] + found["middle"] + found["end"]
    fixed = found["whole"] + found["first"]
    nines = 10 ** len(found["first"]) * (10 ** len(period) - 1)
    value = Fraction(int(fixed + period) - int(fixed or "0"), nines)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _upwards(text: str) -> str:
    """A chain of orders from the smallest on: ``3>x>2`` as ``2<x<3``."""
    signs = [_ORDERS[sign] for sign in _ORDER.findall(text)]
    if len(signs) < 2 or not _MIRRORED.keys() >= set(signs) or re.search(r"[,;=]|\\text", text):
        return text
    parts = [part.strip() for part in _ORDER.split(text)][::-1]
    signs = [_MIRRORED[sign] for sign in signs][::-1]
    return parts[0] + "".join(
        f" {sign} {part}" for sign, part in zip(signs, parts[1:], strict=True)
    )


def clean_latex(text: str) -> str:
    r"""Mathematics as people type it, as LaTeX: ``2e5``, ``x**2``, ``sqrt(2)``, ``1 1/2``."""
    text = re.sub(r"\$|(?<!\\)\\[()\[\]]", "", text.replace("\\$", ""))
    text = _TRIGONOMETRIC.sub(_in_radians, _upwards(turned(without_periods(text))))
    text = re.sub(r"(?<=\d)(?:\{,\}|,?\\!)\s*(?=\d{3})", "", text)
    for sign, latex in (("−", "-"), ("–", "-"), ("×", r"\times "), ("·", r"\cdot "), ("**", "^")):
        text = text.replace(sign, latex)
    for sign, latex in (("π", r"\pi "), ("∞", r"\infty "), ("≤", r"\le "), ("≥", r"\ge ")):
        text = text.replace(sign, latex)
    text = re.sub(r"√\s*(\d+|\w|\([^()]*\))", r"\\sqrt{\1}", text)
    text = re.sub(r"[²³]", lambda match: "^" + "23"["²³".index(match[0])], text)
    text = re.sub(r"(?<![\d.])(\d+)\s+(\d+)\s*/\s*(\d+)", r"(\1+\\frac{\2}{\3})", text)
    text = re.sub(r"(?<=\d)[eE]([+-]?\d+)", r"\\cdot 10^{\1}", text)
    text = re.sub(r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    return re.sub(
        r"(?<![\\A-Za-z])(pi|sin|cos|tan|ln|log|exp|infty|theta|alpha|beta)(?![A-Za-z])",
        r"\\\1 ",
        text,
    ).strip()


def _in_radians(found: re.Match[str]) -> str:
    inside = rf"\frac{{{found['degrees']}\pi}}{{180}}"
    return found["name"] + (found["open"] or "{") + inside + (found["close"] or "}")
