"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (where, what) => [...where.querySelectorAll(what)];

  // The table: sorted and filtered in place. A figure that is missing stays at the end.
  const table = $("variants");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const key = (row, name) => name === "name" ? row.cells[0].dataset.s : row.querySelector(`td[data-key="${name}"]`).dataset.s;
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  let sorted = { name: "", way: 1 };
  const sort = (name, way) => {
    sorted = { name, way };
    const known = name ? rows.filter((row) => key(row, name) !== undefined) : rows;
    const rest = rows.filter((row) => !known.includes(row));
    const order = name ? [...known].sort((a, b) => way * compare(key(a, name), key(b, name))) : known;
    body.append(...order, ...rest);
    all(table, "th[data-key]").forEach((head) => head.setAttribute("aria-sort",
      head.dataset.key !== name ? "none" : way > 0 ? "ascending" : "descending"));
    $("sort-by").value = name;
  };
  // What is more of a good thing comes first: accuracies fall, costs and names rise.
  const first = (name) => name === "accuracy" || name === "delta" || name === "n" ? -1 : 1;
  all(table, "button.sort").forEach((button) => button.addEventListener("click", () => {
    const name = button.dataset.sort;
    const again = sorted.name === name;
    if (again && sorted.way !== first(name)) sort("", 1);
    else sort(name, again ? -sorted.way : first(name));
  }));

  const filter = () => {
    const sought = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = $("only-verdict").value;
    const group = $("only-group") ? $("only-group").value : "";
    let shown = 0;
    const off = new Set();
    rows.forEach((row) => {
      const fits = sought.every((word) => words.get(row).includes(word))
        && (!verdict || row.dataset.verdict === verdict) && (!group || row.dataset.group === group);
      row.hidden = !fits;
      if (fits) shown += 1; else off.add(row.dataset.v);
    });
    all(document, "figure[data-v], g[data-v]").forEach((one) => one.classList.toggle("off", off.has(one.dataset.v)));
    $("shown").textContent = shown === rows.length ? `${shown} variants` : `${shown} of ${rows.length} variants`;
  };
  $("tools").hidden = false;
  $("find").addEventListener("input", filter);
  ["only-verdict", "only-group"].forEach((id) => $(id) && $(id).addEventListener("change", filter));
  $("sort-by").addEventListener("change", (event) => sort(event.target.value, first(event.target.value)));
  filter();

  // The trials behind a number, in a panel over the page.
  const panel = $("panel");
  const open = (variants, trial) => {
    const copies = variants.map((one) => $(`v${one}`)).filter(Boolean).map((one) => {
      const copy = one.cloneNode(true);
      [copy, ...all(copy, "[id]")].forEach((inner) => {
        inner.classList.toggle("here", trial !== undefined && inner.id === `t${trial}`);
        inner.removeAttribute("id");
      });
      return copy;
    });
    $("behind").replaceChildren(...copies);
    hide();
    panel.showModal();
    panel.scrollTop = 0;
  };
  const behind = (mark) => { if (mark.dataset.v !== undefined) open([mark.dataset.v]); };
  $("close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });

  // What is under the pointer, or has the focus.
  const tip = $("tip");
  const variantOf = (trial) => $(`t${trial}`).closest("article");
  const told = (mark) => {
    if (mark.dataset.t === undefined) return mark.getAttribute("aria-label");
    const { seed, accuracy, trial } = $(`t${mark.dataset.t}`).dataset;
    return `${variantOf(mark.dataset.t).dataset.name}, seed ${seed}: ${accuracy} % (trial ${trial})`;
  };
  const hide = () => { tip.hidden = true; };
  const show = (mark) => {
    tip.textContent = told(mark);
    tip.hidden = false;
    const at = mark.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const left = at.left + at.width / 2 - own.width / 2;
    const top = at.top - own.height - 8;
    tip.style.left = `${Math.max(8, Math.min(left, innerWidth - own.width - 8))}px`;
    tip.style.top = `${top < 8 ? at.bottom + 8 : top}px`;
  };
  const MARKS = "svg [data-t], svg .mark";
  // Without a mark under the pointer, of that which has the focus: it may have been scrolled to.
  const tell = (mark) => {
    const shown = mark || document.activeElement.closest(MARKS);
    if (shown && !panel.open) show(shown); else hide();
  };
  document.addEventListener("pointerover", (event) => tell(event.target.closest(MARKS)));
  document.addEventListener("focusin", (event) => tell(event.target.closest(MARKS)));
  document.addEventListener("focusout", hide);
  addEventListener("scroll", () => {
    tell(document.querySelector("svg [data-t]:hover, svg .mark:hover"));
  }, { passive: true, capture: true });
  document.addEventListener("click", (event) => {
    const mark = event.target.closest(MARKS);
    const link = event.target.closest("a[data-v]");
    if (mark && mark.dataset.t !== undefined) {
      open([variantOf(mark.dataset.t).id.slice(1)], mark.dataset.t);
    } else if (mark) {
      behind(mark);
    } else if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      open(link.dataset.v.split(" "));
    }
  });

  // One stop of the tab key a chart; the arrows go on from there.
  all(document, "svg").forEach((chart) => {
    const marks = all(chart, ".mark");
    if (!marks.length) return;
    marks[0].setAttribute("tabindex", "0");
    chart.addEventListener("keydown", (event) => {
      const here = marks.indexOf(event.target);
      if (here < 0) return;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) marks[(here + step + marks.length) % marks.length].focus();
      else if (event.key === "Enter" || event.key === " ") behind(marks[here]);
      else if (event.key === "Escape") hide();
      else return;
      event.preventDefault();
    });
  });

  // Paper unfolds nothing by itself.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all(document, "details:not([open])");
    folded.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
})();
