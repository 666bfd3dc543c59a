"""The frame of the status page: its style, and the few lines that keep it fresh.

Nothing is loaded from elsewhere. Boxes are replaced one by one, and only when they changed, so
that nothing flickers and a selection survives. When the process does not answer, the page says
so: an old picture of a healthy run is worse than none.
"""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --back: #f4f5f7; --card: #fff; --ink: #16191d; --soft: #5b6470;
  --line: #dfe3e8; --good: #00613f; --look: #8a4b00; --bad: #a8071a; }
@media (prefers-color-scheme: dark) { :root { --back: #101418; --card: #1a2027; --ink: #e8ebef;
  --soft: #9aa5b1; --line: #2c343d; --good: #4cc38a; --look: #f0a94b; --bad: #ff7b7b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1200px; margin: 0 auto; padding: 12px; display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); }
header, section { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 16px; min-width: 0; }
header { grid-column: 1 / -1; border-left: 8px solid currentColor; }
header h1 { margin: 0; font-size: 2rem; line-height: 1.2; }
header p { margin: 2px 0 0; color: var(--ink); }
h2 { margin: 0 0 6px; font-size: 0.95rem; color: var(--soft); font-weight: 600; }
dl { margin: 0; display: grid; grid-template-columns: auto 1fr; gap: 3px 14px; }
dt { color: var(--soft); } dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
section p { margin: 0; color: var(--soft); }
#orders { grid-column: 1 / -1; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { color: var(--soft); font-weight: 400; }
th, td { text-align: right; padding: 3px 6px; white-space: nowrap; }
td:last-child { white-space: normal; padding-right: 0; } th:last-child { padding-right: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody tr { border-top: 1px solid var(--line); }
@media (max-width: 480px) { table { font-size: 0.85em; } th, td { padding: 3px; } }
small { color: var(--soft); font-size: 0.87em; white-space: nowrap; }
.good { color: var(--good); } .look { color: var(--look); } .bad { color: var(--bad); }
.dim { color: var(--soft); }
#silent { position: sticky; top: 0; z-index: 1; margin: 0; padding: 10px 16px; text-align: center;
  background: var(--bad); color: var(--card); font-weight: 600; }
a { color: inherit; }
body.silent main { opacity: 0.45; }
footer { max-width: 1200px; margin: 0 auto; padding: 0 14px 20px; color: var(--soft); }
"""

SCRIPT = """
const main = document.querySelector('main'), silent = document.getElementById('silent');
let heard = new Date();
function renew(html) {
  const fresh = document.createElement('main');
  fresh.innerHTML = html;
  const names = [...fresh.children].map(box => box.id).join();
  if (names !== [...main.children].map(box => box.id).join()) { main.innerHTML = html; return; }
  for (const box of fresh.children) {
    const old = document.getElementById(box.id);
    if (old.outerHTML !== box.outerHTML) old.replaceWith(box.cloneNode(true));
  }
}
function title() {
  const state = document.querySelector('h1').textContent.trim();
  document.title = document.body.classList.contains('silent') ? 'NO ANSWER' : state + ' · setrade';
}
async function look() {
  try {
    const answer = await fetch('/panels', {cache: 'no-store', signal: AbortSignal.timeout(5000)});
    if (!answer.ok) throw new Error(answer.status);
    renew(await answer.text());
    heard = new Date();
    silent.hidden = true;
    document.body.classList.remove('silent');
  } catch (error) {
    silent.textContent = 'No answer since ' + heard.toLocaleTimeString() +
      '. The figures below are old. Look at the process and at the exchange.';
    silent.hidden = false;
    document.body.classList.add('silent');
  }
  title();
  setTimeout(look, 2000);
}
title();
setTimeout(look, 2000);
"""

PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>setrade</title><link rel="icon" href="data:,">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>{STYLE}</style></head>
<body><p id="silent" role="alert" hidden></p><main>{{panels}}</main>
<footer>Renewed every two seconds. Figures for machines: <a href="/metrics">/metrics</a>.</footer>
<script>{SCRIPT}</script></body></html>
"""
