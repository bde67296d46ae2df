"use strict";
// Shows documents page by page: a block is unpacked when one of its documents is looked at.
(() => {
  const at = (id) => document.getElementById(id);
  const meta = JSON.parse(at("meta").textContent);
  const SHOWN = 10;
  const KEPT = 30; // unpacked blocks
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const flags = meta.flags.map(bytes);
  const number = new Map(meta.codes.map(([code], place) => [code.toLowerCase(), place]));
  const state = { cell: meta.best, filter: "", code: "", page: 0 };
  const blocks = new Map();
  let turn = 0;

  // A block further down may not have been read yet when the first documents are to be shown.
  const whenThere = (id) => new Promise((resolve, reject) => {
    const look = () => {
      // Only what is followed by something has been read to its end.
      const node = at(id);
      if (node && (node.nextElementSibling || document.readyState !== "loading")) resolve(node);
      else if (document.readyState === "complete") reject(new Error("the page is not whole: " + id));
      else setTimeout(look, 10);
    };
    look();
  });

  async function unpacked(id) {
    if (!blocks.has(id)) {
      if (blocks.size >= KEPT) blocks.delete(blocks.keys().next().value);
      const node = await whenThere(id);
      const stream = new Blob([bytes(node.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
      blocks.set(id, new Response(stream).json());
    }
    return blocks.get(id);
  }

  const item = async (prefix, place) => (await unpacked(prefix + Math.floor(place / meta.chunk)))[place % meta.chunk];

  async function chosen() {
    const of = flags[state.cell];
    const bit = state.filter === "" ? 0 : 1 << Number(state.filter);
    let codes = null;
    let wanted = -1;
    if (state.code) {
      wanted = number.get(state.code.toLowerCase()) ?? -2;
      codes = await unpacked("c" + state.cell);
    }
    const places = [];
    for (let place = 0; place < meta.documents; place++) {
      if (bit && !(of[place] & bit)) continue;
      if (codes && !codes[place].some((side) => side.includes(wanted))) continue;
      places.push(place);
    }
    return places;
  }

  function element(name, content, className) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (content instanceof Node) made.append(content);
    else if (Array.isArray(content)) made.append(...content);
    else if (content !== undefined && content !== null) made.textContent = content;
    return made;
  }

  // Offsets count characters, which strings here do not.
  function marked(text, gold, mentions) {
    const letters = Array.from(text);
    const ends = new Set([0, letters.length]);
    const spans = [...gold.map((one) => [one[0], one[1], "g"]), ...mentions.map((one) => [one[0], one[1], "p"])];
    spans.filter((one) => one[0] !== null).forEach((one) => { ends.add(one[0]); ends.add(one[1]); });
    const sorted = [...ends].sort((a, b) => a - b);
    const shown = element("p", null, "text");
    for (let n = 0; n + 1 < sorted.length; n++) {
      const [from, to] = [sorted[n], sorted[n + 1]];
      const kinds = new Set(spans.filter((one) => one[0] !== null && one[0] <= from && to <= one[1]).map((one) => one[2]));
      const piece = letters.slice(from, to).join("");
      shown.append(kinds.size ? element("span", piece, [...kinds].join(" ")) : piece);
    }
    return shown;
  }

  const code = (place) => meta.codes[place][0];
  const told = (place) => meta.codes[place].filter(Boolean).join(" ");

  function table(text, gold, mentions) {
    const letters = Array.from(text);
    const right = new Set(gold.map((one) => one[2]));
    const rows = new Map();
    const row = (key, from, words) => {
      if (!rows.has(key)) rows.set(key, { from, words, gold: [], predicted: null });
      return rows.get(key);
    };
    gold.forEach(([from, to, of]) => row(from + "-" + to, from, letters.slice(from, to).join("")).gold.push(of));
    mentions.forEach((one, place) => {
      // Of several at one place, or without any, each has a row of its own.
      const key = one[0] + "-" + one[1];
      const own = one[0] === null || rows.get(key)?.predicted ? "mention " + place : key;
      row(own, one[0], one[2]).predicted = one;
    });
    const head = element("tr", ["words", "gold", "predicted", "confidence", "decided by", "candidates"].map((name) => element("th", name)));
    const body = [...rows.values()].sort((a, b) => a.from - b.from).map(({ words, gold, predicted }) => {
      const cells = [element("td", words), element("td", gold.map(told).join(", ") || "–")];
      if (!predicted) return element("tr", [...cells, element("td", "–"), element("td"), element("td"), element("td")]);
      const [, , , given, sure, by, candidates] = predicted;
      const list = candidates.map(([of, score]) => element("div", `${told(of)} · ${score}`, right.has(of) ? "right" : ""));
      return element("tr", [
        ...cells,
        element("td", given === null ? "no code" : told(given), given !== null && right.has(given) ? "right" : ""),
        element("td", sure),
        element("td", by),
        element("td", details(`${candidates.length}`, list), "candidates"),
      ]);
    });
    return element("table", [element("thead", head), element("tbody", body)]);
  }

  function details(summary, parts) {
    const made = element("details", element("summary", summary));
    made.append(...parts);
    return made;
  }

  function exchange([step, words, messages, answer, outcome]) {
    const parts = messages.flatMap(([role, content]) => [element("div", role, "about"), element("pre", content)]);
    parts.push(element("div", "raw answer", "about"), element("pre", answer), element("div", "taken as: " + outcome, "about"));
    return details(`${step}${words ? ": " + words : ""} → ${answer.slice(0, 120)}`, parts);
  }

  async function article(place) {
    const [id, text, gold] = await item("d", place);
    const prediction = await item(`p${state.cell}-`, place);
    const made = element("article", element("h3", "document " + id));
    if (!prediction) {
      made.append(marked(text, gold, []), element("p", "This document failed.", "fault"));
      return made;
    }
    const [mentions, exchanges, faults] = prediction;
    made.append(marked(text, gold, mentions), table(text, gold, mentions));
    faults.forEach(([fault, words]) => made.append(element("div", `${fault}: ${words}`, "fault")));
    exchanges.forEach((one) => made.append(exchange(one)));
    return made;
  }

  async function show() {
    const mine = ++turn;
    const places = await chosen();
    const pages = Math.max(1, Math.ceil(places.length / SHOWN));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const some = places.slice(state.page * SHOWN, (state.page + 1) * SHOWN);
    const articles = await Promise.all(some.map(article));
    if (mine !== turn) return; // something else was chosen meanwhile
    at("list").replaceChildren(...(articles.length ? articles : [element("p", "No document.", "about")]));
    at("place").textContent = `${places.length} documents, page ${state.page + 1} of ${pages}`;
    const root = document.documentElement;
    root.dataset.shown = articles.length;
    root.dataset.firstViewMs ??= Math.round(performance.now());
  }

  function choose(change) {
    Object.assign(state, { page: 0 }, change);
    at("cell").value = state.cell;
    at("filter").value = state.filter;
    at("code").value = state.code;
    const hash = new URLSearchParams(Object.entries(state));
    history.replaceState(null, "", "#" + hash);
    show().catch((error) => { at("list").textContent = String(error); });
  }

  at("cell").addEventListener("change", (event) => choose({ cell: Number(event.target.value) }));
  at("filter").addEventListener("change", (event) => choose({ filter: event.target.value }));
  at("code").addEventListener("change", (event) => choose({ code: event.target.value.trim() }));
  at("choice").addEventListener("submit", (event) => event.preventDefault());
  at("back").addEventListener("click", () => choose({ page: state.page - 1 }));
  at("on").addEventListener("click", () => choose({ page: state.page + 1 }));
  document.addEventListener("click", (event) => {
    const of = event.target.dataset?.code;
    if (of) choose({ cell: meta.best, filter: "", code: of });
  });
  const asked = new URLSearchParams(location.hash.slice(1));
  const cell = Math.min(Math.max(Math.trunc(Number(asked.get("cell") ?? meta.best)) || 0, 0), meta.cells.length - 1);
  choose({ cell, filter: asked.get("filter") ?? "", code: asked.get("code") ?? "", page: Number(asked.get("page")) || 0 });
})();
