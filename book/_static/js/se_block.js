// Faders of a squeeze-and-excitation block: shift a channel, and watch every gate.
(function () {
  "use strict";
  const moves = (window.moves = window.moves || {});
  const linear = (weights, bias, x) =>
    weights.map((row, i) => row.reduce((sum, w, j) => sum + w * x[j], bias ? bias[i] : 0));

  // One window x (C, T) through weights (C/r, C) and (C, C/r), as setrade.se.SEBlock does.
  function compute({ x, w1, b1, w2, b2 }) {
    const z = x.map((row) => row.reduce((sum, v) => sum + v, 0) / row.length);
    const hidden = linear(w1, b1, z).map((h) => Math.max(h, 0));
    const gates = linear(w2, b2, hidden).map((a) => 1 / (1 + Math.exp(-a)));
    return { z, hidden, gates, scaled: x.map((row, c) => row.map((v) => v * gates[c])) };
  }

  const ROW = 52, TOP = 44;
  const middle = (c) => TOP + ROW * c + 15;

  function cell(paper, x, y, value, kind, width = 34) {
    const shade = Math.min(1, Math.abs(value) / 4).toFixed(2);
    paper.append(
      moves.svg("rect", { x, y, width, height: 30, rx: 3, class: value < 0 ? "warm" : kind, "fill-opacity": shade }),
      moves.svg("rect", { x, y, width, height: 30, rx: 3, class: "plain" }),
      moves.text(x + width / 2, y + 15, moves.number(value, 1), "small"));
  }

  function wires(paper, weights, x0, x1, from, to) {
    weights.forEach((row, i) => row.forEach((w, j) => {
      if (!w) return;
      paper.append(moves.svg("line", {
        x1: x0, y1: from(j), x2: x1, y2: to(i), class: w < 0 ? "wline" : "aline", "stroke-width": 1.2 * Math.abs(w),
      }));
    }));
  }

  function picture(paper, names, net, found) {
    const between = (h) => middle(0.5 + 2 * h);
    paper.replaceChildren();
    wires(paper, net.w1, 191, 237, middle, between);
    wires(paper, net.w2, 273, 309, between, middle);
    [[84, "window"], [173, "mean z"], [255, "hidden"], [344, "gate s"], [431, "s · X"]].forEach(([x, words]) =>
      paper.append(moves.text(x, 20, words, "bold")));
    names.forEach((name, c) => {
      const y = TOP + ROW * c;
      net.x[c].forEach((v, t) => cell(paper, 33 + 34 * t, y, v, "accent"));
      paper.append(moves.text(33, y - 7, name, "small left"));
      cell(paper, 155, y, found.z[c], "accent", 36);
      paper.append(
        moves.svg("rect", { x: 309, y, width: 70, height: 30, class: "plain", rx: 3 }),
        moves.svg("rect", { x: 309, y, width: 70 * found.gates[c], height: 30, class: "gate", rx: 3 }),
        moves.text(344, y + 15, moves.number(found.gates[c]), "small"));
      found.scaled[c].forEach((v, t) => cell(paper, 388 + 29 * t, y, v, "accent", 29));
    });
    found.hidden.forEach((h, k) => cell(paper, 237, between(k) - 15, h, "accent", 36));
  }

  function draw(place, { names, x, w1, w2 }) {
    const level = compute({ x, w1, w2 }).z;
    const start = level.slice();
    const paper = moves.paper(480, 250, "");
    const words = moves.status();
    function update() {
      const shifted = x.map((row, c) => row.map((v) => v + level[c] - start[c]));
      const net = { x: shifted, w1, w2 };
      const found = compute(net);
      picture(paper, names, net, found);
      const said = names.map((name, c) => `${name} ${moves.number(found.gates[c])}`).join(", ");
      const silent = found.hidden.map((h, k) => (h ? "" : ["first", "second"][k])).filter(Boolean);
      words.textContent = `Gates: ${said}. ` + (silent.length
        ? `The ${silent.join(" and the ")} hidden unit is silent, and what it alone drives stays at a half.`
        : "Both hidden units speak.");
      paper.setAttribute("aria-label", `The block from window to scaled window. ${words.textContent}`);
    }
    const faders = names.map((name, c) => moves.fader({
      label: name, min: -4, max: 4, step: 0.1, value: start[c], show: (v) => moves.number(v, 1),
      change: (v) => { level[c] = v; update(); },
    }));
    const back = moves.button("As in the text", () => {
      faders.forEach((fader, c) => { level[c] = start[c]; fader.set(start[c]); });
      update();
    });
    place.append(moves.html("div", { class: "move-controls" }, ...faders.map((f) => f.row), back), paper, words);
    update();
  }

  moves.se_block = { compute, draw };
})();
