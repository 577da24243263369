"use strict";
// What rows can be filtered by, and which rows pass.
const samplesFilters = (() => {
  const VERDICTS = new Map([
    [true, "right"],
    [false, "wrong"],
    [null, "none"],
  ]);
  const PAIRS = {
    "only-b": "wrong in A, right in B",
    "only-a": "right in A, wrong in B",
    both: "right in both",
    neither: "wrong in both",
    "not-evaluated": "not evaluated",
    alone: "only in A",
  };
  const STORED_FIRST = ["benchmark", "stage", "mode"];
  const ORDER = {
    outcome: ["answered", "unparsed", "truncated", "looped", "not_evaluated"],
    verdict: ["right", "wrong", "none"],
    obedient: ["yes", "no", "no rule"],
    pair: Object.keys(PAIRS),
  };
  const FACETS = {
    pair: pairOf,
    benchmark: (row) => row.benchmark,
    stage: (row) => row.stage,
    mode: (row) => row.mode,
    outcome: (row) => row.responses[0].outcome,
    verdict: (row) => VERDICTS.get(row.responses[0].correct),
    rule: (row) => row.responses[0].rule ?? "none",
    domain: (row) => row.domain || "none",
    obedient: (row) => ({ true: "yes", false: "no" })[row.responses[0].obedient] ?? "no rule",
  };
  let matches = { q: "", rows: null }; // of the last search

  // As in the accuracy, what is not right is wrong; what was not evaluated counts nowhere.
  function pairOf({ responses: [a, b] }) {
    if (!b) return "alone";
    if (a.outcome === "not_evaluated" || b.outcome === "not_evaluated") return "not-evaluated";
    if (a.correct === true) return b.correct === true ? "both" : "only-a";
    return b.correct === true ? "only-b" : "neither";
  }

  const raise = (counts, value) => counts.set(value, (counts.get(value) ?? 0) + 1);

  // All filters with the values that occur: in their own order, as stored, or frequent ones first.
  function facets(rows) {
    return Object.keys(FACETS).map((name) => {
      const counts = new Map();
      for (const row of rows) raise(counts, row.values[name]);
      const values = [...counts.keys()];
      if (ORDER[name]) values.sort((a, b) => ORDER[name].indexOf(a) - ORDER[name].indexOf(b));
      else if (!STORED_FIRST.includes(name)) values.sort((a, b) => counts.get(b) - counts.get(a));
      return { name, values };
    });
  }

  function searched(data, q) {
    if (!q) return null;
    if (matches.q !== q) {
      const pattern = new RegExp(q.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
      const isHit = (row) =>
        pattern.test(row.problem_id) ||
        row.responses.some(
          (one) => one && (pattern.test(data.prompts[one.prompt]) || pattern.test(one.text)),
        );
      matches = { q, rows: new Set(data.rows.filter(isHit)) };
    }
    return matches.rows;
  }

  // The rows that pass all filters; for each filter, how many of its values pass all others.
  function matching(data, facets, state) {
    const hits = searched(data, state.q);
    const rows = [];
    const counts = new Map(facets.map(({ name }) => [name, new Map()]));
    for (const row of data.rows) {
      if (hits && !hits.has(row)) continue;
      const failed = facets.filter(({ name }) => state[name] && state[name] !== row.values[name]);
      if (!failed.length) {
        rows.push(row);
        for (const { name } of facets) raise(counts.get(name), row.values[name]);
      } else if (failed.length === 1) raise(counts.get(failed[0].name), row.values[failed[0].name]);
    }
    const length = (row) => row.responses[0].num_tokens;
    if (state.sort === "shortest") rows.sort((a, b) => length(a) - length(b));
    if (state.sort === "longest") rows.sort((a, b) => length(b) - length(a));
    return { rows, counts };
  }

  return {
    PAIRS,
    facets,
    matching,
    verdict: (response) => VERDICTS.get(response?.correct ?? null),
    values: (row) =>
      Object.fromEntries(Object.entries(FACETS).map(([name, of]) => [name, of(row)])),
  };
})();
