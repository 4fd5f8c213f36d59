"use strict";

// The indices of `values` in sorted order; missing values ("") come last in both directions, and ties keep their order.
function order(values, descending) {
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  return values.map((_, place) => place).sort((i, j) => {
    const [a, b] = [values[i], values[j]];
    if (a === "" || b === "") return (a === "") - (b === "");
    return descending ? compare(b, a) : compare(a, b);
  });
}

// Numbers are sorted from the greatest, names from A; a second click reverses that, a third restores the suite's order.
function makeSortable(table) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button"), name = head.textContent;
    button.type = "button";
    button.textContent = name;
    head.replaceChildren(button);
    const turns = column ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
    button.addEventListener("click", () => {
      const turn = turns[(turns.indexOf(head.getAttribute("aria-sort") ?? "none") + 1) % 3];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (turn !== "none") head.setAttribute("aria-sort", turn);
      const values = rows.map((row) => (turn === "none" ? "" : row.cells[column].dataset.value));
      body.append(...order(values, turn === "descending").map((place) => rows[place]));
      document.getElementById("sorted").textContent = `Sorted by ${name}: ${turn === "none" ? "as in the suite" : turn}`;
    });
  });
}

function offerRules() {
  const choice = document.getElementById("rules");
  if (!choice) return;
  const parts = [...document.querySelectorAll(".rule")];
  const show = () => {
    const chosen = choice.querySelector(":checked").value;
    parts.forEach((part) => { part.hidden = part.dataset.rule !== chosen; });
  };
  choice.hidden = parts.length < 2;
  choice.addEventListener("change", show);
  show();
}

// The dialog element itself handles Esc and the focus.
function enlargePictures() {
  const dialog = document.getElementById("large"), image = dialog.querySelector("img");
  const all = [...document.querySelectorAll(".enlarge img")];
  let place = 0;
  const show = (next) => {
    place = (next + all.length) % all.length;
    image.src = all[place].src;
    image.alt = all[place].alt;
    document.getElementById("large-name").textContent = all[place].alt;
  };
  all.forEach((small, index) => small.parentElement.addEventListener("click", () => { show(index); dialog.showModal(); }));
  dialog.querySelectorAll("[value]").forEach((turn) => turn.addEventListener("click", () => show(place + Number(turn.value))));
  const whole = document.getElementById("whole");
  whole.addEventListener("click", () => whole.setAttribute("aria-pressed", image.parentElement.classList.toggle("fit")));
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { event.preventDefault(); show(place + step); }
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

if (typeof document !== "undefined") {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  offerRules();
  enlargePictures();
}
