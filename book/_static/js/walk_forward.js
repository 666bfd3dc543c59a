// Splits in the order of time: what trains, what is purged, what the embargo takes, what is tested.
(function () {
  "use strict";
  const moves = (window.moves = window.moves || {});
  const range = (from, to) => Array.from({ length: Math.max(0, to - from) }, (_, k) => from + k);

  // Every example t reads bars t - lookback + 1 to t, its label t + 1 to t + 1 + horizon. Returns
  // [{train, test, purged, embargoed}] of bars, as setrade.labels.walk_forward.
  function walkForward({ n, lookback, horizon, train, test, embargo, expanding }) {
    const splits = [];
    for (let start = train; start <= n - test; start += test) {
      const begin = expanding ? 0 : start - train;
      const earliest = begin + lookback - 1;
      const reach = Math.max(start, earliest) - lookback + 1; // the first bar that the test reads
      const past = range(earliest, start);
      const ends = (t) => t + 1 + horizon;
      splits.push({
        train: past.filter((t) => ends(t) < reach - embargo),
        purged: past.filter((t) => ends(t) >= reach),
        embargoed: past.filter((t) => ends(t) >= reach - embargo && ends(t) < reach),
        test: range(Math.max(start, earliest), start + test).filter((t) => ends(t) < n),
      });
    }
    return splits;
  }

  // The same for purged k-fold, which trains on both sides, as setrade.labels.combinatorial.
  function kFold({ n, lookback, horizon, groups, embargo }) {
    const rows = range(lookback - 1, n - 1 - horizon);
    const sizes = range(0, groups).map((g) => Math.floor(rows.length / groups) + (g < rows.length % groups ? 1 : 0));
    let first = 0;
    return sizes.map((size) => {
      const test = rows.slice(first, first + size);
      first += size;
      const low = test[0] - lookback + 1, high = test[size - 1] + 1 + horizon; // bars that the test reads
      const others = rows.filter((t) => t < test[0] || t > test[size - 1]);
      const meets = (t, more) => t + 1 + horizon >= low && t - lookback + 1 <= high + more;
      return {
        train: others.filter((t) => !meets(t, embargo)),
        purged: others.filter((t) => meets(t, 0)),
        embargoed: others.filter((t) => meets(t, embargo) && !meets(t, 0)),
        test,
      };
    });
  }

  const compute = (asked) => (asked.way === "k-fold" ? kFold(asked) : walkForward(asked));

  const KINDS = [["train", "train", "accent", 0.55], ["purged", "purged", "warm", 0.9], ["embargoed", "embargo", "warm", 0.35], ["test", "test", "ink", 1]];

  function picture(paper, splits, n) {
    const wide = 400 / n, high = Math.min(26, 130 / splits.length), below = 42 + high * splits.length;
    paper.replaceChildren();
    KINDS.forEach(([, words, kind, opacity], k) => paper.append(
      moves.svg("rect", { class: kind, "fill-opacity": opacity, x: 66 + 100 * k, y: 4, width: 14, height: 14 }),
      moves.text(85 + 100 * k, 11, words, "small left")));
    splits.forEach((split, s) => {
      const y = 32 + s * high;
      paper.append(moves.text(58, y + high / 2 - 1, `split ${s + 1}`, "small right"),
        moves.svg("rect", { class: "plain", x: 66, y, width: 400, height: high - 4 }));
      for (const [key, , kind, opacity] of KINDS) {
        for (const t of split[key]) {
          paper.append(moves.svg("rect", { class: kind, "fill-opacity": opacity, x: 66 + wide * t, y, width: wide - 0.4, height: high - 4 }));
        }
      }
    });
    paper.append(moves.text(66, below, "bar 0", "small left"), moves.text(466, below, `bar ${n - 1}`, "small right"));
  }

  function draw(place, { start }) {
    const asked = { ...start };
    const paper = moves.paper(480, 185, ""), words = moves.status();
    function update() {
      const splits = compute(asked), last = splits[splits.length - 1];
      const count = (key) => splits.reduce((sum, split) => sum + split[key].length, 0);
      picture(paper, splits, asked.n);
      words.textContent = `${splits.length} splits test ${count("test")} examples. The purge takes ${count("purged")} ` +
        `training examples in all, the embargo ${count("embargoed")} more; the last split trains on ${last.train.length}.`;
      paper.setAttribute("aria-label", `The splits, one a row. ${words.textContent}`);
    }
    const fader = (key, label, min, max) => moves.fader({
      label, min, max, step: 1, value: asked[key], show: (v) => `${v} bars`, change: (v) => { asked[key] = v; update(); },
    }).row;
    const way = moves.choice({
      label: "way to split", value: "walk-forward", options: [["walk-forward", "walk-forward"], ["rolling", "walk-forward, rolling"], ["k-fold", "purged k-fold"]],
      change: (v) => { Object.assign(asked, { way: v, expanding: v !== "rolling" }); update(); },
    });
    place.append(moves.html("div", { class: "move-controls" }, way.row,
      fader("lookback", "window", 1, 12), fader("horizon", "label", 1, 12), fader("embargo", "embargo", 0, 12)), paper, words);
    update();
  }

  moves.walk_forward = { compute, draw };
})();
