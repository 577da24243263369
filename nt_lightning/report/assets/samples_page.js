"use strict";
// Filters, list and the open response. All state is in the address behind #, so that any view is
// a link: a value for each filter, q, sort, open (number of the row), reasoning and source.
(() => {
  const SIGNS = { right: "✓", wrong: "✗", none: "–" };
  const byId = (id) => document.getElementById(id);
  const { make } = samplesDetail;
  const buttons = new Map(); // by filter and value
  let data,
    facets,
    isPaired,
    found = [],
    shown = { row: null };

  async function unpack(element) {
    const text = atob(element.textContent);
    element.remove();
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  // ------------------------------------------------------------------ the address

  const address = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

  function linkTo(state) {
    const kept = Object.entries(state).filter(([, value]) => value !== "" && value != null);
    return `#${new URLSearchParams(kept)}`;
  }

  function go(changes, { isStep = false } = {}) {
    const link = linkTo({ ...address(), ...changes });
    if (isStep)
      location.replace(link); // no entry in the history for every key
    else location.hash = link;
  }

  // Goes on with the open response where it is among those now found.
  function filterBy(changes) {
    const state = { ...address(), ...changes };
    const { rows } = samplesFilters.matching(data, facets, state);
    const isKept = rows.some((row) => row.number === Number(state.open));
    go(isKept ? changes : { ...changes, open: null });
  }

  // ------------------------------------------------------------------ filters

  function buildFacets() {
    facets = samplesFilters.facets(data.rows).filter(({ name }) => name !== "pair" || isPaired);
    for (const facet of facets.filter(({ values }) => values.length > 1)) {
      const { name } = facet;
      buttons.set(name, new Map());
      const isOfA = isPaired && ["outcome", "verdict", "rule", "obedient"].includes(name);
      const label = make("span", {
        id: `label-${name}`,
        textContent: name + (isOfA ? " of A" : ""),
      });
      const group = make("div", { className: "values" });
      group.setAttribute("role", "group");
      group.setAttribute("aria-labelledby", label.id);
      for (const value of facet.values) {
        const number = make("span", { className: "number" });
        const text = name === "pair" ? samplesFilters.PAIRS[value] : value;
        const button = make(
          "button",
          {
            type: "button",
            onclick: () => filterBy({ [name]: address()[name] === value ? null : value }),
          },
          text,
          " ",
          number,
        );
        button.dataset.facet = name;
        button.dataset.value = value;
        buttons.get(name).set(value, button);
        group.append(button);
      }
      byId("facets").append(make("div", { className: "facet" }, label, group));
    }
  }

  function showFacets(state, counts) {
    for (const [name, ofName] of buttons) {
      for (const [value, button] of ofName) {
        const count = counts.get(name).get(value) ?? 0;
        button.lastChild.textContent = count.toLocaleString("en");
        button.setAttribute("aria-pressed", String(state[name] === value));
        button.classList.toggle("empty", count === 0);
      }
    }
  }

  // ------------------------------------------------------------------ list

  function sign(response) {
    const verdict = samplesFilters.verdict(response);
    const node = make("span", { className: `sign ${verdict}`, textContent: SIGNS[verdict] });
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", verdict === "none" ? "no verdict" : verdict);
    return node;
  }

  const varies = (name) => facets.find((facet) => facet.name === name).values.length > 1;

  function listed(row, state) {
    const [response] = row.responses;
    const about = ["benchmark", "stage", "mode"].filter(varies).map((name) => row.values[name]);
    about.push(response.outcome, `${response.num_tokens.toLocaleString("en")} tokens`);
    if (row.repeat) about.push(`repeat ${row.repeat}`);
    const link = make(
      "a",
      { href: linkTo({ ...state, open: row.number }) },
      make(
        "span",
        { className: "signs" },
        ...row.responses.filter((one, at) => at === 0 || one).map(sign),
      ),
      make("span", { className: "id", textContent: row.problem_id }),
      make("span", { className: "answer", textContent: (response.answer ?? "").slice(0, 40) }),
      make("span", { className: "about", textContent: about.join(" · ") }),
    );
    link.dataset.number = row.number;
    return make("li", {}, link);
  }

  function showList(state) {
    const { rows, counts } = samplesFilters.matching(data, facets, state);
    found = rows;
    showFacets(state, counts);
    byId("list").replaceChildren(...rows.map((row) => listed(row, state)));
    const total = data.rows.length.toLocaleString("en");
    byId("count").textContent = `${rows.length.toLocaleString("en")} of ${total}`;
    byId("clear").hidden = !facets.some(({ name }) => state[name]) && !state.q;
    byId("sort").value = state.sort ?? "";
    if (document.activeElement !== byId("query")) byId("query").value = state.q ?? "";
  }

  const current = (state) => data.rows[Number(state.open)] ?? found[0];

  function markOpen(row) {
    for (const link of byId("list").querySelectorAll("[aria-current]"))
      link.removeAttribute("aria-current");
    const link = row && byId("list").querySelector(`a[data-number="${row.number}"]`);
    link?.setAttribute("aria-current", "true");
    link?.scrollIntoView({ block: "nearest" });
  }

  function step(by) {
    const at = found.indexOf(current(address()));
    const row = found[at < 0 ? 0 : Math.min(Math.max(at + by, 0), found.length - 1)];
    if (row) go({ open: row.number }, { isStep: true });
  }

  // ------------------------------------------------------------------ start

  function render() {
    const state = address();
    const { open, reasoning, source, ...filters } = state;
    const link = linkTo(filters) + linkTo({ reasoning, source });
    if (link !== shown.link) showList(state);
    const row = current(state);
    if (row !== shown.row || source !== shown.source) {
      samplesDetail.show(byId("detail"), row, {
        data,
        isPaired,
        asSource: source === "1",
        sign,
        go,
      });
      byId("detail").scrollTop = 0;
    }
    if (row !== shown.row || link !== shown.link) markOpen(row);
    samplesDetail.fold(byId("detail"), reasoning === "1");
    shown = { link, row, source };
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && event.target === byId("query")) byId("query").blur();
    if (event.target.matches("input[type=search], select")) return;
    const isReading = event.target.closest("#detail") !== null; // there, arrows scroll
    const actions = {
      j: () => step(1),
      k: () => step(-1),
      r: () => go({ reasoning: address().reasoning === "1" ? null : "1" }, { isStep: true }),
      "/": () => {
        byId("filters").open = true;
        byId("query").focus();
      },
    };
    if (!isReading) Object.assign(actions, { ArrowDown: actions.j, ArrowUp: actions.k });
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  }

  function listen() {
    let waiting;
    byId("query").addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => filterBy({ q: event.target.value.trim() }), 200);
    });
    byId("sort").addEventListener("change", (event) => filterBy({ sort: event.target.value }));
    byId("clear").addEventListener("click", () => {
      byId("query").value = "";
      filterBy(Object.fromEntries([...facets.map(({ name }) => [name, null]), ["q", null]]));
    });
    window.addEventListener("hashchange", render);
    document.addEventListener("keydown", onKey);
  }

  async function start() {
    const status = byId("status");
    status.hidden = false;
    try {
      data = await unpack(byId("data"));
    } catch (error) {
      status.textContent = `The responses could not be unpacked; a browser of 2023 or later is needed (${error.message}).`;
      return;
    }
    isPaired = data.names.length > 1;
    data.rows.forEach((row, number) => {
      row.number = number;
      row.values = samplesFilters.values(row);
    });
    buildFacets();
    listen();
    byId("filters").open = window.innerWidth > 800;
    byId("app").hidden = false;
    status.hidden = true;
    render();
  }

  start();
})();
