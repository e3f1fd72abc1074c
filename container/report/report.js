"use strict";
// Sorting, filtering and the map's readout. Without this script the page shows all the same.

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    // No <button>: Chromium leaves it out where a printed table's head is repeated.
    const button = document.createElement("span");
    button.setAttribute("role", "button");
    button.tabIndex = 0;
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      button.click();
    });
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const upwards = head.ariaSort ? head.ariaSort === "descending" : !numeric;
      const value = (row) => {
        const cell = row.cells[column];
        if (!numeric) return cell.textContent.trim();
        const text = cell.dataset.v ?? cell.textContent.replaceAll(",", "");
        return text === "" || Number.isNaN(Number(text)) ? -Infinity : Number(text);
      };
      const compare = (a, b) => (numeric ? value(a) - value(b) : value(a).localeCompare(value(b), "en"));
      body.append(...[...body.rows].sort((a, b) => (upwards ? compare(a, b) : compare(b, a))));
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    });
  });
}

for (const table of document.querySelectorAll("table[data-filter]")) {
  const label = document.createElement("label");
  label.className = "filter";
  const input = document.createElement("input");
  input.type = "search";
  label.append(table.dataset.filter, input);
  table.closest(".table").prepend(label);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of table.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}

const readout = document.querySelector(".readout");
const counties = document.querySelector(".counties");
if (readout && counties) {
  const invitation = "Point at a county, or tap it, for its numbers.";
  readout.hidden = false;
  readout.textContent = invitation;
  const show = (event) => {
    const title = event.target.closest("path")?.querySelector("title");
    if (title) readout.textContent = title.textContent;
  };
  counties.addEventListener("pointerover", show);
  counties.addEventListener("click", show);
  counties.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") readout.textContent = invitation;
  });
}
