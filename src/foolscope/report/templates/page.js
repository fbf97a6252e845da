"use strict";
for (const figure of document.querySelectorAll("figure.chart")) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  // The expression interpreter (ast) instead of eval, which the page's policy forbids.
  vegaEmbed(figure.querySelector(".plot"), spec, {
    actions: false, renderer: "svg", ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true },
  });
}

for (const gallery of document.querySelectorAll(".gallery")) {
  const show = (choice) => {
    for (const view of gallery.querySelectorAll(".view")) view.hidden = view.dataset.choice !== choice;
  };
  gallery.addEventListener("change", (event) => show(event.target.value));
  // A browser may come back to the page with another choice than the one it was made with.
  show(gallery.querySelector("input:checked").value);
}

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const falling = heading.getAttribute("aria-sort") === "ascending";
    const rank = (row) => {
      const cell = row.cells[column];
      if (!("key" in cell.dataset)) return cell.textContent.trim();
      // Infinite and missing values ("inf", "nan") go last.
      const key = Number(cell.dataset.key);
      return Number.isNaN(key) ? Infinity : key;
    };
    const compare = (a, b) => {
      const x = rank(a), y = rank(b);
      if (typeof x === "number" && typeof y === "number") return x === y ? 0 : x - y;
      return String(x).localeCompare(String(y), undefined, { numeric: true });
    };
    const rows = [...body.rows].sort(compare);
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    body.append(...(falling ? rows.reverse() : rows));
  }));
}
