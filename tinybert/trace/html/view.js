"use strict";
// The viewer of a record. Its data are written by page.py; nothing is loaded from elsewhere.

const index = JSON.parse(document.getElementById("index").textContent);
const {steps, values, nodes, texts} = index;
const SCREENS = ["step", "text", "stairs", "attention", "gradients", "parameters"];
const WINDOW = 8; // rows and columns of the table of numbers
const parts = nodes.map(() => []);
nodes.forEach((node, place) => node.parent >= 0 && parts[node.parent].push(place));
const isStep = place => !nodes[place].values;
const leaves = [];
nodes.forEach((node, place) => { if (isStep(place)) leaves[node.step] = place; });

// The place in the record, and what is chosen there. `lead` has the index of each leading axis.
const state = {
  place: leaves[index.start], screen: "step", value: null, lead: {}, row: 0, column: 0,
  layer: 0, gradient: false, token: 0, predict: false, revealed: false,
};

// --- elements --------------------------------------------------------------------------------

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-") && value != null) element.setAttribute(name, value); // "true", "false"
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter(child => child != null));
  return element;
}
const button = (text, onclick, attributes = {}) => h("button", {type: "button", onclick, ...attributes}, text);
const link = (text, onclick) => button(text, onclick, {class: "link"});
const byId = id => document.getElementById(id);

function format(x) {
  if (typeof x === "string" || !Number.isFinite(x) || Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  const size = Math.abs(x);
  return size < 1e-3 || size >= 1e5 ? x.toExponential(3) : String(+x.toPrecision(4));
}
const axisNames = value => [...value.axes.padEnd(value.shape.length, ".")];
const shapeText = value =>
  value.shape.map((n, i) => (axisNames(value)[i] === "." ? "" : axisNames(value)[i] + " ") + n).join(" × ") || "scalar";

function inWords(value) {
  const [mean, std, min, max, zeros, nan, inf] = value.statistics;
  return `from ${format(min)} to ${format(max)}, mean ${format(mean)}, std ${format(std)}`
    + (zeros ? `, ${format(100 * zeros)} % zero` : "") + (nan ? `, ${nan} NaN` : "") + (inf ? `, ${inf} infinite` : "");
}

// --- arrays ----------------------------------------------------------------------------------

const ARRAYS = {f4: Float32Array, f8: Float64Array, i4: Int32Array, f2: Uint16Array};
const inflated = new Map(); // block number -> promise of a typed array

function halfOf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24);
}

const halves = new Float32Array(65536).map((_, bits) => halfOf(bits)); // of all bit patterns

async function inflate(value) {
  const text = byId("a" + value.block).textContent;
  const bytes = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new DecompressionStream("deflate-raw"), writer = stream.writable.getWriter();
  writer.write(bytes);
  writer.close();
  const numbers = new ARRAYS[value.form](await new Response(stream.readable).arrayBuffer());
  if (value.form !== "f2") return numbers;
  const scale = 2 ** (value.exponent || 0), found = new Float64Array(numbers.length);
  for (let i = 0; i < found.length; i++) found[i] = halves[numbers[i]] * scale;
  return found;
}

// All numbers of a value, in their order; null if the page has none.
function read(value) {
  if (value.block == null) return Promise.resolve(null);
  const key = `${value.block} ${value.exponent}`;
  if (!inflated.has(key)) {
    if (inflated.size > 200) inflated.delete(inflated.keys().next().value); // the oldest
    inflated.set(key, inflate(value));
  }
  return inflated.get(key);
}

// The name of an axis in `state.lead`: its letter, or that of its place in (B, H, T, T).
function leadName(value, axis) {
  const letter = axisNames(value)[axis];
  return letter !== "." ? letter : value.shape.length === 4 ? "BH"[axis] : "B";
}
const leadAxes = value => value.stored ? [] : value.shape.slice(0, -2).map((_, axis) => axis);
const leadIndex = (value, lead) =>
  leadAxes(value).map(axis => Math.min(lead[leadName(value, axis)] || 0, value.shape[axis] - 1));

// The last two axes of an array, at the chosen places of the others.
async function plane(value, lead = state.lead) {
  const data = await read(value);
  if (!data) return null;
  const shape = value.stored || value.shape;
  const columns = shape.length ? shape[shape.length - 1] : 1, rows = shape.length > 1 ? shape[shape.length - 2] : 1;
  let start = 0;
  leadIndex(value, lead).forEach((n, axis) => { start = start * shape[axis] + n; });
  start *= rows * columns;
  return {rows, columns, at: (r, c) => data[start + r * columns + c]};
}

// --- pictures --------------------------------------------------------------------------------

const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rgb = colour => [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16));

let scheme = null; // the colours of pictures; found once, since to ask for a style is slow

function colours() {
  if (scheme) return scheme;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return scheme = {zero: rgb(style("--back")), low: dark ? [90, 170, 255] : [8, 81, 156],
          high: dark ? [255, 150, 60] : [196, 78, 0], mark: style("--mark"), ink: style("--ink"), back: style("--back")};
}

function colourOf(x, reach, {zero, low, high}) {
  const share = Math.min(1, Math.abs(x) / (reach || 1)), end = x < 0 ? low : high;
  return zero.map((from, i) => Math.round(from + (end[i] - from) * share));
}

// Of each block of a large plane, the number with the largest magnitude; NaN if there is one.
function shrink(source, most) {
  const down = Math.ceil(source.rows / most), across = Math.ceil(source.columns / most);
  if (down === 1 && across === 1) return source;
  return {rows: Math.ceil(source.rows / down), columns: Math.ceil(source.columns / across), at(r, c) {
    let best = 0;
    for (let i = r * down; i < Math.min((r + 1) * down, source.rows); i++)
      for (let j = c * across; j < Math.min((c + 1) * across, source.columns); j++) {
        const x = source.at(i, j);
        if (Number.isNaN(x)) return x;
        if (Math.abs(x) > Math.abs(best)) best = x;
      }
    return best;
  }};
}

