"""What the command line can be told, each option explained."""

from __future__ import annotations

import argparse

EPILOG = """The position is closed after a fault (no bars, bad bars, a failing model or journal),
by the kill file and by SIGUSR1; at the end of the run, at Ctrl-C and at SIGTERM, as --on-exit
says. What the broker refuses to close is tried again for --closing seconds; Ctrl-C after a refusal
ends the trying. Start again on the same journal to go on where the last run stopped. Exit status:
0 for an end that was asked for; 2 for options that cannot be read; 3 after a fault, or when
nothing was begun: this run holds nothing; 4: A POSITION MAY BE HELD AND NOBODY CARES FOR IT. It
could not be closed, or what the last run left cannot be gone on with (a damaged journal, a wrong
option), or a new journal meets a broker that holds something. Look at the broker then."""


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    p = argparse.ArgumentParser(
        "python -m setrade.live",
        epilog=EPILOG,
        description="Run the live pipeline: bars, model, risk manager, orders, journal. On paper "
        "unless --broker says otherwise.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _where(p.add_argument_group("bars"))
    _model(p.add_argument_group("model"))
    _risk(p.add_argument_group("risk"))
    _account(p.add_argument_group("account and run"))
    return p


# fmt: off
def _where(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--source", choices=("simulator", "file", "bybit"), default="simulator",
                   help="an exchange in this process, a file, or Bybit's stream")
    g.add_argument("--file", help="CSV or parquet of candles, for --source file")
    g.add_argument("--symbol", default="BTCUSDT", help="what is traded")
    g.add_argument("--interval", default="1min", help="length of a bar (simulator and bybit)")
    g.add_argument("--minutes", type=float, default=30.0,
                   help="market minutes after which the run ends, rounded up to whole bars; 0 for "
                        "no end")
    g.add_argument("--speed", type=float, default=60.0,
                   help="market seconds a second (simulator, file; 0: file, no pauses)")
    g.add_argument("--seed", type=int, default=0, help="of the simulator's market")
    g.add_argument("--history", type=int,
                   help="bars of the past to warm up on, before the first decision; without it "
                        "as many as the models want")


def _model(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--model", choices=("rules", "se_trader", "efficientnet", "ensemble"),
                   default="ensemble",
                   help="what decides; when it fails or is too slow: se_trader on the CPU, then "
                        "rules, then all is closed. The nets that come with the package were "
                        "trained on 15-minute bars and are given such, made of the stream's own; "
                        "they show the machinery and are no better than guessing")
    g.add_argument("--checkpoint",
                   help="file of weights in place of the ones that come with se_trader or "
                        "efficientnet")
    g.add_argument("--frames",
                   help="bar lengths, comma separated, on which the rule has a vote in the "
                        "ensemble; without it 1min and 5min, as far as the stream's bars allow")
    g.add_argument("--device", choices=("cpu", "cuda", "mps"),
                   help="of the first model; without it a CUDA GPU if there is one, else the CPU "
                        "(SETRADE_DEVICE in the environment decides as well)")
    g.add_argument("--runtime",
                   choices=("eager", "channels_last", "folded", "compiled", "bf16", "onnx",
                            "tensorrt"),
                   help="what runs the first model's nets; without it, and for the others, ONNX "
                        "Runtime, or PyTorch as it is where that is not installed or cannot use "
                        "the GPU. What is compiled or built is made before the first bar")
    g.add_argument("--threads", type=int, default=1,
                   help="threads of a net on the CPU: for one picture a second one only waits")
    g.add_argument("--budget", type=float, default=1.0,
                   help="seconds that an answer may take; after three late ones within sixty "
                        "bars, or one that takes five times as long, the next model takes over")
    g.add_argument("--lookback", type=int, default=48, help="bars of the momentum rule")
    g.add_argument("--threshold", type=float, default=0.5,
                   help="a move counts from so many standard deviations on")
    g.add_argument("--size", type=float, default=1.0,
                   help="largest position, in parts of equity")


def _risk(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--stop-atr", type=float, default=2.0,
                   help="stop, in average true ranges from the entry; 0 for none")
    g.add_argument("--take-profit", type=float, default=2.0,
                   help="target, in stop distances; 0 for none")
    g.add_argument("--daily-loss", type=float, default=0.03,
                   help="part of equity that may be lost in a UTC day; 0 for no limit")
    g.add_argument("--max-jump", type=float, default=0.05,
                   help="open nothing after a move of this size; 0 for no limit")
    g.add_argument("--by-confidence", action="store_true",
                   help="scale positions with the signal's confidence")
    g.add_argument("--kill-file",
                   help="the run ends, flat, when this file exists; looked for ten times a second, "
                        "but not while a model computes (five budgets at most for each level)")
    g.add_argument("--patience", type=float,
                   help="market seconds without a good bar until all is closed, a bar's length at "
                        "least; without it five bars")
    g.add_argument("--closing", type=float, default=600.0,
                   help="seconds by our clock in which a position that must be closed is tried to "
                        "be closed, while broker or network refuse")


def _account(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--broker", choices=("paper", "testnet", "demo"), default="paper",
                   help="where orders go; but for paper, keys come from the environment")
    g.add_argument("--equity", type=float, default=10_000.0, help="money at the start, on paper")
    g.add_argument("--fee-bps", type=float, default=5.5, help="taker fee, basis points")
    g.add_argument("--slippage-bps", type=float, default=1.0, help="expected, a side")
    g.add_argument("--journal", default="run.sqlite",
                   help="SQLite file; one that exists is gone on with")
    g.add_argument("--metrics-port", type=int,
                   help="serve a status page, and metrics for Prometheus, on 127.0.0.1 (0: any "
                        "free port); if it is taken a run that holds a position goes on without")
    g.add_argument("--on-exit", choices=("flat", "keep"), default="flat",
                   help="what becomes of the position at the end and at Ctrl-C")
