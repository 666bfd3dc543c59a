// For readers without a mouse: boxes that scroll can be focused, arrows of the menu have names.
(function () {
  "use strict";
  const BOXES = "pre, table, .text_html, .output, .math, mjx-container, .move-forest, .bd-sidebar-primary, .bd-sidebar-secondary";

  // What a box holds may grow when no window was turned: a font that comes late, a fold that opens.
  const sizes = new ResizeObserver(() => reach());
  const watched = new WeakSet();

  function watch(element) {
    if (!watched.has(element)) sizes.observe(element);
    watched.add(element);
  }

  function reach() {
    for (const box of document.querySelectorAll(BOXES)) {
      [box, ...box.children].forEach(watch);
      const style = getComputedStyle(box);
      const scrolls = (over, inner, outer) => /auto|scroll/.test(over) && inner > outer;
      const does = scrolls(style.overflowX, box.scrollWidth, box.clientWidth) || scrolls(style.overflowY, box.scrollHeight, box.clientHeight);
      if (does) box.tabIndex = 0;
      else if (box.getAttribute("tabindex") === "0") box.removeAttribute("tabindex");
    }
  }

  function start() {
    for (const summary of document.querySelectorAll("summary:not([aria-label])")) {
      if (summary.textContent.trim()) continue;
      const link = summary.closest("li")?.querySelector("a");
      summary.setAttribute("aria-label", `Pages below ${link ? link.textContent.trim() : "this one"}`);
    }
    // docutils calls a bibliography a list, and its entries something else.
    document.querySelectorAll(".citation-list[role='list']").forEach((list) => list.removeAttribute("role"));
    reach();
    window.addEventListener("resize", reach);
    window.MathJax?.startup?.promise?.then(reach);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
  window.addEventListener("load", reach);
})();
