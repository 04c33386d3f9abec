"use strict";
document.documentElement.classList.add("scripted");

// A click on a column's head sorts by it, a second one turns the order round; what is not known stays last.
for (const head of document.querySelectorAll("thead th")) {
  head.querySelector("button").addEventListener("click", () => {
    const column = head.cellIndex, table = head.closest("table"), body = table.tBodies[0];
    const numeric = head.classList.contains("number");
    const sorted = head.getAttribute("aria-sort");
    const order = sorted ? (sorted === "ascending" ? -1 : 1) : numeric ? -1 : 1;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.cells[column];
      if (!numeric) return cell.textContent;
      return cell.dataset.v === "" ? null : Number(cell.dataset.v);
    };
    const unknown = (value) => value === null || value === "-";
    const rows = Array.from(body.rows).map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
      return order * (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    });
    body.append(...rows.map(([, row]) => row));
  });
}

// Rows that hold all the words.
for (const input of document.querySelectorAll(".filter input")) {
  const rows = Array.from(input.closest(".table").querySelectorAll("tbody tr"));
  const output = input.closest(".filter").querySelector("output");
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = Array.from(row.cells, (cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    output.textContent = `${shown} of ${rows.length} rows`;
  };
  input.addEventListener("input", filter);
  filter();
}

// How much of a table is to the right of what is seen.
const beyond = (frame) => {
  const edge = frame.getBoundingClientRect().right + 2;
  const hidden = Array.from(frame.querySelectorAll("thead th")).filter((head) => head.getBoundingClientRect().right > edge);
  const said = frame.previousElementSibling;
  said.classList.toggle("on", hidden.length > 0);
  said.textContent = `${hidden.length} more column${hidden.length === 1 ? "" : "s"}: scroll to the right \u2192`;
};
const watched = new ResizeObserver((frames) => frames.forEach((one) => beyond(one.target)));
for (const frame of document.querySelectorAll(".scroll")) {
  frame.addEventListener("scroll", () => beyond(frame), { passive: true });
  watched.observe(frame);
}

// A drawing as a file that needs no style sheet: what it looks like here is written into it.
const LOOKS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity", "font-size", "font-weight", "font-family", "paint-order"];
const alone = (drawing) => {
  const copy = drawing.cloneNode(true);
  const copies = copy.querySelectorAll("*");
  drawing.querySelectorAll("*").forEach((one, place) => {
    const looks = getComputedStyle(one);
    for (const name of LOOKS) copies[place].setAttribute(name, looks.getPropertyValue(name));
    copies[place].removeAttribute("class");
  });
  copy.setAttribute("style", `background: ${getComputedStyle(document.body).backgroundColor}`);
  return new XMLSerializer().serializeToString(copy);
};
for (const button of document.querySelectorAll(".save button")) {
  button.addEventListener("click", () => {
    const shown = Array.from(button.closest("figure").querySelectorAll("svg")).filter((one) => one.getClientRects().length);
    shown.forEach((drawing, place) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([alone(drawing)], { type: "image/svg+xml" }));
      const name = drawing.getAttribute("aria-label").replace(/[^A-Za-z0-9]+/g, "-").slice(0, 60);
      link.download = `${name || "figure"}${place ? `-${place + 1}` : ""}.svg`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  });
}

// Paper has nothing to click on.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open])")) {
    fold.open = true;
    fold.dataset.folded = "yes";
  }
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-folded]")) {
    fold.open = false;
    delete fold.dataset.folded;
  }
});
