"use strict";
// The open response: question, reference, and one response or two side by side.
const samplesDetail = (() => {
  const CONFIDENTIAL = "not stored: the benchmark is confidential";

  function make(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  const textBox = (text, options) => {
    const node = make("div", { className: "text" });
    samplesText.show(node, text, options);
    return node;
  };

  const missing = (text) => make("p", { className: "missing", textContent: text });

  function question(response, { data, asSource }) {
    const prompt = data.prompts[response.prompt];
    if (!response.is_stored) return missing(CONFIDENTIAL);
    const box = textBox(prompt, { asSource });
    box.classList.add("question");
    box.tabIndex = 0;
    return box;
  }

  function facts(response, { asSource }) {
    const list = make("dl");
    const add = (name, value) =>
      list.append(make("div", {}, make("dt", { textContent: name }), make("dd", {}, value)));
    const answer = make("button", { type: "button", className: "found-answer", title: "go to it" });
    samplesText.showAnswer(answer, response.answer ?? "", asSource);
    answer.addEventListener("click", () =>
      list.parentElement.querySelector("mark, .extracted")?.scrollIntoView({ block: "center" }),
    );
    add("extracted", response.answer === null ? "none" : answer);
    add("rule", response.rule ?? "none");
    add("tokens", response.num_tokens.toLocaleString("en"));
    add("finish", response.finish_reason);
    if (response.obedient !== null) add("obedient", response.obedient ? "yes" : "no");
    return list;
  }

  // Formulas of the reasoning are rendered when it is opened first.
  function reasoning(response, { asSource, go }) {
    const { text, span, reasoning_end: end } = response;
    const isAll = !text.slice(end).trim();
    const count = end.toLocaleString("en");
    const summary = make("summary", {
      textContent: `Reasoning, ${count} characters${isAll ? ", no answer behind it" : ""}`,
    });
    const node = make("details", { className: "reasoning" }, summary);
    node.dataset.isAll = isAll ? "1" : "";
    node.addEventListener("toggle", () => {
      if (node.open && !node.querySelector(".text"))
        node.append(textBox(text, { to: end, span, asSource }));
    });
    summary.addEventListener("click", () => {
      if (!isAll) go({ reasoning: node.open ? null : "1" }, { isStep: true });
    });
    return node;
  }

  function column(response, name, context) {
    const node = make("section", { className: "response" });
    if (name)
      node.append(
        make("h3", {}, make("span", { className: "run", textContent: name[0] }), ` ${name[1]}`),
      );
    if (!response) {
      node.append(missing("This run has no response to this question."));
      return node;
    }
    const verdict = response.correct === null ? "no verdict" : response.correct ? "right" : "wrong";
    node.append(
      make(
        "p",
        { className: "badges" },
        make("span", { className: "badge" }, context.sign(response), ` ${verdict}`),
        make("span", { className: `badge ${response.outcome}`, textContent: response.outcome }),
      ),
      facts(response, context),
    );
    const { text, span, reasoning_end: end } = response;
    if (!response.is_stored) node.append(missing(CONFIDENTIAL));
    else if (!text) node.append(missing("an empty response"));
    else {
      if (end) node.append(reasoning(response, context));
      if (text.slice(end).trim()) {
        const from = end + /^\s*/.exec(text.slice(end))[0].length;
        const box = textBox(text, { from, span, asSource: context.asSource });
        box.classList.add("final");
        node.append(box);
      }
    }
    return node;
  }

  return {
    make,
    show(node, row, context) {
      node.replaceChildren();
      if (!row) {
        node.append(missing("No response passes these filters."));
        return;
      }
      const [first, second] = row.responses;
      const about = [row.benchmark, row.stage, row.mode, row.domain, `repeat ${row.repeat}`];
      const source = make("input", {
        type: "checkbox",
        checked: context.asSource,
        onchange: (event) =>
          context.go({ source: event.target.checked ? "1" : null }, { isStep: true }),
      });
      const reference = make("span", { className: "reference" });
      samplesText.showAnswer(reference, first.reference, context.asSource);
      node.append(
        make(
          "div",
          { className: "head" },
          make(
            "div",
            {},
            make("h2", { textContent: row.problem_id }),
            make("p", { className: "about", textContent: about.filter(Boolean).join(" · ") }),
          ),
          make("label", {}, source, " formulas as source"),
        ),
        make("h3", { textContent: "Question" }),
        question(first, context),
      );
      if (second && (second.prompt !== first.prompt || second.reference !== first.reference)) {
        const other = make("span", { className: "reference" });
        samplesText.showAnswer(other, second.reference, context.asSource);
        node.append(
          make(
            "details",
            {},
            make("summary", { textContent: "B was asked in other words" }),
            question(second, context),
            make("p", {}, "Reference answer ", other),
          ),
        );
      }
      node.append(make("p", {}, "Reference answer ", reference));
      const names = context.isPaired
        ? context.data.names.map((name, at) => ["AB"[at], name])
        : [null];
      node.append(
        make(
          "div",
          { className: "columns" },
          ...row.responses.slice(0, names.length).map((one, at) => column(one, names[at], context)),
        ),
      );
    },
    // Opens or closes the reasoning; where a response is nothing else, it stays open.
    fold(node, isOpen) {
      for (const one of node.querySelectorAll(".reasoning"))
        one.open = isOpen || one.dataset.isAll === "1";
    },
  };
})();
