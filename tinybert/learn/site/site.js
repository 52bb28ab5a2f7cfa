"use strict";
// Search as you type: every word must occur; titles count more than text.
const root = document.documentElement.dataset.root;
const input = document.getElementById("search");
const results = document.getElementById("results");

function find(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const page of words.length ? PAGES : []) {
    const title = page.title.toLowerCase(), text = page.text.toLowerCase();
    let score = 0;
    for (const word of words) {
      const inTitle = title.includes(word), count = text.split(word).length - 1;
      if (!inTitle && !count) { score = 0; break; }
      score += (inTitle ? 20 : 0) + Math.min(count, 10);
    }
    if (score && text.includes(words.join(" "))) score += 10;
    if (score) found.push([score, page]);
  }
  return found.sort((a, b) => b[0] - a[0]).map(pair => pair[1]);
}

// The text around the words: together if the page has them so, else around the first.
function excerpt(page, query) {
  const text = page.text.toLowerCase(), words = query.toLowerCase().split(/\s+/);
  const phrase = text.indexOf(words.join(" "));
  const at = phrase < 0 ? text.indexOf(words[0]) : phrase;
  if (at < 60) return page.text.slice(0, 150);
  const start = page.text.indexOf(" ", at - 60) + 1;
  return "… " + page.text.slice(start, start + 150);
}

function show() {
  const query = input.value.trim(), found = find(query);
  results.hidden = !query;
  results.replaceChildren();
  const count = document.createElement("p");
  count.textContent = `${found.length} found`;
  results.append(count);
  const list = document.createElement("ul");
  for (const page of found.slice(0, 30)) {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = root + page.path;
    link.textContent = page.title;
    const text = document.createElement("div");
    text.className = "quiet";
    text.textContent = excerpt(page, query);
    const kind = document.createElement("span");
    kind.className = "quiet";
    kind.textContent = page.path.includes("/") ? " " + page.path.split("/")[0] : "";
    item.append(link, kind, text);
    list.append(item);
  }
  results.append(list);
}

input.addEventListener("input", show);
input.form.addEventListener("submit", event => event.preventDefault());
input.addEventListener("keydown", event => {
  if (event.key === "Escape") { input.value = ""; show(); }
  if (event.key === "Enter") results.querySelector("a")?.click();
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== input) { event.preventDefault(); input.focus(); }
});

// The names of an API page: open where they are at the side.
const contents = document.querySelector("details.contents");
if (contents && matchMedia("(min-width: 1100px)").matches) contents.open = true;
