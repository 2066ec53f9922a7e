// A table of class "sortable" is sorted by the column whose button is pressed, upwards and then downwards.
for (const table of document.querySelectorAll("table.sortable")) {
  const value = (row, k) => row.cells[k].dataset.value ?? row.cells[k].innerText;
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  table.querySelectorAll("th button").forEach((button) =>
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (up ? 1 : -1) * compare(value(a, head.cellIndex), value(b, head.cellIndex)));
      table.tBodies[0].append(...rows);
    }),
  );
}

// On a telephone the columns that hold sentences are not squeezed.
for (const cell of document.querySelectorAll("table.table td")) {
  cell.classList.toggle("sentence", cell.textContent.length > 30);
}
