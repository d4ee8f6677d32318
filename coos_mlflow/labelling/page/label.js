"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const screens = ["work", "all-done", "result", "closed"];
  const NOTHING_THERE = "The program has ended. Your labels are kept: start coos label again.";
  const NOT_UNDERSTOOD = "The answer of coos label cannot be read. Your labels are kept; look at its terminal.";
  let state = null; // what the server said last
  let classes = []; // by key, name, short, fill, ink
  let busy = false; // a key pressed while an answer travels was meant for the cell before

  const add = (parent, tag, text = "", kind = "") => {
    const element = parent.appendChild(document.createElement(tag));
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const picture = (parent, source, words) => {
    const image = add(parent, "img");
    image.src = source;
    image.alt = words;
  };

  // Asks the server. Returns null where it refuses, after showing its sentence and the cell that
  // it asks for.
  async function ask(path, body) {
    if (busy) return null;
    busy = true;
    let answer;
    try {
      const headers = { "X-Token": token, "Content-Type": "application/json" };
      const method = body === undefined ? "GET" : "POST";
      answer = await fetch(`/api/${path}`, { method, headers, body: JSON.stringify(body) });
      const said = await answer.json();
      if (!answer.ok && said.state) show(said.state);
      say(answer.ok ? "" : said.error);
      return answer.ok ? said : null;
    } catch {
      say(answer ? NOT_UNDERSTOOD : NOTHING_THERE);
      return null;
    } finally {
      busy = false;
    }
  }

  function say(sentence) {
    one("error").textContent = sentence;
    one("error").hidden = !sentence;
  }

  function screen(name) {
    for (const id of screens) one(id).hidden = id !== name;
    one("finish").hidden = name !== "work";
  }

  function show(now) {
    const before = state?.cell?.number;
    state = now;
    one("progress").textContent = `${now.done} of ${now.target}`;
    one("bar").max = now.target;
    one("bar").value = now.done;
    one("width").textContent = now.width;
    one("finish").disabled = now.done === 0;
    for (const button of [one("undo"), one("undo-last")]) {
      button.disabled = now.last === null;
      button.querySelector("span").textContent = now.last === null ? "Undo" : `Undo: ${now.last}`;
    }
    if (now.cell === null) return allDone();
    screen("work");
    if (now.cell.number !== before) {
      for (const channel of ["composite", "protein", "nucleus"])
        one(channel).src = now.cell.pictures[channel];
      hideNeighbours();
    }
  }

  function allDone() {
    one("all-done-title").textContent = `All ${state.target} cells are labelled`;
    const all = state.all ? "These are all cells of the plate that can be labelled. " : "";
    const last = state.last === null ? "" : "The last label can still be undone.";
    one("all-done-text").textContent = all + last;
    one("more-cells").hidden = state.all;
    screen("all-done");
    one("measure").focus();
  }

  function hideNeighbours() {
    one("neighbours").hidden = true;
    one("neighbours-open").setAttribute("aria-expanded", "false");
  }

  async function toggleNeighbours() {
    if (!one("neighbours").hidden) return hideNeighbours();
    const found = await ask(`neighbours/${state.cell.number}`);
    if (found === null) return;
    const box = one("neighbours");
    box.replaceChildren();
    for (const source of found.pictures) picture(box, source, "A cell of the same well");
    if (!found.pictures.length) add(box, "p", "This well has no other cell.", "soft");
    box.hidden = false;
    one("neighbours-open").setAttribute("aria-expanded", "true");
  }

  async function answer(name) {
    if (!state?.cell || one("work").hidden) return;
    const now = await ask("label", { cell: state.cell.number, answer: name });
    if (now) show(now);
  }

  async function undo() {
    if (!state || state.last === null || one("closed").hidden === false) return;
    if (!one("result").hidden) return;
    const now = await ask("undo", {});
    if (now) show(now);
  }

  async function more() {
    const now = await ask("more", {});
    if (now) show(now);
  }

  function mayFinish() {
    if (!state?.done) return;
    if (state.cell === null) return finish();
    one("sure-text").textContent =
      `${state.done} of ${state.target} cells are labelled. Fewer cells give a wider range; ` +
      "you can go on afterwards.";
    one("sure").showModal();
  }

  async function finish() {
    one("measure").disabled = one("finish").disabled = true;
    one("progress").textContent = "Measuring the error and writing the report";
    const found = await ask("finish", {});
    one("measure").disabled = false;
    show(found ? found.state : state);
    if (found) result(found);
  }

  function sign(parent, kind) {
    const mark = add(parent, "span", kind.short, "sign");
    mark.style.background = kind.fill;
    mark.style.color = kind.ink;
    return mark;
  }

  function result(found) {
    const [title, value, range] = one("measured").children;
    title.textContent = found.title;
    value.textContent = found.value;
    range.textContent = found.range;
    one("facts").replaceChildren();
    for (const fact of found.facts) add(one("facts"), "li", fact);
    confusion(found.confusion);
    one("report").href = `/report?token=${encodeURIComponent(token)}`;
    one("report-path").textContent = found.report;
    one("go-on").textContent = state.cell ? "Go on labelling" : "Label 50 more";
    one("go-on").hidden = state.all && !state.cell;
    screen("result");
    scrollTo(0, 0);
  }

  function confusion(counts) {
    const table = one("confusion");
    table.replaceChildren();
    const head = add(add(table, "thead"), "tr");
    add(head, "td");
    for (const label of counts.columns) {
      const title = add(head, "th");
      title.scope = "col";
      sign(title, classes[label]).title = classes[label].name;
    }
    const body = add(table, "tbody");
    for (const row of counts.rows) {
      const line = add(body, "tr");
      const title = add(line, "th");
      title.scope = "row";
      if (row.label !== null) sign(title, classes[row.label]);
      add(title, "span", ` ${row.name}`);
      row.cells.forEach((count, place) => {
        const same = counts.columns[place] === row.label;
        add(line, "td", count, same ? "same" : count ? "" : "zero");
      });
    }
  }

  async function close() {
    if ((await ask("close", {})) === null) return;
    screen("closed");
  }

  function begin(found) {
    classes = found.classes;
    for (const kind of classes) {
      const button = add(one("classes"), "button", "", "answer class");
      button.type = "button";
      if (kind.key) {
        add(button, "kbd", kind.key);
        button.setAttribute("aria-keyshortcuts", kind.key);
      }
      sign(button, kind);
      add(button, "span", kind.name, "name");
      const known = add(button, "span", "", "known");
      for (const source of kind.pictures) picture(known, source, "");
      button.addEventListener("click", once(() => answer(kind.name)));
    }
    const last = classes.findLast((kind) => kind.key).key;
    const keys = [
      [`${classes[0].key} to ${last}`, "the classes, as their buttons say"],
      ["0", "none of these"],
      ["x", "cannot see"],
      ["u or Backspace", "undo the last label"],
      ["n", "other cells of the same well"],
      ["?", "this help"],
    ];
    for (const [names, words] of keys) {
      const row = add(one("keys"), "tr");
      const cell = add(row, "td");
      for (const word of names.split(" "))
        if (["to", "or"].includes(word)) cell.append(` ${word} `);
        else add(cell, "kbd", word);
      add(row, "td", words);
    }
    one("none").addEventListener("click", once(() => answer(found.none)));
    one("unseen").addEventListener("click", once(() => answer(found.unseen)));
    byKey = new Map(classes.filter((kind) => kind.key).map((kind) => [kind.key, () => answer(kind.name)]));
    byKey.set("0", () => answer(found.none)).set("x", () => answer(found.unseen));
    byKey.set("u", undo).set("Backspace", undo).set("n", () => state?.cell && toggleNeighbours());
    byKey.set("?", () => one("help").showModal());
    document.title = `Label cells of ${found.plate}`;
    show(found.state);
  }
  let byKey = new Map();

  // The second click of a double click would label the next cell unseen.
  const once = (act) => (event) => {
    if (event.detail < 2) act();
  };

  document.addEventListener("keydown", (event) => {
    // A held Enter would click a button again and again.
    if (event.repeat && event.target.tagName === "BUTTON") event.preventDefault();
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const act = byKey.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!act) return;
    event.preventDefault();
    act();
  });
  one("help-open").addEventListener("click", () => one("help").showModal());
  one("neighbours-open").addEventListener("click", toggleNeighbours);
  one("undo").addEventListener("click", once(undo));
  one("undo-last").addEventListener("click", once(undo));
  one("finish").addEventListener("click", mayFinish);
  one("measure").addEventListener("click", once(finish));
  one("more-cells").addEventListener("click", once(more));
  one("go-on").addEventListener("click", once(() => (state.cell ? show(state) : more())));
  one("close").addEventListener("click", once(close));
  one("sure").addEventListener("close", () => {
    if (one("sure").returnValue === "yes") finish();
    one("sure").returnValue = "";
  });
  ask("start").then((found) => {
    if (found) begin(found);
    else one("progress").textContent = "";
  });
})();
