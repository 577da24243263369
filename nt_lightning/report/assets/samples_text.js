"use strict";
// Text of responses as nodes: formulas as MathML, all else as text. A formula that Temml cannot
// read stays as its source. Offsets are UTF-16 units of the whole text.
const samplesText = (() => {
  const LONGEST = 10000; // characters of a formula; what is longer is no formula (our choice)
  const ENVIRONMENT =
    "(?:align|alignat|aligned|array|cases|eqnarray|equation|gather|gathered|multline|[bpvVB]?matrix)\\*?";
  const OPENING = new RegExp(
    String.raw`\\[\\$]|\$\$?|\\\(|\\\[|\\boxed\s*\{|\\begin\{(${ENVIRONMENT})\}|` +
      "```|`|" +
      String.raw`\[asy\]`,
    "g",
  );
  // Pandoc's rule: no blank behind the first $, none before the last, no digit behind it. Thus
  // "$5 and $6" is prose. No empty line within.
  const INLINE = /\$(?![\s$])((?:[^$\\\n]|\\[^\n]|\n(?![ \t]*\n)){1,2000})(?<!\s)\$(?!\d)/y;
  const CODE = /`[^`\n]+`/y;
  const OPTIONS = {
    throwOnError: true,
    maxSize: [30, 300], // em, pt
    trust: (context) => context.command === "\\class" && context.class === "extracted",
  };

  function formulas(text) {
    const found = [];
    const places = new Map();
    const next = (mark, from) => {
      // each mark is searched once over the text, so time is linear
      let at = places.get(mark) ?? -1;
      if (at < from) {
        at = text.indexOf(mark, from);
        if (at < 0) at = Infinity;
        places.set(mark, at);
      }
      return at;
    };
    let opening;
    OPENING.lastIndex = 0;
    while ((opening = OPENING.exec(text)) !== null) {
      const end = endOf(text, opening, next, found);
      if (end > opening.index) OPENING.lastIndex = end;
    }
    return found;
  }

  // Where what is opened ends: a formula, which is noted, or code; 0 where nothing is opened.
  function endOf(text, opening, next, found) {
    const [mark, environment] = opening;
    const start = opening.index;
    const note = (from, to, end, display) => {
      if (end - start > LONGEST || !text.slice(from, to).trim()) return 0;
      found.push({ start, end, from, to, display });
      return end;
    };
    const until = (close, display) =>
      note(start + 2, next(close, start + 2), next(close, start + 2) + close.length, display);
    if (environment) {
      const close = `\\end{${environment}}`;
      const end = next(close, start) + close.length;
      return note(start, end, end, true);
    }
    if (mark.startsWith("\\boxed")) {
      const end = closingBrace(text, start + mark.length);
      return note(start, end, end, false);
    }
    switch (mark) {
      case "$$":
        return /\n[ \t]*\n/.test(
          text.slice(start, Math.min(next("$$", start + 2), start + LONGEST)),
        )
          ? 0
          : until("$$", true);
      case "\\(":
        return until("\\)", false);
      case "\\[":
        return until("\\]", true);
      case "$": {
        INLINE.lastIndex = start;
        const inline = INLINE.exec(text);
        return inline ? note(start + 1, INLINE.lastIndex - 1, INLINE.lastIndex, false) : 0;
      }
      case "```":
        return Math.min(next("```", start + 3) + 3, text.length);
      case "[asy]":
        return Math.min(next("[/asy]", start), text.length);
      case "`":
        CODE.lastIndex = start;
        return CODE.test(text) ? CODE.lastIndex : 0;
      default:
        return 0; // \\ and \$
    }
  }

  function closingBrace(text, from) {
    let depth = 1;
    for (let at = from; at < Math.min(text.length, from + LONGEST); at++) {
      if (text[at] === "\\") at++;
      else if (text[at] === "{") depth++;
      else if (text[at] === "}" && --depth === 0) return at + 1;
    }
    return Infinity;
  }

  // Appends text[from:to] to a node; the part in span is marked.
  function plain(node, text, from, to, span) {
    const [first, last] = span ? span.map((at) => Math.min(Math.max(at, from), to)) : [to, to];
    node.append(text.slice(from, first));
    if (first < last) {
      const mark = document.createElement("mark");
      mark.textContent = text.slice(first, last);
      node.append(mark);
    }
    node.append(text.slice(last, to));
  }

  function rendered(tex, display) {
    const node = document.createElement("span");
    temml.render(tex, node, { ...OPTIONS, displayMode: display });
    return node;
  }

  // The span within the formula where LaTeX allows that, else all of the formula, is marked.
  function formula(text, { start, end, from, to, display }, span) {
    const tex = text.slice(from, to);
    const inside = span && span[0] >= from && span[1] <= to && span[0] < span[1];
    const before = inside ? text.slice(from, span[0]) : "";
    let node = null;
    if (inside && !/(?:[\^_]|\\[A-Za-z]+)\s*$/.test(before)) {
      const marked = `${before}\\class{extracted}{${text.slice(...span)}}${text.slice(span[1], to)}`;
      try {
        node = rendered(marked, display);
      } catch {
        /* no place for a mark */
      }
    }
    try {
      if (!node) {
        node = rendered(tex, display);
        if (span && span[0] < end && span[1] > start) node.classList.add("extracted");
      }
      node.title = tex;
    } catch (error) {
      node = document.createElement("code");
      node.title = `not rendered: ${error.message}`;
      plain(node, text, start, end, span);
      node.classList.add("broken");
      return node;
    }
    node.classList.add("formula");
    if (display) node.classList.add("display");
    return node;
  }

  return {
    show(node, text, { from = 0, to = text.length, span = null, asSource = false } = {}) {
      const part = text.slice(from, to);
      const moved = span && span.map((at) => at - from);
      let done = 0;
      for (const found of asSource ? [] : formulas(part)) {
        plain(node, part, done, found.start, moved);
        node.append(formula(part, found, moved));
        done = found.end;
        // A block ends its line by itself.
        if (found.display && part[done] === "\n") done++;
      }
      plain(node, part, done, part.length, moved);
    },
    // A bare answer: LaTeX where it has a command, else text.
    showAnswer(node, answer, asSource) {
      const isTex = !asSource && /\\[A-Za-z]/.test(answer) && !answer.includes("$");
      const whole = { start: 0, end: answer.length, from: 0, to: answer.length, display: false };
      node.append(isTex ? formula(answer, whole, null) : answer);
    },
  };
})();