// Draw a plane; return the size of a cell. `labels`: tokens of rows and columns, drawn at the side.
function draw(canvas, source, reach, {width, height, largest = 26, labels = null, here = null}) {
  const map = shrink(source, Math.max(64, Math.min(512, width))), scheme = colours();
  let across = Math.max(1, Math.min(largest, Math.floor(width / map.columns)));
  let down = Math.max(1, Math.min(largest, Math.floor(height / map.rows)));
  if (labels) across = down = Math.max(3, Math.min(across, down));
  const context = canvas.getContext("2d"), margin = labels ? 90 : 0;
  canvas.width = map.columns * across + margin;
  canvas.height = map.rows * down + margin;
  context.font = "11px system-ui, sans-serif";
  const small = new OffscreenCanvas(map.columns, map.rows), brush = small.getContext("2d");
  const pixels = brush.createImageData(map.columns, map.rows);
  const nan = rgb(scheme.mark), marked = across > 4 && down > 4, marks = [];
  for (let r = 0, at = 0; r < map.rows; r++) for (let c = 0; c < map.columns; c++, at += 4) {
    const x = map.at(r, c), isNaN = Number.isNaN(x);
    pixels.data.set(isNaN ? marked ? scheme.zero : nan : colourOf(x, reach, scheme), at);
    pixels.data[at + 3] = 255;
    if (marked && (isNaN || Math.abs(x) > reach * 1.0001)) marks.push([isNaN, margin + c * across, margin + r * down]);
  }
  brush.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, margin, margin, map.columns * across, map.rows * down);
  for (const [isNaN, left, top] of marks) { // a cross for NaN, a dot for a number beyond the colours
    context.fillStyle = scheme.ink;
    context.strokeStyle = scheme.mark;
    if (!isNaN) { context.fillRect(left + across / 2 - 1, top + down / 2 - 1, 2, 2); continue; }
    context.beginPath();
    context.moveTo(left + 1, top + 1); context.lineTo(left + across - 1, top + down - 1);
    context.moveTo(left + across - 1, top + 1); context.lineTo(left + 1, top + down - 1);
    context.stroke();
  }
  if (labels) {
    context.fillStyle = scheme.ink;
    context.textBaseline = "middle";
    for (let r = 0; r < map.rows && down > 7; r++) {
      context.textAlign = "right";
      context.fillText(labels[r], margin - 5, margin + (r + .5) * down, margin - 8);
      context.save();
      context.translate(margin + (r + .5) * across, margin - 5);
      context.rotate(-Math.PI / 2);
      context.textAlign = "left";
      context.fillText(labels[r], 0, 0, margin - 8);
      context.restore();
    }
  }
  if (here) {
    const fit = [map.rows / source.rows, map.columns / source.columns];
    context.strokeStyle = scheme.ink;
    context.lineWidth = 2;
    context.strokeRect(margin + Math.floor(here[1] * fit[1]) * across, margin + Math.floor(here[0] * fit[0]) * down,
                       Math.max(across, 4), Math.max(down, 4));
  }
  return event => { // the row and column under the pointer
    const box = canvas.getBoundingClientRect(), zoom = canvas.width / box.width;
    const c = Math.floor(((event.clientX - box.left) * zoom - margin) / across * source.columns / map.columns);
    const r = Math.floor(((event.clientY - box.top) * zoom - margin) / down * source.rows / map.rows);
    return r >= 0 && c >= 0 && r < source.rows && c < source.columns ? [r, c] : null;
  };
}

// --- the place -------------------------------------------------------------------------------

const here = () => nodes[state.place];
const stepHere = () => steps[here().step];

function placeValues() {
  if (!isStep(state.place)) return here().values;
  const {inputs, outputs, saved} = stepHere();
  return [...inputs, ...outputs, ...saved];
}
function chosenValue() {
  const all = placeValues(), step = stepHere();
  if (state.value != null && all[state.value] != null) return state.value;
  return isStep(state.place) ? (step.outputs.length ? step.inputs.length : 0) : all.length - 1;
}

// The nodes of one depth, and the operations above it: what `next` and `back` go along.
const row = depth => nodes.map((_, place) => place).filter(
  place => nodes[place].depth === depth || isStep(place) && nodes[place].depth < depth);

function go(place) {
  if (place == null) return false;
  state.place = place;
  state.value = null;
  state.revealed = false;
  if (state.screen !== "stairs") state.screen = "step";
  render();
  return true;
}
const along = by => { const all = row(here().depth); return go(all[all.indexOf(state.place) + by]); };
const moves = {
  next: () => along(1),
  back: () => along(-1),
  into: () => go(parts[state.place][0]),
  out: () => here().parent >= 0 && go(here().parent),
  turn: () => stepHere().partner != null && go(leaves[stepHere().partner]),
  forward: () => half0("forward"),
  backward: () => half0("backward"),
};
const half0 = phase => { const step = steps.findIndex(s => s.phase === phase); return step >= 0 && go(leaves[step]); };

function pathOf(place) {
  const names = [];
  for (let at = place; at >= 0; at = nodes[at].parent) names.unshift(nodes[at].name);
  return names;
}

// The first node of this half whose path is `path`, or begins with it, or has it inside.
function jump(path) {
  const phase = pathOf(state.place)[0];
  const all = nodes.map((_, place) => place).filter(p => nodes[p].depth > 1 && pathOf(p)[0] === phase);
  const paths = all.map(p => pathOf(p).slice(1).join("."));
  for (const fits of [p => p === path, p => p.startsWith(path), p => p.toLowerCase().includes(path.toLowerCase())]) {
    const found = paths.findIndex(fits);
    if (path && found >= 0) return go(all[found]);
  }
  byId("line").textContent = `no part of the ${phase} half has ${path} in its path`;
  return false;
}

// --- the address: #step=41&head=5 --------------------------------------------------------------

