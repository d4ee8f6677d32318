(() => {
  const data = JSON.parse(document.getElementById("field-rows").textContent);
  const filter = document.getElementById("well-filter");
  const section = document.getElementById("chosen");
  const add = (parent, tag, text = "") => {
    const element = parent.appendChild(document.createElement(tag));
    element.textContent = text;
    return element;
  };

  // A picture alone on its row is twice as large.
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button.zoom") : null;
    if (!button) return;
    const large = button.closest("figure").classList.toggle("large");
    button.setAttribute("aria-expanded", String(large));
  });
  for (const button of all("button.zoom")) button.disabled = false;

  const choices = all("#quantities input");
  function draw() {
    const shown = choices.find((choice) => choice.checked);
    for (const map of all(".map[data-q]")) map.hidden = map.dataset.q !== shown.value;
  }
  if (choices.length) {
    document.getElementById("quantities").hidden = false;
    for (const choice of choices) choice.addEventListener("change", draw);
    draw();
  }

  function table(rows) {
    const body = document.getElementById("chosen-rows");
    body.textContent = "";
    for (const row of rows) {
      const line = add(body, "tr");
      row.forEach((value, place) => {
        const broken = Array.isArray(value);
        const cell = add(line, "td", broken ? value[0] : value);
        cell.className = (data.numbers[place] ? "n" : "") + (broken ? " low" : "");
      });
    }
  }

  const choose = wellMaps((id, name) => {
    section.hidden = id === null;
    filter.textContent = "";
    if (id === null) return;
    filter.textContent = `${name} is chosen.`;
    document.getElementById("chosen-name").textContent = name;
    table(data.rows[id] || []);
    const pictures = document.getElementById("chosen-pictures");
    pictures.textContent = "";
    for (const figure of all(`#overlays figure[data-w="${id}"]`))
      pictures.append(figure.cloneNode(true));
    document.getElementById("no-pictures").hidden = pictures.childElementCount > 0;
  });

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button.to-well") : null;
    if (!button || !choose) return;
    choose(button.dataset.w);
    section.scrollIntoView();
    section.focus();
  });
  for (const button of all("button.to-well")) button.disabled = false;
})();
