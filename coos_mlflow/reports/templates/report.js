(() => {
  const cells = all("figure[data-w]");
  const filter = document.getElementById("well-filter");
  const list = document.getElementById("cells");
  const none = document.getElementById("no-cells");
  const opened = new Map();

  wellMaps((id, name) => {
    for (const cell of cells) cell.hidden = id !== null && cell.dataset.w !== id;
    const own = (element) => element.querySelector("figure[data-w]:not([hidden])") !== null;
    for (const group of all(".group")) group.hidden = id !== null && !own(group);
    for (const block of all("#cells .class")) block.hidden = id !== null && !own(block);
    for (const details of all("#cells details")) {
      if (!opened.has(details)) opened.set(details, details.open);
      details.open = id !== null || opened.get(details);
    }
    if (id === null) opened.clear();
    none.hidden = id === null || cells.some((cell) => !cell.hidden);
    list.classList.toggle("filtered", id !== null);
    filter.textContent = id === null ? "" : `Showing the cells of ${name} alone.`;
  });
})();