let addressTimer = 0; // to write the address is slow: it waits until nothing changes any more
let address = location.hash; // as it is known; another one is the reader's, and is not written over

function toAddress() {
  clearTimeout(addressTimer);
  addressTimer = setTimeout(writeAddress, 60);
}

function writeAddress() {
  if (location.hash !== address) return;
  const parts = {step: here().step};
  if (!isStep(state.place)) parts.depth = here().depth;
  if (state.lead.H) parts.head = state.lead.H;
  if (state.lead.B) parts.batch = state.lead.B;
  if (state.value != null) parts.value = state.value;
  if (state.row || state.column) parts.at = `${state.row},${state.column}`;
  if (state.screen !== "step") parts.screen = state.screen;
  history.replaceState(null, "", "#" + Object.entries(parts).map(pair => pair.join("=")).join("&"));
  address = location.hash;
}

function fromAddress() {
  const asked = location.hash.slice(1) || document.body.dataset.place;
  const given = Object.fromEntries(asked.split("&").map(part => part.split("=")));
  const number = name => Math.max(0, parseInt(given[name]) || 0);
  if (steps[given.step]) {
    state.place = leaves[+given.step];
    while (given.depth && here().depth > +given.depth && here().parent >= 0) state.place = here().parent;
  }
  state.lead = {H: number("head"), B: number("batch")};
  state.value = given.value == null ? null : number("value");
  [state.row, state.column] = (given.at || "0,0").split(",").map(n => Math.max(0, parseInt(n) || 0));
  state.screen = SCREENS.includes(given.screen) ? given.screen : "step";
}

// --- screen: one step ----------------------------------------------------------------------------

// The tokens along an axis; null if it is no axis of tokens.
function tokensOf(value, axis) {
  const all = index.tokens, names = axisNames(value);
  const tokens = all[Math.min(state.lead.B || 0, all.length - 1)];
  return tokens && !value.stored && "T.".includes(names[axis]) && value.shape[axis] === tokens.length ? tokens : null;
}

function nameAt(value, r, c) {
  const shape = value.stored || value.shape;
  const at = [...leadIndex(value, state.lead), ...(shape.length > 1 ? [r] : []), ...(shape.length ? [c] : [])];
  const rank = value.shape.length, words = [[rank - 2, r], [rank - 1, c]].map(([axis, n]) =>
    axis >= 0 && tokensOf(value, axis) ? `“${tokensOf(value, axis)[n]}”` : null).filter(Boolean);
  return `${value.name}${at.length ? `[${at}]` : ""}${value.stored ? " of the blocks" : ""}`
    + (words.length ? ` (${words.join(", ")})` : "");
}

// Where the colours of an array end: with the others of its step, unless it reaches further.
const reachOf = (value, reach) => value.parameter || value.reach > reach ? value.reach : reach;

function card(number, place, reach) {
  const value = values[number], chosen = place === chosenValue();
  const canvas = h("canvas", {role: "img", tabindex: 0, width: 60, height: 20,
    "aria-label": `${value.name}, ${shapeText(value)}: ${inWords(value)}`});
  const shown = h("span", {class: "number"});
  const choose = () => { state.value = place; render(); };
  const colourEnd = reachOf(value, reach);
  plane(value).then(found => {
    if (!found) return canvas.replaceWith(h("p", {class: "quiet"}, "no numbers kept"));
    if (found.rows * found.columns === 1) { shown.textContent = format(found.at(0, 0)); canvas.hidden = true; return; }
    const clip = r => [Math.min(r[0], found.rows - 1), Math.min(r[1], found.columns - 1)];
    const width = Math.min(innerWidth - 50, found.columns > 160 ? 400 : 300);
    const find = draw(canvas, found, colourEnd, {width, height: 200, here: chosen ? clip([state.row, state.column]) : null});
    const say = at => { if (at) shown.textContent = `${nameAt(value, ...at)} = ${format(found.at(...at))}`; };
    canvas.addEventListener("mousemove", event => say(find(event)));
    canvas.addEventListener("focus", () => say(clip([state.row, state.column])));
    canvas.addEventListener("click", event => {
      const at = find(event);
      if (at) [state.row, state.column] = at;
      choose();
    });
  });
  return h("figure", {class: chosen ? "chosen" : ""},
    button(value.name, choose, {"aria-pressed": chosen}), " ", h("span", {class: "place"}, shapeText(value)),
    canvas, shown,
    h("figcaption", {},
      value.parameter ? h("div", {}, value.parameter) : null,
      value.source ? link(`from step ${value.source[0]}`, () => go(leaves[value.source[0]])) : null,
      h("div", {}, inWords(value)),
      h("div", {}, `colours to ±${format(colourEnd)}`),
      value.stored ? h("div", {}, "picture: of each block the largest number") : null));
}

function detail(value) {
  const box = h("section", {"aria-label": "numbers of " + value.name});
  const leads = leadAxes(value).filter(axis => value.shape[axis] > 1).map(axis => {
    const name = leadName(value, axis), size = value.shape[axis];
    const names = {H: "head", B: "batch row", T: "token"};
    return h("label", {}, `${names[name] || "axis " + axis} `, h("select", {onchange: event => {
      state.lead[name] = +event.target.value; render();
    }}, Array.from({length: size}, (_, n) =>
      h("option", {value: n, selected: n === Math.min(state.lead[name] || 0, size - 1)}, String(n)))));
  });
  const holder = h("div", {class: "scroll"});
  const readout = h("p", {id: "readout", class: "number", "aria-live": "polite"});
  box.append(h("h3", {}, `${value.name}: ${shapeText(value)}, ${value.dtype}`),
    h("p", {class: "quiet"}, `${inWords(value)}; norm ${format(value.norm)}`),
    h("div", {class: "bar"}, leads, saveButtons()),
    readout, holder);
  plane(value).then(found => {
    if (!found) return;
    state.row = Math.min(state.row, found.rows - 1);
    state.column = Math.min(state.column, found.columns - 1);
    readout.textContent = `${nameAt(value, state.row, state.column)} = ${format(found.at(state.row, state.column))}`;
    holder.replaceChildren(numberTable(value, found));
  });
  return box;
}

