// The ledger of claims: filtered, sorted, and drawn as a forest plot.
(function () {
  "use strict";
  const moves = (window.moves = window.moves || {});
  const REACH = 5; // half intervals either side of the claimed number that the plot shows

  // Where a row's interval lies, in halves of its width, with the claimed number at 0.
  function place({ claimed, measured, interval }) {
    if (claimed === null || !interval || !(interval[1] > interval[0])) return null;
    const half = (interval[1] - interval[0]) / 2;
    const [low, at, high] = [interval[0], measured, interval[1]].map((v) => (v - claimed) / half);
    return { low, at, high };
  }

  const ORDERS = {
    page: () => 0,
    distance: (a, b) => gap(b) - gap(a),
    chapter: (a, b) => (a.chapter < b.chapter ? -1 : a.chapter > b.chapter ? 1 : 0),
    verdict: (a, b) => (a.verdict < b.verdict ? -1 : a.verdict > b.verdict ? 1 : 0),
  };
  const gap = (row) => {
    const found = place(row);
    return found ? Math.max(found.low, -found.high, 0) : -1; // 0: the claimed number lies inside
  };

  // The ids of the rows that a reader asked for, in order, with their places on the plot.
  function compute(rows, { verdict = "", chapter = "", text = "", order = "page" }) {
    const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    return rows
      .filter((r) => (!verdict || r.verdict === verdict) && (!chapter || r.chapter === chapter))
      .filter((r) => wanted.every((w) => `${r.claim} ${r.source} ${r.id}`.toLowerCase().includes(w)))
      .sort(ORDERS[order])
      .map((r) => ({ id: r.id, gap: gap(r), place: place(r) }));
  }

  function strip(found) {
    const paper = moves.svg("svg", { viewBox: "0 0 200 22", class: "move-strip", "aria-hidden": "true" });
    paper.append(moves.svg("line", { class: "dash", x1: 100, x2: 100, y1: 0, y2: 22 }));
    if (!found) {
      paper.append(moves.text(100, 11, "no interval", "small"));
      return paper;
    }
    const at = (v) => 100 + (92 / REACH) * Math.min(REACH, Math.max(-REACH, v));
    paper.append(moves.svg("line", { class: "aline", x1: at(found.low), x2: at(found.high), y1: 11, y2: 11 }));
    if (found.low >= REACH || found.high <= -REACH) {
      const x = found.low > 0 ? 192 : 8, s = found.low > 0 ? 1 : -1;
      paper.append(moves.svg("polygon", { class: "accent", points: `${x + 6 * s},11 ${x - 4 * s},5 ${x - 4 * s},17` }));
    } else paper.append(moves.svg("circle", { class: "accent", cx: at(found.at), cy: 11, r: 4 }));
    return paper;
  }

  function line(row, found) {
    const link = moves.html("a", { href: `#claim-${row.id}` }, row.claim);
    const told = moves.html("span", { class: "move-told" }, `${row.verdict}; ${row.numbers}`);
    return moves.html("li", {}, moves.html("div", {}, link, told), strip(found));
  }

  // Show in the tables of the page what the list shows; headings of empty tables go too.
  function hide(shown) {
    for (const section of [...document.querySelectorAll("#claims section")].reverse()) {
      const cells = [...section.querySelectorAll("[id^='claim-']")];
      cells.forEach((cell) => { cell.closest("tr").hidden = !shown.has(cell.id.slice(6)); });
      section.hidden = cells.length > 0 && cells.every((cell) => cell.closest("tr").hidden);
    }
  }

  function draw(element, { rows }) {
    const asked = { verdict: "", chapter: "", text: "", order: "page" };
    const byId = new Map(rows.map((r) => [r.id, r]));
    const list = moves.html("ol", { class: "move-forest", "aria-label": "Claims with their intervals" });
    const words = moves.status();
    function update() {
      const found = compute(rows, asked);
      list.replaceChildren(...found.map((f) => line(byId.get(f.id), f.place)));
      words.textContent = `${found.length} of ${rows.length} claims; the claimed number lies outside the interval of ` +
        `${found.filter((f) => f.gap > 0).length} of the ${found.filter((f) => f.place).length} that have one.`;
      hide(new Set(found.map((f) => f.id)));
    }
    const set = (key) => (value) => { asked[key] = value; update(); };
    const kinds = (key, all) => [["", all], ...[...new Set(rows.map((r) => r[key]))].map((v) => [v, v])];
    const search = moves.html("input", { type: "search", input: () => set("text")(search.value) });
    const order = [["page", "as on the page"], ["distance", "farthest from the claim first"], ["verdict", "by verdict"], ["chapter", "by chapter"]];
    const field = (label, options, key) => moves.choice({ label, options, value: asked[key], change: set(key) }).row;
    element.append(
      moves.html("div", { class: "move-controls" },
        moves.html("label", { class: "move-fader" }, moves.html("span", {}, "words"), search),
        field("verdict", kinds("verdict", "all verdicts"), "verdict"),
        field("chapter", kinds("chapter", "all chapters"), "chapter"),
        field("order", order, "order")),
      words, list);
    update();
  }

  moves.claims = { compute, draw };
})();
