// What fees, slippage and funding take from a rule's equity.
(function () {
  "use strict";
  const moves = (window.moves = window.moves || {});

  // Equity after each close, as setrade.backtest.run: what is wanted after bar t fills at the next
  // open, funding (a rate at each bar's open) falls on what was held into it. Positions are -1, 0
  // or 1 times the equity; no account here comes near bankruptcy. fee and slippage: bps a side.
  function compute({ open, close, position, fee, slippage, funding }) {
    const rate = fee / 1e4, slip = slippage / 1e4;
    const sums = { equity: [], trades: 0, fees: 0, funding: 0 };
    let cash = 1, units = 0, entry = 0, had = 0;
    const filled = (price, side) => price * (1 + side * slip);
    const charge = (value) => { cash -= value * rate; sums.fees += value * rate; };
    for (let t = 0; t < open.length; t++) {
      const want = t ? position[t - 1] : 0;
      if (units && funding[t]) {
        const paid = units * open[t] * funding[t];
        cash -= paid;
        sums.funding += paid;
      }
      if (want !== had && units) {
        const price = filled(open[t], -Math.sign(units));
        cash += units * (price - entry);
        charge(Math.abs(units) * price);
        units = 0;
      }
      if (want !== had && want) {
        entry = filled(open[t], want);
        units = (want * cash) / (entry * (1 + rate));
        charge(Math.abs(units) * entry);
        sums.trades += 1;
      }
      had = want;
      sums.equity.push(cash + units * (close[t] - entry));
    }
    return sums;
  }

  // Momentum: the side of the move over the last bars; 0 holds all the time.
  const momentum = (close, bars) =>
    Array.from(close, (c, t) => (bars === 0 ? 1 : t < bars ? 0 : Math.sign(c - close[t - bars])));

  // Stored as whole steps from close to close, and from close to next open.
  function prices({ step, first, close, gap }) {
    const closes = [], opens = [];
    let level = first;
    close.forEach((change, t) => {
      opens.push((level + gap[t]) * step);
      level += change;
      closes.push(level * step);
    });
    return { open: opens, close: closes };
  }

  const BOX = { x: 44, y: 16, width: 422, height: 190 };

  function picture(paper, free, paid, dates) {
    const both = free.concat(paid, 1);
    const low = Math.min(...both), high = Math.max(...both);
    const thin = (values) => values.filter((_, t) => t % 12 === 0 || t === values.length - 1);
    const line = (values, kind) => moves.svg("polyline", { class: kind, points: moves.points(thin(values), { ...BOX, low, high }) });
    const at = (v) => BOX.y + BOX.height * (1 - (v - low) / (high - low));
    paper.replaceChildren(
      moves.svg("line", { class: "dash", x1: BOX.x, x2: 466, y1: at(1), y2: at(1) }),
      line(free, "dash-ink"), line(paid, "aline"),
      ...[low, 1, high].filter((v, k) => k === 1 || Math.abs(at(v) - at(1)) > 14)
        .map((v) => moves.text(38, at(v), moves.number(v), "small right")),
      moves.text(BOX.x, 226, dates[0], "small left"), moves.text(466, 226, dates[1], "small right"),
      moves.text(255, 226, "dashed: before costs", "small"));
  }

  function draw(place, data) {
    const { open, close } = prices(data);
    const state = { bars: data.lookback, fee: 5.5, slippage: 1, funding: 1 };
    const paper = moves.paper(480, 240, ""), words = moves.status();
    const run = (extra) => compute({ open, close, position: momentum(close, state.bars), ...extra });
    const none = { fee: 0, slippage: 0, funding: [] };
    const end = (found) => found.equity[found.equity.length - 1];
    function update() {
      const rates = data.settles.map((settles) => (settles ? state.funding / 1e4 : 0));
      const free = run(none);
      const fees = run({ ...none, fee: state.fee });
      const slipped = run({ ...none, fee: state.fee, slippage: state.slippage });
      const paid = run({ fee: state.fee, slippage: state.slippage, funding: rates });
      picture(paper, free.equity, paid.equity, data.dates);
      const took = (a, b) => moves.number(100 * (end(b) - end(a)), 1);
      words.textContent = `${paid.trades} trades. One dollar becomes ${moves.number(end(free), 3)} before costs and ` +
        `${moves.number(end(paid), 3)} after them: fees ${took(free, fees)} cents, slippage ${took(fees, slipped)}, ` +
        `funding ${took(slipped, paid)}.`;
      paper.setAttribute("aria-label", `Equity before and after costs. ${words.textContent}`);
    }
    const fader = (key, label, max, step, min = 0) => moves.fader({
      label, min, max, step, value: state[key], show: (v) => `${moves.number(v, 1)} bps`,
      change: (v) => { state[key] = v; update(); },
    }).row;
    const rule = moves.choice({
      label: "rule", value: String(data.lookback), change: (bars) => { state.bars = Number(bars); update(); },
      options: [["16", "momentum, 4 hours"], [String(data.lookback), "momentum, a day"], ["288", "momentum, 3 days"], ["0", "buy and hold"]],
    });
    place.append(
      moves.html("div", { class: "move-controls" }, rule.row,
        fader("fee", "fee, a side", 10, 0.5), fader("slippage", "slippage, a side", 5, 0.5),
        fader("funding", "funding, 8 hours", 5, 0.5, -5)),
      paper, words);
    update();
  }

  moves.costs = { compute, momentum, prices, draw };
})();
