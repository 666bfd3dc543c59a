// An order book scrubbed through time: one snapshot, and the column that it becomes.
(function () {
  "use strict";
  const moves = (window.moves = window.moves || {});

  // One side's volume by row of price, top row highest, as setrade.orderbook.heatmap around the mid.
  function column(price, size, mid, rows, span) {
    const out = new Array(rows).fill(0);
    let outside = 0;
    price.forEach((p, k) => {
      const bps = (p / mid - 1) * 1e4;
      const row = Math.floor(((span - bps) * rows) / (2 * span));
      if (row >= 0 && row < rows) out[row] += size[k];
      else outside += size[k];
    });
    return { out, outside };
  }

  // Of a snapshot, best level first: its mid, weighted mid, imbalance of the best 1, 2, ... levels
  // and its column of the picture.
  function compute({ bidPrice, bidSize, askPrice, askSize }, rows, span) {
    const mid = 0.5 * (bidPrice[0] + askPrice[0]);
    const [b, a] = [bidSize[0], askSize[0]];
    let bids = 0, asks = 0;
    const imbalance = bidSize.map((size, k) => {
      bids += size;
      asks += askSize[k];
      return (bids - asks) / (bids + asks);
    });
    const [bid, ask] = [column(bidPrice, bidSize, mid, rows, span), column(askPrice, askSize, mid, rows, span)];
    return {
      mid, imbalance, microprice: (b * askPrice[0] + a * bidPrice[0]) / (b + a),
      bids: bid.out, asks: ask.out, outside: [bid.outside, ask.outside],
    };
  }

  // Snapshot t of what is stored: prices in ticks, the best first and then the steps from level to level.
  function snapshot({ perDollar, perCoin, bid, ask, bids, asks }, t) {
    const prices = (steps) => {
      let ticks = 0;
      return steps.map((step) => (ticks += step) / perDollar);
    };
    const sizes = (list) => list.map((s) => s / perCoin);
    return { bidPrice: prices(bid[t]), bidSize: sizes(bids[t]), askPrice: prices(ask[t]), askSize: sizes(asks[t]) };
  }

  const ROWS = 24, LEFT = 250; // of the picture on the right
  const shade = (size) => Math.min(1, Math.log1p(size) / 3).toFixed(2);

  function ladder(paper, found, largest) {
    const half = 250 / ROWS, wide = (size) => (200 * Math.log1p(size)) / Math.log1p(largest);
    [[found.bids, "accent"], [found.asks, "warm"]].forEach(([volume, kind]) =>
      volume.forEach((size, row) => size && paper.append(moves.svg("rect", {
        class: kind, x: 236 - wide(size), y: 24 + half * row, width: wide(size), height: half - 1,
      }))));
    const at = 24 + (250 * (1 - ((found.microprice / found.mid - 1) * 1e4) / paper.span)) / 2;
    paper.append(moves.svg("line", { class: "dash", x1: 20, x2: 236, y1: 149, y2: 149 }),
      moves.svg("polygon", { class: "ink", points: `240,${at} 248,${at - 5} 248,${at + 5}` }));
  }

  function draw(place, data) {
    const count = data.bid.length, shown = 30, span = data.span;
    const books = Array.from({ length: count }, (_, t) => snapshot(data, t));
    const all = books.map((book) => compute(book, ROWS, span));
    const largest = Math.max(...all.flatMap((f) => f.bids.concat(f.asks)));
    const paper = moves.paper(480, 300, ""), words = moves.status();
    paper.span = span;
    function choose(t) {
      const found = all[t], half = 250 / ROWS;
      paper.replaceChildren(moves.text(130, 10, "the book now", "bold"), moves.text(365, 10, "the last snapshots", "bold"));
      ladder(paper, found, largest);
      for (let k = Math.max(0, t - shown + 1); k <= t; k++) {
        const x = LEFT + 10 + 7 * (k - t + shown - 1);
        for (const [volume, kind] of [[all[k].bids, "accent"], [all[k].asks, "warm"]]) {
          volume.forEach((size, row) => size && paper.append(moves.svg("rect", {
            class: kind, x, y: 24 + half * row, width: 7, height: half, "fill-opacity": shade(size),
          })));
        }
      }
      paper.append(moves.text(130, 288, "log of size; asks above, bids below", "small"), moves.text(365, 288, "older, then newer", "small"));
      words.textContent = `After ${moves.number(t * data.seconds, 1)} s: mid ${moves.number(found.mid)}, weighted mid ` +
        `${moves.number(found.microprice, 3)}, imbalance ${moves.number(found.imbalance[0])} at the touch and ` +
        `${moves.number(found.imbalance[found.imbalance.length - 1])} over ${found.imbalance.length} levels.`;
      paper.setAttribute("aria-label", `The book and the picture that it leaves behind. ${words.textContent}`);
    }
    const fader = moves.fader({
      label: "time", min: 0, max: count - 1, step: 1, value: 60, change: choose,
      show: (t) => `${moves.number(t * data.seconds, 1)} s`,
    });
    place.append(moves.html("div", { class: "move-controls" }, fader.row), paper, words);
    choose(60);
  }

  moves.order_book = { compute, snapshot, draw };
})();
