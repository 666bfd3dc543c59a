// A Gramian summation field whose pixel shows its two bars.
(function () {
  "use strict";
  const moves = (window.moves = window.moves || {});
  const EPS = 16 * Number.EPSILON; // a range below this share of the values is none

  // Rescaled values, angles and the field (n * n, row by row) of a series, as setrade.gramian.gasf.
  function compute(x) {
    const low = Math.min(...x), high = Math.max(...x);
    const flat = high - low <= EPS * Math.max(Math.abs(low), Math.abs(high));
    const scaled = x.map((v) => (flat ? -1 : Math.min(1, Math.max(-1, (v - low - (high - v)) / (high - low)))));
    const sine = scaled.map((c) => Math.sqrt((1 - c) * (1 + c)));
    const field = [];
    for (let i = 0; i < x.length; i++) {
      for (let j = 0; j < x.length; j++) {
        field.push(Math.min(1, Math.max(-1, scaled[i] * scaled[j] - sine[i] * sine[j])));
      }
    }
    return { scaled, angle: scaled.map(Math.acos), field };
  }

  const BOX = { x: 14, y: 14, width: 300, height: 120 };

  function series(paper, x, found, pair) {
    const low = Math.min(...x), high = Math.max(...x);
    paper.replaceChildren(
      moves.svg("polyline", { class: "line", points: moves.points(x, { ...BOX, low, high }) }),
      moves.svg("path", { class: "plain", d: "M 340 134 A 60 60 0 0 1 460 134 Z" }),
      moves.text(400, 149, "angles", "small"), moves.text(164, 149, "closes, oldest bar left", "small"));
    pair.forEach((bar, k) => {
      const kind = k ? "warm" : "accent";
      const [px, py] = moves.points(x, { ...BOX, low, high }).split(" ")[bar].split(",").map(Number);
      const [ax, ay] = [400 + 60 * found.scaled[bar], 134 - 60 * Math.sin(found.angle[bar])];
      paper.append(
        moves.svg("line", { class: k ? "wline" : "aline", x1: px, x2: px, y1: 8, y2: 140 }),
        moves.svg("circle", { class: kind, cx: px, cy: py, r: 4.5 }),
        moves.svg("line", { class: k ? "wline" : "aline", x1: 400, y1: 134, x2: ax, y2: ay }),
        moves.svg("circle", { class: kind, cx: ax, cy: ay, r: 4.5 }),
        moves.text(px + (px > 290 ? -9 : 9), k ? 16 : 128, "ij"[k], "bold"));
    });
  }

  function draw(place, { close }) {
    const n = close.length, found = compute(close);
    const pair = [8, 30];
    const paper = moves.paper(480, 160, "The closes as a line and the two bars' angles on a half circle.");
    const words = moves.status();
    const mark = moves.html("span", { class: "move-mark" });
    const canvas = moves.pixels(n, 6, "", (i, j) => { faders[0].set(i); faders[1].set(j); choose(i, j); });
    const frame = moves.html("div", { class: "move-frame" }, canvas, mark);
    const degrees = (bar) => `${moves.number((found.angle[bar] * 180) / Math.PI, 0)}°`;
    function choose(i, j) {
      pair[0] = i;
      pair[1] = j;
      series(paper, close, found, pair);
      Object.assign(mark.style, { top: `${(100 * i) / n}%`, left: `${(100 * j) / n}%` });
      const value = moves.number(found.field[i * n + j]);
      words.textContent =
        `Row ${i}, column ${j}: bar ${i} closes at ${moves.number(close[i], 0)} and has the angle ${degrees(i)}, ` +
        `bar ${j} at ${moves.number(close[j], 0)} with ${degrees(j)}. ` +
        `The pixel is cos(${degrees(i)} + ${degrees(j)}) = ${value}.`;
      canvas.setAttribute("aria-label", `The summation field, ${n} by ${n} pixels. ${words.textContent}`);
    }
    const faders = [0, 1].map((k) => moves.fader({
      label: `bar ${"ij"[k]} (${["row", "column"][k]})`, min: 0, max: n - 1, step: 1, value: pair[k],
      change: (bar) => choose(k ? pair[0] : bar, k ? bar : pair[1]),
    }));
    const controls = moves.html("div", { class: "move-controls" }, ...faders.map((f) => f.row));
    place.append(controls, paper, frame, words);
    const paint = () => moves.paint(canvas, found.field);
    paint();
    choose(...pair);
    return paint;
  }

  moves.gasf = { compute, draw };
})();