function numberTable(value, found) {
  const first = (at, size) => Math.max(0, Math.min(at - 3, size - WINDOW));
  const top = first(state.row, found.rows), left = first(state.column, found.columns);
  const rows = Array.from({length: Math.min(WINDOW, found.rows)}, (_, n) => top + n);
  const columns = Array.from({length: Math.min(WINDOW, found.columns)}, (_, n) => left + n);
  const rank = value.shape.length, down = tokensOf(value, rank - 2), across = tokensOf(value, rank - 1);
  const label = (tokens, n) => tokens ? `${n} ${tokens[n]}` : String(n);
  const cell = (r, c) => h("td", {
    class: r === state.row && c === state.column ? "here" : "", "data-at": `${r},${c}`,
    "data-value": String(found.at(r, c)),
    "aria-current": r === state.row && c === state.column ? "true" : null,
    onclick: () => { [state.row, state.column] = [r, c]; render(); },
  }, format(found.at(r, c)));
  return h("table", {},
    h("caption", {}, `rows ${top} to ${rows.at(-1)} of ${found.rows}, columns ${left} to ${columns.at(-1)} of ${found.columns}`),
    h("thead", {}, h("tr", {}, h("td"), columns.map(c => h("th", {scope: "col"}, label(across, c))))),
    h("tbody", {}, rows.map(r => h("tr", {}, h("th", {scope: "row"}, label(down, r)), columns.map(c => cell(r, c))))));
}

// In place of a result, while the reader is to say what it will be.
const question = number => h("figure", {}, h("strong", {}, values[number].name),
  h("p", {}, "Which shape does it have? Which sign has its largest number?"));

function stepScreen() {
  const step = stepHere(), place = state.place, all = placeValues();
  const crumbs = [];
  for (let at = place; at >= 0; at = nodes[at].parent) crumbs.unshift(at);
  const path = h("p", {class: "crumbs"}, crumbs.flatMap((at, n) =>
    [n ? " › " : null, at === place ? h("strong", {}, nodes[at].name) : link(nodes[at].name, () => go(at))]));
  const flow = h("div", {class: "flow " + step.phase});
  const arrow = () => h("span", {class: "arrow", "aria-hidden": "true"}, step.phase === "backward" ? "←" : "→");
  const cards = (list, from) => list.map((number, n) => card(number, from + n, step.reach));
  const screen = [path], hidden = state.predict && !state.revealed;
  const made = (list, from) => hidden ? list.map(question) : cards(list, from);
  if (isStep(place)) {
    const {inputs, outputs, saved} = step;
    screen.push(h("h2", {}, step.operation),
      texts[step.formula] ? h("pre", {class: "formula"}, texts[step.formula]) : null,
      step.place ? h("p", {}, h("span", {class: "place quiet"}, step.place + "  "), h("code", {}, texts[step.code])) : null,
      Object.keys(step.options).length ? h("p", {class: "place quiet"},
        Object.entries(step.options).map(([name, text]) => `${name}=${text}`).join(", ")) : null,
      step.partner != null ? h("p", {}, link(
        `${step.phase === "backward" ? "forward" : "backward"}: step ${step.partner}`, moves.turn)) : null);
    flow.append(...cards(inputs, 0), arrow(), ...made(outputs, inputs.length));
    screen.push(flow);
    if (hidden) return [...screen, button("reveal (r)", reveal)];
    if (step.worked.length) screen.push(h("h3", {}, "Worked out: the element of largest magnitude"),
      h("pre", {class: "worked"}, step.worked.map(number => texts[number]).join("\n\n")));
    if (saved.length) screen.push(h("h3", {}, "Saved by forward for backward"),
      h("div", {class: "flow"}, cards(saved, inputs.length + outputs.length)));
  } else {
    screen.push(h("h2", {}, here().name), h("p", {}, `${here().count} operations. `, link("into the first", moves.into)));
    flow.append(...cards(all.slice(0, -1), 0), arrow(), ...made(all.slice(-1), all.length - 1));
    screen.push(flow);
    if (hidden) return [...screen, button("reveal (r)", reveal)];
  }
  if (all.length) screen.push(detail(values[all[chosenValue()]]));
  return screen;
}

const reveal = () => { state.revealed = true; render(); };
function predict() {
  state.predict = !state.predict;
  state.revealed = false;
  byId("predict").setAttribute("aria-pressed", state.predict);
  render();
}

// --- screen: text to ids -------------------------------------------------------------------------

function textScreen() {
  if (!index.tokens.length && !index.ids.length) return [h("p", {}, "The record has no token ids.")];
  const rows = index.ids.length ? index.ids : index.tokens;
  return [h("h2", {}, "Text to ids"), h("p", {}, document.body.dataset.title),
    rows.map((_, batch) => [h("h3", {}, `Batch row ${batch}`), h("div", {class: "scroll"}, h("table", {},
      h("thead", {}, h("tr", {}, ["position", "token", "id"].map(name => h("th", {scope: "col"}, name)))),
      h("tbody", {}, rows[batch].map((_, n) => h("tr", {},
        h("td", {}, String(n)), h("td", {class: "left"}, (index.tokens[batch] || [])[n] || ""),
        h("td", {}, String((index.ids[batch] || [])[n] ?? "")))))))])].flat(3);
}

// --- screen: the staircase -----------------------------------------------------------------------

