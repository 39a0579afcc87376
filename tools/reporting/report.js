"use strict";
// A click on a heading sorts its table: up, then down. Cells without a number go last.
function order(row, column) {
  const cell = row.cells[column];
  return cell.dataset.order === undefined ? cell.textContent.trim() : Number(cell.dataset.order);
}

function compare(a, b) {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [order(row, heading.cellIndex), row]);
    const isNumeric = rows.some(([value]) => typeof value === "number");
    const known = rows.filter(([value]) => !isNumeric || typeof value === "number");
    const unknown = rows.filter((row) => !known.includes(row));
    known.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
    body.append(...[...known, ...unknown].map(([, row]) => row));
  });
}
