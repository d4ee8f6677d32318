"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Wells of all maps: they tell their figures in the panel and can be chosen by pointer and keys.
// `onChoice(id, name)` is called with nulls where none is chosen. Returns the function that chooses.
function wellMaps(onChoice) {
  const wells = all("g.w");
  const panel = document.getElementById("well");
  if (!panel) return null;
  const figures = document.getElementById("well-figures");
  const showAll = document.getElementById("show-all");
  const toCells = document.getElementById("to-cells");
  const hint = figures.textContent;
  const names = new Map();
  const words = new Map();
  let chosen = null;

  for (const well of wells) {
    const title = well.querySelector("title");
    const id = well.dataset.w;
    words.set(id, title.textContent);
    if (well.dataset.n) names.set(id, well.dataset.n);
    well.setAttribute("aria-label", title.textContent);
    title.remove();
    well.setAttribute("role", "button");
    well.setAttribute("aria-pressed", "false");
    well.tabIndex = -1;
  }
  for (const map of all(".map svg")) {
    const first = map.querySelector("g.w");
    if (first) first.tabIndex = 0;
  }
  panel.hidden = false;

  function show(id) {
    figures.textContent = id === null ? hint : words.get(id);
    for (const well of wells) well.classList.toggle("hot", well.dataset.w === id);
  }

  function choose(id) {
    chosen = id;
    for (const well of wells) {
      const pressed = well.dataset.w === id;
      if ((well.getAttribute("aria-pressed") === "true") !== pressed)
        well.setAttribute("aria-pressed", String(pressed));
    }
    showAll.hidden = toCells.hidden = id === null;
    onChoice(id, id === null ? null : names.get(id));
    show(id);
  }

  function near(from, dx, dy) {
    const at = (well) => {
      const box = well.querySelector("rect");
      return [Number(box.getAttribute("x")), Number(box.getAttribute("y"))];
    };
    const [x, y] = at(from);
    let best = null;
    let least = Infinity;
    for (const well of all("g.w", from.ownerSVGElement)) {
      const [u, v] = at(well);
      const along = (u - x) * dx + (v - y) * dy;
      const across = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      if (along > 0 && along + 3 * across < least) {
        least = along + 3 * across;
        best = well;
      }
    }
    return best;
  }

  const wellOf = (event) => (event.target instanceof Element ? event.target.closest("g.w") : null);
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  document.addEventListener("pointerover", (event) => {
    const well = wellOf(event);
    if (well) show(well.dataset.w);
  });
  document.addEventListener("pointerout", (event) => {
    if (wellOf(event)) show(chosen);
  });
  document.addEventListener("focusin", (event) => {
    const well = wellOf(event);
    if (!well) return;
    for (const other of all("g.w", well.ownerSVGElement)) other.tabIndex = other === well ? 0 : -1;
    show(well.dataset.w);
  });
  document.addEventListener("focusout", (event) => {
    if (wellOf(event)) show(chosen);
  });
  document.addEventListener("click", (event) => {
    const well = wellOf(event);
    if (well) choose(chosen === well.dataset.w ? null : well.dataset.w);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen !== null) choose(null);
    const well = wellOf(event);
    if (!well) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(chosen === well.dataset.w ? null : well.dataset.w);
    } else if (event.key in arrows) {
      event.preventDefault();
      const next = near(well, ...arrows[event.key]);
      if (next) next.focus();
    }
  });
  showAll.addEventListener("click", () => choose(null));
  return choose;
}