function stairsScreen() {
  const picture = byId("stairs").content.cloneNode(true);
  for (const op of picture.querySelectorAll(".op")) {
    const number = +op.dataset.step, open = () => { state.screen = "step"; go(leaves[number]); };
    op.setAttribute("tabindex", "0");
    op.setAttribute("role", "button");
    op.addEventListener("click", open);
    op.addEventListener("keydown", event => { if (event.key === "Enter") open(); });
    if (number === here().step || number === stepHere().partner) op.classList.add("here");
  }
  setTimeout(() => document.querySelector(".stairs .here")?.scrollIntoView({block: "center"}));
  return [h("h2", {}, "The staircase"),
    h("p", {class: "quiet"}, "Blue: results go up. Orange, dashed: gradients come down. A box opens its step."),
    h("div", {class: "bar"}, saveButtons()),
    h("div", {class: "scroll"}, picture)];
}

// --- screen: attention ---------------------------------------------------------------------------

function attentionScreen() {
  const layers = index.attention;
  if (!layers.length) return [h("p", {}, "The record has no attention weights.")];
  const near = layers.findIndex(step => step === here().step || step === stepHere().partner);
  if (near >= 0) state.layer = near;
  const step = steps[layers[state.layer]], backward = step.partner != null, shown = shownValue();
  const rank = shown.shape.length, heads = rank > 3 ? shown.shape[rank - 3] : 1;
  const headName = rank > 3 ? leadName(shown, rank - 3) : "H";
  const head = Math.min(state.lead[headName] || 0, heads - 1);
  const small = h("div", {class: "heads"});
  for (let n = 0; n < heads; n++) {
    const canvas = h("canvas", {role: "img", width: 80, height: 80, "aria-label": `head ${n}`});
    small.append(button([canvas, `head ${n}`], () => { state.lead[headName] = n; render(); }, {"aria-pressed": n === head}));
    plane(shown, {...state.lead, [headName]: n}).then(found =>
      found && draw(canvas, found, shown.reach, {width: 84, height: 84, largest: 12}));
  }
  const canvas = h("canvas", {role: "img", tabindex: 0, "aria-label": `head ${head}: ${inWords(shown)}`});
  const readout = h("p", {id: "readout", class: "number", "aria-live": "polite"});
  const table = h("div", {class: "scroll"});
  const labels = tokensOf(shown, rank - 1);
  const word = (axis, n) => tokensOf(shown, axis) ? `“${tokensOf(shown, axis)[n]}”` : n;
  plane(shown, {...state.lead, [headName]: head}).then(found => {
    if (!found) return;
    state.row = Math.min(state.row, found.rows - 1);
    state.column = Math.min(state.column, found.columns - 1);
    const square = labels && found.rows === found.columns;
    const find = draw(canvas, found, shown.reach, {width: Math.min(innerWidth - 130, 560), height: 560,
      labels: square ? labels : null, here: [state.row, state.column]});
    const say = at => at && (readout.textContent = `${word(rank - 2, at[0])} ${state.gradient ? "gradient of its weight on" : "attends to"} `
      + `${word(rank - 1, at[1])}: ${format(found.at(...at))}`);
    say([state.row, state.column]);
    canvas.addEventListener("mousemove", event => say(find(event)));
    canvas.addEventListener("click", event => {
      const at = find(event);
      if (at) { [state.row, state.column] = at; render(); }
    });
    table.replaceChildren(numberTable(shown, found));
  });
  return [h("h2", {}, "Attention"),
    h("div", {class: "bar"},
      h("label", {}, "layer ", h("select", {onchange: event => {
        state.layer = +event.target.value; state.place = leaves[layers[state.layer]]; render();
      }}, layers.map((number, n) => h("option", {value: n, selected: n === state.layer}, `${n}: ${steps[number].path}`)))),
      batches(shown),
      backward ? button("gradient", () => { state.gradient = !state.gradient; render(); }, {"aria-pressed": state.gradient}) : null,
      saveButtons(), link(`step ${layers[state.layer]}`, () => go(leaves[layers[state.layer]]))),
    small, readout, h("div", {class: "scroll"}, canvas), table,
    h("h3", {}, "This pair of tokens in every layer and head"), pairTable(layers, shown)];
}

function batches(value) {
  const size = value.shape.length > 2 ? value.shape[0] : 1;
  return size < 2 ? null : h("label", {}, "batch row ", h("select", {onchange: event => {
    state.lead.B = +event.target.value; render();
  }}, Array.from({length: size}, (_, n) => h("option", {value: n, selected: n === state.lead.B}, String(n)))));
}

// The weight of the chosen query and key, in each layer and head.
function pairTable(layers, shown) {
  const heads = shown.shape.length > 3 ? shown.shape.at(-3) : 1, scheme = colours();
  const body = h("tbody");
  layers.forEach((number, layer) => {
    const value = values[steps[number].outputs[0]], line = h("tr", {}, h("th", {scope: "row"}, `layer ${layer}`));
    body.append(line);
    for (let n = 0; n < heads; n++) {
      const cell = h("td");
      line.append(cell);
      plane(value, {...state.lead, H: n}).then(found => {
        if (!found || state.row >= found.rows || state.column >= found.columns) return;
        const x = found.at(state.row, state.column);
        cell.append(button(x.toFixed(2), () => {
          state.layer = layer; state.lead.H = n; state.place = leaves[number]; render();
        }, {style: `background: rgb(${colourOf(x, 2, scheme)})`, "aria-label": `layer ${layer}, head ${n}: ${format(x)}`}));
      });
    }
  });
  return h("div", {class: "scroll"}, h("table", {},
    h("thead", {}, h("tr", {}, h("td"), Array.from({length: heads}, (_, n) => h("th", {scope: "col"}, `head ${n}`)))), body));
}

// --- screen: gradients ---------------------------------------------------------------------------

