// What `tools/paper_print.py` asks of a page of the site before it prints it.
window.paper = (() => {
  "use strict";

  // The pages of the book in reading order: the first one, then those of its navigation.
  function contents() {
    const title = document.querySelector("article h1").firstChild.textContent;
    const rows = [{ part: "", title, href: location.href, level: 1 }];
    let part = "";
    for (const e of document.querySelectorAll("nav.bd-links .caption, nav.bd-links a")) {
      if (e.classList.contains("caption")) part = e.textContent.trim();
      const level = e.closest("li")?.className.match(/toctree-l(\d)/);
      const href = (e.href || "").split("#")[0];
      if (level && part && !rows.some((r) => r.href === href))
        rows.push({ part, title: e.textContent.trim(), href, level: +level[1] });
    }
    return rows;
  }

  // Folds are open, and an answer begins with its name.
  function unfold() {
    document.querySelectorAll("details").forEach((d) => (d.open = true));
    for (const fold of document.querySelectorAll(".quiz-fold")) {
      fold.querySelector("summary").remove();
      const name = Object.assign(document.createElement("strong"), { textContent: "Answer: " });
      fold.firstElementChild.prepend(name);
      fold.replaceWith(...fold.childNodes);
    }
  }

  // A line does not break between a formula and the point or comma behind it.
  function bind() {
    for (const e of document.querySelectorAll("article mjx-container:not([display])")) {
      const formula = e.parentElement.matches("span.math") ? e.parentElement : e;
      const next = formula.nextSibling;
      const signs = next?.nodeType === 3 && next.data.match(/^[.,;:?!)\]’”»-]+/);
      if (!signs) continue;
      next.splitText(signs[0].length);
      const whole = document.createElement("span");
      whole.style.whiteSpace = "nowrap";
      formula.replaceWith(whole);
      whole.append(formula, next);
    }
  }

  // Links to what is not printed lose their address: search, sources, downloads.
  function cut(pages) {
    for (const a of document.querySelectorAll("article a[href]"))
      if (!/^(https?|mailto):/.test(a.href) && !pages.includes(a.href.split("#")[0]))
        a.removeAttribute("href");
  }

  // A link to each place makes Chromium write that place into the file by name.
  function name() {
    const box = document.createElement("div");
    box.hidden = true;
    for (const e of document.querySelectorAll("article [id]"))
      if (!e.closest("svg, mjx-container"))
        box.append(Object.assign(document.createElement("a"), { href: "#" + e.id }));
    document.body.append(box);
  }

  // Fonts are fetched when something first needs them: wait, or formulas stand in another one.
  async function fonts() {
    document.body.getBoundingClientRect();
    const used = [...document.fonts].filter((f) => f.status !== "unloaded");
    await Promise.allSettled(used.map((f) => f.load()));
    await document.fonts.ready;
    const set = [...document.fonts].some((f) => /MJX/.test(f.family) && f.status === "loaded");
    const lost = used.filter((f) => f.status === "error").map((f) => `font cannot be read: ${f.family}`);
    if (!set && document.querySelector("article .math")) lost.push("formulas lack their font");
    return lost;
  }

  // Make a page ready to be printed; return the fonts and pictures that cannot
  // be read.
  async function ready({ title, pages }) {
    document.documentElement.dataset.theme = document.documentElement.dataset.mode = "light";
    const h1 = document.querySelector("article h1");
    if (h1 && /^A?[0-9]/.test(title)) h1.firstChild.textContent = title; // with its number
    unfold();
    bind();
    cut(pages);
    name();
    const unset = await fonts();
    const images = [...document.images].filter((i) => i.closest("article"));
    for (const image of images) image.loading = "eager";
    const lost = (i) => () => `img cannot be read: ${i.getAttribute("src")}`;
    const said = await Promise.all(images.map((i) => i.decode().then(() => "", lost(i))));
    return [...unset, ...said.filter(Boolean)];
  }

  // Level, text and place of each section.
  function headings() {
    const shown = [...document.querySelectorAll("article :is(h2, h3)")].filter((h) => h.offsetParent);
    return shown.map((h) => {
      const copy = h.cloneNode(true);
      copy.querySelectorAll(".headerlink, mjx-assistive-mml").forEach((e) => e.remove());
      const text = copy.textContent.trim().replace(/\s+/g, " ");
      return [+h.tagName[1], text, h.id || h.closest("[id]")?.id || ""];
    });
  }

  // Whether an element is cut: it lies outside the column, or it holds more than it shows.
  function over(e, right) {
    const box = e.getBoundingClientRect();
    if (!box.width) return false;
    if (e.matches("pre, mjx-container[display=true]") && e.scrollWidth > e.clientWidth + 1)
      return true;
    return box.right > right || box.left < -1;
  }

  // Set what is too wide in smaller type; name what is still too wide, or taller than a page.
  function fit({ smallest, height }) {
    const article = document.querySelector("article") || document.body;
    const right = Math.max(article.getBoundingClientRect().right, innerWidth) + 1;
    const all = [...article.querySelectorAll("pre, table, mjx-container, img, svg, code, p, li")]
      .filter((e) => !e.closest("svg svg, mjx-assistive-mml"));
    const size = (e) => parseFloat(getComputedStyle(e).fontSize);
    let smaller = 0;
    for (const e of all.filter((e) => e.matches("pre, table, mjx-container"))) {
      const before = size(e);
      for (let i = 0; i < 12 && over(e, right) && size(e) > smallest; i++)
        e.style.setProperty("font-size", Math.max(size(e) * 0.93, smallest) + "px", "important");
      // A printed list of a hundred names is no table: it wraps.
      if (over(e, right) && e.matches(".cell_output pre"))
        e.style.cssText = "white-space: pre-wrap !important; overflow-wrap: anywhere";
      smaller += size(e) < before;
    }
    const wide = all.filter((e) => over(e, right));
    const outer = wide.filter((e) => !wide.some((o) => o !== e && o.contains(e)));
    const tall = all.filter((e) => e.matches("img, svg, mjx-container"))
      .filter((e) => e.getBoundingClientRect().height > height);
    const told = (e, how) => {
      const kind = e.tagName.toLowerCase().replace("mjx-container", "formula");
      return `${kind} too ${how}: ${(e.alt || e.textContent).trim().replace(/\s+/g, " ").slice(0, 60)}`;
    };
    return { smaller, faults: [...outer.map((e) => told(e, "wide")), ...tall.map((e) => told(e, "tall"))] };
  }

  return { contents, ready, headings, fit };
})();
