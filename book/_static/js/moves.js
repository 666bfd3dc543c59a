// What the moving pictures share: elements, faders, colours of the theme, and the start.
//
// A page holds <div data-move="NAME"> around a still figure and words; NAME.js sets
// moves.NAME = {compute, draw}. compute knows no page: the tests hold it equal to setrade.
(function () {
  "use strict";
  const moves = (window.moves = window.moves || {});
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") node.addEventListener(key, value);
      else if (value === true) node.setAttribute(key, "");
      else if (value !== false && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }
  moves.html = (tag, attributes, ...children) =>
    fill(document.createElement(tag), attributes, children);
  moves.svg = (tag, attributes, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);

  // A drawing that scales with the page. Its words are for those who do not see it.
  moves.paper = (width, height, words) =>
    moves.svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "move-paper", role: "img", "aria-label": words });

  moves.text = (x, y, words, style = "") => {
    const node = moves.svg("text", { x, y, class: style });
    node.textContent = words;
    return node;
  };

  // A number for readers: few digits, a true minus.
  moves.number = (value, digits = 2) =>
    (Object.is(value, -0) || Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value)
      .toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })
      .replace("-", "−");

  // A labelled fader: keys, mouse and touch as the browser has them. Returns {row, input, set}.
  moves.fader = ({ label, min, max, step, value, show = String, change }) => {
    const out = moves.html("output", { class: "move-value" });
    const input = moves.html("input", { type: "range", min, max, step, value });
    const told = () => {
      out.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", out.textContent);
    };
    input.addEventListener("input", () => { told(); change(Number(input.value)); });
    told();
    const row = moves.html("label", { class: "move-fader" }, moves.html("span", {}, label), input, out);
    return { row, input, set(x) { input.value = x; told(); } };
  };

  moves.choice = ({ label, options, value, change }) => {
    const list = options.map(([key, words]) =>
      moves.html("option", { value: key, selected: key === value }, words));
    const select = moves.html("select", {}, ...list);
    select.addEventListener("change", () => change(select.value));
    return { row: moves.html("label", { class: "move-fader" }, moves.html("span", {}, label), select), select };
  };

  moves.button = (words, click) => moves.html("button", { type: "button", click }, words);

  // What changed, in words: read out once the reader rests.
  moves.status = () => moves.html("p", { class: "move-words", role: "status", "aria-live": "polite" });

  // A square picture of n by n pixels on whole multiples of the screen's; pick(i, j) by pointer.
  moves.pixels = (n, multiple, words, pick) => {
    const canvas = moves.html("canvas", {
      width: n, height: n, class: "move-pixels", role: "img", "aria-label": words,
      style: `width:${n * multiple}px;height:${n * multiple}px`,
    });
    const seen = (event) => {
      const box = canvas.getBoundingClientRect();
      const at = (x, low, size) => Math.min(n - 1, Math.max(0, Math.floor(((x - low) / size) * n)));
      pick(at(event.clientY, box.top, box.height), at(event.clientX, box.left, box.width));
    };
    if (pick) {
      canvas.addEventListener("pointerdown", seen);
      canvas.addEventListener("pointermove", seen);
    }
    return canvas;
  };

  // Red, green and blue of a custom property, for canvases, which know no variables.
  moves.colour = (element, name) => {
    const probe = moves.html("span", { style: `color:var(${name});display:none` });
    element.append(probe);
    const parts = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    probe.remove();
    return parts;
  };

  // Paint values (n, n) in [-1, 1]: paper at 0, accent at 1, warm at -1.
  moves.paint = (canvas, values) => {
    const [paper, accent, warm] = ["--paper-solid", "--accent", "--warm"].map((c) => moves.colour(canvas.parentNode, c));
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    values.forEach((value, k) => {
      const end = value < 0 ? warm : accent;
      const share = Math.min(1, Math.abs(value));
      for (let c = 0; c < 3; c++) image.data[4 * k + c] = paper[c] + share * (end[c] - paper[c]);
      image.data[4 * k + 3] = 255;
    });
    context.putImageData(image, 0, 0);
  };

  // Points of a line through values, within a box.
  moves.points = (values, { x, y, width, height, low, high }) => {
    const across = width / Math.max(1, values.length - 1);
    return Array.from(values, (v, k) =>
      `${(x + across * k).toFixed(1)},${(y + height * (1 - (v - low) / (high - low || 1))).toFixed(1)}`).join(" ");
  };

  moves.data = (name) => JSON.parse(document.getElementById(`move-data-${name}`).textContent);

  function start() {
    for (const place of document.querySelectorAll("[data-move]")) {
      const name = place.dataset.move;
      const live = moves.html("div", { class: "move-live" });
      place.classList.add("move");
      place.append(live);
      const redraw = moves[name].draw(live, moves.data(name));
      // The button for dark pages changes an attribute; what is painted follows.
      new MutationObserver(() => redraw && redraw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
      place.dataset.live = "yes";
    }
  }
  document.addEventListener("DOMContentLoaded", start);
})();