function gradientsScreen() {
  if (!steps.some(step => step.phase === "backward")) return [h("p", {}, "Nothing was differentiated in this record.")];
  const batch = state.lead.B || 0, tokens = index.tokens[batch] || [];
  const token = state.token - 1; // -1: all tokens together
  const chooser = tokens.length ? h("label", {}, "gradient of ", h("select", {id: "token", onchange: event => {
    state.token = +event.target.value; render();
  }}, ["all tokens", ...tokens].map((name, n) => h("option", {value: n, selected: n === state.token}, n ? `${n - 1} ${name}` : name)))) : null;
  const list = index.forks.map(fork => {
    const total = values[fork.total];
    const shares = fork.shares.map(([number, v], n) => {
      const norms = fork.tokens[n];
      return {number, value: values[v], norm: token < 0 ? values[v].norm : norms && norms[batch] ? norms[batch][token] : null};
    });
    if (shares.some(share => share.norm == null)) return null;
    const most = Math.max(...shares.map(share => share.norm)) || 1;
    const sum = h("p", {class: "place"});
    sumText(fork, token, batch).then(text => { sum.textContent = text; });
    return h("div", {class: "fork"},
      h("div", {}, "gradient of ", link(`step ${fork.step}: ${steps[fork.step].path}`, () => go(leaves[fork.step])),
        token < 0 ? ` ‖${total.name}‖ = ${format(total.norm)}` : ""),
      h("ul", {}, shares.map(share => h("li", {},
        h("span", {class: "number"}, format(share.norm)),
        h("span", {class: "meter", style: `width: ${100 * share.norm / most}%`}),
        link(`through ${steps[share.number].path} (${share.value.name})`, () => go(leaves[share.number]))))),
      sum);
  });
  return [h("h2", {}, "Where gradients come from"),
    h("p", {class: "quiet"}, "A result that several operations use gets a share of gradient from each; the shares are added. "
      + "The norm of each share, from the loss down:"),
    h("div", {class: "bar"}, chooser, index.tokens.length > 1 ? batches({shape: [index.tokens.length, 1, 1]}) : null),
    ...list.filter(Boolean), h("h3", {}, "Norms of gradients by depth"), depthTable()];
}

// The sum at one element: "dy[0,3,5] = 0.02 + 0.01 = 0.03"
async function sumText(fork, token, batch) {
  const total = values[fork.total], lead = {...state.lead, B: batch};
  const planes = await Promise.all([total, ...fork.shares.map(([, v]) => values[v])].map(value => plane(value, lead)));
  if (planes.some(found => !found) || total.stored) return "";
  const r = Math.min(Math.max(token, 0), planes[0].rows - 1), c = Math.min(state.column, planes[0].columns - 1);
  const numbers = planes.map(found => format(found.at(r, c)));
  const at = [...leadIndex(total, lead), ...(total.shape.length > 1 ? [r] : []), ...(total.shape.length ? [c] : [])];
  return `${total.name}[${at}] = ${numbers.slice(1).map(x => x.startsWith("-") ? `(${x})` : x).join(" + ")} = ${numbers[0]}`;
}

function depthTable() {
  const rows = steps.map((step, number) => ({step, number})).filter(({step}) => step.phase === "backward" && step.outputs.length);
  const norms = rows.map(({step}) => values[step.outputs[0]].norm), most = Math.max(...norms) || 1;
  return h("div", {class: "scroll"}, h("table", {},
    h("thead", {}, h("tr", {}, ["step", "gradient", "norm", ""].map(name => h("th", {scope: "col"}, name)))),
    h("tbody", {}, rows.map(({step, number}, n) => h("tr", {},
      h("td", {}, link(String(number), () => go(leaves[number]))),
      h("td", {class: "left"}, `${values[step.outputs[0]].name} of ${step.path}`), h("td", {}, format(norms[n])),
      h("td", {class: "left", style: "width: 10rem"}, h("span", {class: "meter", style: `width: ${100 * norms[n] / most}%`})))))));
}

// --- screen: parameters --------------------------------------------------------------------------

function parametersScreen() {
  const found = new Map(); // name -> {weight, gradient, update}
  steps.forEach((step, number) => {
    for (const v of step.phase === "backward" ? [] : step.inputs) {
      const value = values[v];
      if (!value.parameter) continue;
      const entry = found.get(value.parameter) || {weight: v, step: number};
      found.set(value.parameter, entry);
      if (step.phase === "update") entry.update = {number, gradient: step.inputs[1], after: step.outputs[0]};
      else if (step.partner != null)
        entry.gradient ??= steps[step.partner].outputs.find(o => values[o].name === "d" + value.name);
    }
  });
  const watcher = new IntersectionObserver(entries => entries.filter(e => e.isIntersecting).forEach(({target}) => {
    watcher.unobserve(target);
    const value = values[target.dataset.value];
    plane(value).then(found => found && draw(target, found, value.reach, {width: 64, height: 64, largest: 16}));
  }));
  const picture = v => {
    if (v == null) return null;
    const canvas = h("canvas", {role: "img", width: 64, height: 20, "data-value": v, "aria-label": inWords(values[v])});
    watcher.observe(canvas);
    return canvas;
  };
  const rows = [...found].map(([name, {weight, step, gradient, update}]) => {
    const value = values[weight], d = update ? update.gradient : gradient;
    return h("tr", {}, h("td", {class: "left"}, link(name, () => {
        go(leaves[step]); state.value = placeValues().indexOf(weight); render(); })),
      h("td", {}, shapeText(value)), h("td", {}, picture(weight)), h("td", {}, format(value.norm)),
      h("td", {}, format(value.statistics[1])), h("td", {}, picture(d)), h("td", {}, d == null ? "" : format(values[d].norm)),
      h("td", {}, update ? link(`step ${update.number}`, () => go(leaves[update.number])) : ""));
  });
  const names = ["parameter", "shape", "numbers", "norm", "std", "gradient", "its norm", "update"];
  return [h("h2", {}, `${rows.length} parameters`), h("div", {class: "scroll"}, h("table", {},
    h("thead", {}, h("tr", {}, names.map(name => h("th", {scope: "col"}, name)))), h("tbody", {}, rows)))];
}

// --- pictures as files -----------------------------------------------------------------------

