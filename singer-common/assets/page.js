"use strict";
// Filters, searches and sorts what is on the page. The page is complete without it.
// `data-tools`: shown only with this script. `data-list`: a list with tools of its own. `data-item`: what is filtered.
// `data-own`: the part of an item that is searched, for an item with other items in it.
(() => {
  const all = (query, root) => [...root.querySelectorAll(query)];
  for (const tools of all("[data-tools]", document)) tools.hidden = false;

  for (const list of all("[data-list]", document)) {
    const search = list.querySelector("[data-search]");
    const said = list.querySelector("[data-shown]");
    const kinds = all("[data-show]", list);
    const groups = all("[data-group]", list);
    const stream = list.querySelector("[data-streams]");
    const unit = said ? said.dataset.shown : "";
    let items, kind = "", wasOpen;

    // The texts are taken once, at the first use: a plan may have many thousand.
    const collect = () => {
      const heads = /AttributeWasWill be/g;
      items = all("[data-item]", list).map(element => {
        const own = all("[data-own]", element).filter(part => part.closest("[data-item]") === element);
        const text = (own.length ? own : [element]).map(part => part.textContent).join(" ");
        return { element, kinds: (element.dataset.kind || "").split(" "), stream: element.dataset.stream,
          text: text.replace(heads, " ").toLowerCase() };
      });
    };
    const apply = () => {
      if (!items) collect();
      const words = (search ? search.value : "").toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = stream ? stream.value : "";
      const shown = new Set();
      let count = 0;
      for (const item of items) {
        if (kind && !item.kinds.includes(kind)) continue;
        if (wanted && item.stream !== wanted) continue;
        if (!words.every(word => item.text.includes(word))) continue;
        count++;
        // With what contains it.
        for (let at = item.element; at && at !== list && !shown.has(at); at = at.parentElement.closest("[data-item]")) shown.add(at);
      }
      const filters = words.length > 0 || kind !== "" || wanted !== "";
      for (const { element } of items) element.hidden = !shown.has(element);
      for (const group of groups) {
        const its = all("[data-item]", group);
        const left = its.filter(item => !item.hidden).length;
        group.hidden = left === 0;
        const number = group.querySelector("[data-count]");
        if (number) number.textContent = left === its.length ? number.dataset.count : left.toLocaleString("en") + " of " + number.dataset.count;
      }
      fold(words.length > 0, shown);
      if (said) said.textContent = filters ? count.toLocaleString("en") + " of " + items.length.toLocaleString("en") + " " + unit + " shown" : items.length.toLocaleString("en") + " " + unit;
      const nothing = list.querySelector("[data-nothing]");
      if (nothing) nothing.hidden = count > 0;
    };
    // A search opens what leads to its results, and its end restores what was open.
    const fold = (searching, shown) => {
      const branches = all("details[data-branch]", list);
      if (searching && !wasOpen) wasOpen = new Set(branches.filter(one => one.open));
      if (searching) {
        for (const one of branches) one.open = all("[data-item]", one).some(item => shown.has(item));
      } else if (wasOpen) {
        for (const one of branches) one.open = wasOpen.has(one);
        wasOpen = undefined;
      }
    };
    for (const button of kinds) button.addEventListener("click", () => {
      kind = button.dataset.show === kind ? "" : button.dataset.show;
      for (const other of kinds) other.setAttribute("aria-pressed", String(other.dataset.show === kind));
      apply();
    });
    if (stream) stream.addEventListener("change", apply);
    if (search) {
      search.addEventListener("input", apply);
      search.addEventListener("keydown", event => {
        if (event.key === "Escape" && search.value) { search.value = ""; apply(); event.preventDefault(); }
      });
    }
    for (const button of all("[data-fold]", list)) button.addEventListener("click", () => {
      const open = button.dataset.fold === "open";
      for (const one of all("details[data-branch]", list)) one.open = open;
    });
    for (const button of all("[data-order]", list)) button.addEventListener("click", () => {
      for (const other of all("[data-order]", list)) other.setAttribute("aria-pressed", String(other === button));
      for (const branch of all("[data-siblings]", list)) {
        const siblings = [...branch.children];
        siblings.forEach((one, at) => { one.dataset.place = one.dataset.place || String(at); });
        const by = button.dataset.order === "entries" ? one => -Number(one.dataset.entries) : one => Number(one.dataset.place);
        branch.append(...siblings.sort((a, b) => by(a) - by(b) || a.dataset.place - b.dataset.place));
      }
    });
  }

  for (const head of all("th[data-sort]", document)) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const table = head.closest("table"), body = table.tBodies[0], at = head.cellIndex;
      const isNumber = head.dataset.sort === "number";
      const was = head.getAttribute("aria-sort");
      const up = was ? was === "descending" : !isNumber;
      for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = row => isNumber ? Number(row.cells[at].dataset.value || 0) : row.cells[at].textContent.toLowerCase();
      const rows = [...body.rows].map(row => [value(row), row]);
      rows.sort(([a], [b]) => (a > b ? 1 : b > a ? -1 : 0) * (up ? 1 : -1));
      body.append(...rows.map(([, row]) => row));
    });
  }

  document.addEventListener("keydown", event => {
    const search = document.querySelector("[data-search]");
    if (event.key === "/" && search && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) { search.focus(); event.preventDefault(); }
  });
  // What is printed is whole.
  addEventListener("beforeprint", () => { for (const one of all("details", document)) one.open = true; });
})();
