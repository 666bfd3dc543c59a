// The threshold of a recurrence plot, and what is counted in it.
(function () {
  "use strict";
  const moves = (window.moves = window.moves || {});

  // Distances of every pair of states, row by row, as setrade.recurrence.recurrence.
  function distances(x, dim, delay) {
    const m = x.length - (dim - 1) * delay, out = new Float64Array(m * m);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < m; j++) {
        let sum = 0;
        for (let k = 0; k < dim; k++) sum += (x[i + k * delay] - x[j + k * delay]) ** 2;
        out[i * m + j] = dim === 1 ? Math.abs(x[i] - x[j]) : Math.sqrt(sum);
      }
    }
    return { m, out };
  }

  // Lengths of the runs of ones that step (di, dj) visits from each start.
  function runs(image, m, starts, di, dj) {
    const found = [];
    for (const [i0, j0] of starts) {
      let length = 0;
      for (let i = i0, j = j0; i <= m && j <= m; i += di, j += dj) {
        const on = i < m && j < m && i !== j && image[i * m + j];
        if (on) length++;
        else if (length) { found.push(length); length = 0; }
      }
    }
    return found;
  }

  // The plot and its four measures, as setrade.recurrence.quantify has them with its defaults.
  function compute(x, dim, delay, eps) {
    const { m, out } = distances(x, dim, delay);
    const image = Array.from(out, (d) => (d <= eps ? 1 : 0));
    const edge = Array.from({ length: m }, (_, k) => k);
    const diagonal = [...edge.map((k) => [0, k]), ...edge.slice(1).map((k) => [k, 0])];
    const slant = runs(image, m, diagonal, 1, 1), upright = runs(image, m, edge.map((k) => [0, k]), 1, 0);
    const total = (list) => list.reduce((a, b) => a + b, 0);
    const points = total(slant), long = slant.filter((l) => l >= 2);
    const counts = new Map();
    long.forEach((l) => counts.set(l, (counts.get(l) || 0) + 1));
    const shares = [...counts.values()].map((c) => c / long.length);
    return {
      m, image,
      rr: m > 1 ? points / (m * m - m) : 0,
      det: points ? total(long) / points : 0,
      lam: points ? total(upright.filter((l) => l >= 2)) / points : 0,
      entropy: -total(shares.map((p) => p * Math.log(p))) + 0,
    };
  }

  const PERCENT = [["rr", "recurrence rate"], ["det", "determinism"], ["lam", "laminarity"]];

  function draw(place, { price }) {
    const state = { eps: 0.4, dim: 3, delay: 2 };
    const words = moves.status();
    const frame = moves.html("div", { class: "move-frame" });
    let found;
    function paint() {
      const canvas = moves.pixels(found.m, 3, `Recurrence plot of ${found.m} states. ${words.textContent}`);
      frame.replaceChildren(canvas);
      moves.paint(canvas, found.image);
    }
    function update() {
      found = compute(price, state.dim, state.delay, state.eps / 100);
      words.textContent = PERCENT.map(([key, name]) => `${name} ${moves.number(100 * found[key], 1)} %`).join(", ") +
        `, entropy ${moves.number(found.entropy)} nats.`;
      paint();
    }
    const fader = (key, label, min, max, step, show) => moves.fader({
      label, min, max, step, value: state[key], show, change: (v) => { state[key] = v; update(); },
    }).row;
    place.append(
      moves.html("div", { class: "move-controls" },
        fader("eps", "threshold ε", 0, 3, 0.02, (v) => `${moves.number(v)} %`),
        fader("dim", "values in a state", 1, 5, 1),
        fader("delay", "bars between them", 1, 8, 1)),
      frame, words);
    update();
    return paint;
  }

  moves.recurrence = { compute, draw };
})();