const saveButtons = () => [["svg", "e"], ["png", "E"]].map(([kind, key]) =>
  button(`save ${kind.toUpperCase()}`, () => savePicture(kind), {title: `key ${key}`}));

function draws(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// The shown array as an SVG: its cells as an image, its title and the tokens at the sides as text.
async function mapPicture() {
  const value = shownValue(), found = value && await plane(value);
  if (!found) return null;
  const reach = state.screen === "attention" ? value.reach : reachOf(value, stepHere().reach);
  const canvas = document.createElement("canvas"), {ink, back} = colours();
  draw(canvas, found, reach, {width: 640, height: 640});
  const rank = value.shape.length, down = tokensOf(value, rank - 2), across = tokensOf(value, rank - 1);
  const high = canvas.height / found.rows, wide = canvas.width / found.columns;
  const left = down && high > 7 ? 106 : 16, top = 60 + (across && wide > 7 ? 90 : 0);
  const step = state.screen === "attention" ? index.attention[state.layer] : here().step;
  const lead = leadIndex(value, state.lead), at = lead.length ? `[${lead}]` : "";
  const write = (x, y, size, text, more = {}) => draws("text", {x, y, "font-size": size, ...more}, text);
  const svg = draws("svg", {xmlns: "http://www.w3.org/2000/svg", fill: ink, "font-family": "system-ui, sans-serif"},
    draws("rect", {width: "100%", height: "100%", fill: back}),
    write(16, 26, 14, `step ${step}: ${steps[step].path}`, {"font-weight": "bold"}),
    write(16, 46, 12, `${value.name}${at}, ${shapeText(value)}, colours to ±${format(reach)}`),
    draws("image", {x: left, y: top, width: canvas.width, height: canvas.height, href: canvas.toDataURL()}));
  for (let n = 0; left > 16 && n < found.rows; n++)
    svg.append(write(left - 6, top + (n + .5) * high + 4, 11, down[n], {"text-anchor": "end"}));
  for (let n = 0; top > 60 && n < found.columns; n++)
    svg.append(write(0, 0, 11, across[n], {transform: `translate(${left + (n + .5) * wide + 4} ${top - 6}) rotate(-90)`}));
  const title = svg.querySelectorAll("text")[0].textContent.length * 8 + 32;
  svg.setAttribute("width", Math.max(left + canvas.width + 16, title));
  svg.setAttribute("height", top + canvas.height + 16);
  return {svg, name: `step-${step}-${[value.name, ...lead].join("-")}`};
}

// The staircase, with the style that it has on the page.
function stairsPicture() {
  const svg = byId("stairs").content.firstElementChild.cloneNode(true);
  const rules = [...document.styleSheets[0].cssRules].filter(rule => rule.selectorText?.startsWith(".stairs"));
  const css = rules.map(rule => rule.cssText).join("\n").replace(/var\((--\w+)\)/g, (_, name) => style(name));
  svg.prepend(draws("style", {}, css), draws("rect", {width: "100%", height: "100%", fill: colours().back}));
  return {svg, name: "staircase"};
}

async function savePicture(kind) {
  const drawn = state.screen === "stairs" ? stairsPicture()
    : ["step", "attention"].includes(state.screen) ? await mapPicture() : null;
  if (!drawn) { byId("line").textContent = "this screen has no picture to save"; return; }
  const text = new XMLSerializer().serializeToString(drawn.svg);
  let file = new Blob([text], {type: "image/svg+xml"});
  if (kind === "png") {
    const image = new Image();
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
    await image.decode();
    const scale = Math.min(2, 16000 / image.height), canvas = h("canvas", {width: image.width * scale, height: image.height * scale});
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    file = await new Promise(done => canvas.toBlob(done));
  }
  const href = URL.createObjectURL(file);
  h("a", {href, download: `${drawn.name}.${kind}`}).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
  byId("line").textContent = `saved ${drawn.name}.${kind}`;
}

// --- the page --------------------------------------------------------------------------------

const DRAWN = {step: stepScreen, text: textScreen, stairs: stairsScreen, attention: attentionScreen,
               gradients: gradientsScreen, parameters: parametersScreen};

function branch(place) {
  if (isStep(place)) return button(`${nodes[place].step} ${nodes[place].name}`, () => go(place), {class: "leaf", "data-place": place});
  const details = h("details", {"data-place": place}, h("summary", {onclick: () => go(place)}, nodes[place].name));
  details.addEventListener("toggle", () => fill(details));
  return details;
}
function fill(details) {
  if (details.children.length === 1) details.append(...parts[details.dataset.place].map(branch));
}

function showInTree() {
  const path = [];
  for (let at = state.place; at >= 0; at = nodes[at].parent) path.unshift(at);
  for (const at of path) {
    const element = document.querySelector(`nav [data-place="${at}"]`);
    if (!isStep(at) && at !== state.place) element.open = true;
    if (!isStep(at)) fill(element);
  }
  document.querySelectorAll("nav .here").forEach(element => element.classList.remove("here"));
  const element = document.querySelector(`nav [data-place="${state.place}"]`);
  const label = isStep(state.place) ? element : element.firstChild;
  label.classList.add("here");
  requestAnimationFrame(() => { // when all is drawn, so that the page is laid out once
    const nav = byId("tree"), box = label.getBoundingClientRect(), around = nav.getBoundingClientRect();
    if (box.top < around.top || box.bottom > around.bottom) nav.scrollTop += box.top - around.top - around.height / 2;
  });
}

// Read the arrays of the step after this one while the reader looks at this one.
function readAhead() {
  const step = steps[here().step + 1];
  if (step) for (const v of [...step.inputs, ...step.outputs]) read(values[v]);
}

function render() {
  const step = here().step, path = pathOf(state.place);
  byId("line").textContent = `Step ${step} of ${steps.length - 1}, ${path[0]}: ${path.slice(1).join(".") || "all"}`;
  byId("slider").value = step;
  byId("slider").setAttribute("aria-valuetext", byId("line").textContent);
  for (const name of SCREENS) byId("tab-" + name).setAttribute("aria-selected", name === state.screen);
  byId("screen").setAttribute("aria-labelledby", "tab-" + state.screen);
  byId("screen").replaceChildren(...DRAWN[state.screen]().flat().filter(Boolean));
  showInTree();
  toAddress();
  if (shownScreen !== state.screen) scrollTo(0, 0);
  shownScreen = state.screen;
  (window.requestIdleCallback || setTimeout)(readAhead);
}
let shownScreen = null;

const KEYS = {
  " ": moves.next, n: moves.next, b: moves.back, i: moves.into, o: moves.out, d: moves.turn,
  f: moves.forward, B: moves.backward, g: () => byId("jump").focus(), "/": () => byId("jump").focus(),
  t: () => { state.value = (chosenValue() + 1) % placeValues().length; render(); },
  "[": () => lead(-1, -1), "]": () => lead(-1, 1), "{": () => lead(0, -1), "}": () => lead(0, 1),
  ArrowUp: () => cursor(-1, 0), ArrowDown: () => cursor(1, 0), ArrowLeft: () => cursor(0, -1), ArrowRight: () => cursor(0, 1),
  e: () => savePicture("svg"), E: () => savePicture("png"), p: predict, r: reveal, "?": () => byId("help").showModal(),
};
SCREENS.forEach((name, n) => { KEYS[n + 1] = () => { state.screen = name; render(); }; });

function shownValue() {
  if (state.screen === "attention" && index.attention.length) {
    const step = steps[index.attention[state.layer]];
    return values[state.gradient && step.partner != null ? steps[step.partner].inputs[0] : step.outputs[0]];
  }
  return values[placeValues()[chosenValue()]];
}
function lead(which, by) {
  const value = shownValue(), axis = leadAxes(value).at(which);
  if (axis == null) return;
  const name = leadName(value, axis), size = value.shape[axis];
  state.lead[name] = Math.max(0, Math.min(size - 1, (state.lead[name] || 0) + by));
  render();
}
function cursor(down, across) {
  state.row = Math.max(0, state.row + down);
  state.column = Math.max(0, state.column + across);
  render();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const tag = event.target.tagName, typing = tag === "INPUT" || tag === "SELECT";
  if (typing && (event.target.type !== "range" || event.key.startsWith("Arrow"))) return;
  if ((tag === "BUTTON" || tag === "SUMMARY") && event.key === " ") return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  const back = document.activeElement?.dataset?.at ?? document.activeElement?.id;
  act();
  if (back && document.activeElement === document.body) (byId(back) || byId("screen")).focus({preventScroll: true});
}

function start() {
  const tabs = h("div", {class: "bar", role: "tablist", "aria-label": "Screens"}, SCREENS.map((name, n) =>
    button(name, KEYS[n + 1], {role: "tab", id: "tab-" + name, "aria-controls": "screen", title: `key ${n + 1}`})));
  const paths = [...new Set(nodes.map((_, place) => pathOf(place).slice(1).join(".")))].filter(Boolean);
  const keys = [["space, n", "next"], ["b", "back"], ["i", "into a module"], ["o", "out of it"], ["g, /", "jump to a path"],
    ["f, B", "begin of the forward, backward half"], ["d", "the same operation in the other direction"], ["t", "next array"],
    ["arrows", "move in the array"], ["[ ]", "head"], ["{ }", "batch row"], ["1 to 6", "screens"],
    ["e, E", "save the picture as SVG, as PNG"], ["p", "predict: hide results until they are asked for"], ["r", "reveal a result"],
    ["?", "this help"]];
  document.body.append(
    h("header", {},
      h("div", {class: "bar"}, h("h1", {}, document.body.dataset.title), tabs),
      h("div", {class: "bar"},
        ...["back", "next", "into", "out"].map(name => button(name, moves[name], {id: "move-" + name})),
        button("other direction", moves.turn, {id: "move-turn"}),
        h("input", {type: "range", id: "slider", min: 0, max: steps.length - 1, "aria-label": "step",
          oninput: event => go(leaves[+event.target.value])}),
        h("input", {id: "jump", list: "paths", placeholder: "jump to: encoder.layer.3", "aria-label": "jump to a path",
          autocomplete: "off", onkeydown: event => {
            if (event.key === "Enter" && jump(event.target.value.trim()) || event.key === "Escape") event.target.blur();
          }}),
        h("datalist", {id: "paths"}, paths.map(path => h("option", {value: path}))),
        button("predict", predict, {id: "predict", "aria-pressed": "false", title: "key p: hide results until you reveal them"}),
        button("?", () => byId("help").showModal(), {"aria-label": "keys"})),
      h("div", {id: "line", "aria-live": "polite"})),
    h("main", {}, h("nav", {id: "tree", "aria-label": "modules and operations"},
        nodes.map((node, place) => node.parent < 0 ? branch(place) : null).filter(Boolean)),
      h("section", {id: "screen", role: "tabpanel", tabindex: -1})),
    h("dialog", {id: "help", "aria-label": "keys"}, h("h2", {}, "Keys"),
      h("dl", {}, keys.flatMap(([key, text]) => [h("dt", {}, key), h("dd", {}, text)])),
      h("p", {class: "quiet"}, "The address of the page keeps the place: copy it to share what you see."),
      h("form", {method: "dialog"}, h("button", {}, "close"))));
  const notes = [index.exact ? null : "Arrays with more than 4,096 numbers are rounded to 3 digits.",
    index.reduced ? `${index.reduced} arrays are pictures of at most 64 x 64 blocks: there was no room for their numbers.` : null];
  for (const note of notes.filter(Boolean)) document.querySelector("header").append(h("div", {class: "note"}, note));
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", () => { address = location.hash; fromAddress(); render(); });
  addEventListener("resize", render);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { scheme = null; render(); });
  fromAddress();
  render();
}
start();
