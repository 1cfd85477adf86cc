// The page at /: calls the API of this service and draws with SVG. No library, no build step.

const SVG = "http://www.w3.org/2000/svg";
const ALL = "";
const MARGIN = { top: 16, right: 12, bottom: 28, left: 52 };

const element = (id) => document.getElementById(id);
const units = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const signed = new Intl.NumberFormat("en", { maximumFractionDigits: 1, signDisplay: "exceptZero" });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const month = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

let families = new Map(); // store -> its families
let points = []; // points of the chart, one a day: {date, sold?, expected?, lower?, upper?}
let cursor = null; // index of the selected point
let scale = null;
let latest = 0; // number of the latest request, so that a late response to an earlier one is dropped

async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== ALL));
  const answer = await fetch(`${path}?${query}`);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? answer.statusText);
  return body;
}

/** Sums the series of a columnar table by day. A sum of several series has no interval. */
function byDay(columns, single) {
  const days = new Map();
  columns.date.forEach((date, i) => {
    const sum = days.get(date) ?? { sales: 0 };
    sum.sales += columns.sales[i];
    if (single && columns.lower) [sum.lower, sum.upper] = [columns.lower[i], columns.upper[i]];
    days.set(date, sum);
  });
  return [...days].sort(([a], [b]) => (a < b ? -1 : 1));
}

function options(select, values, all) {
  const selected = select.value;
  select.replaceChildren(...[...(all ? [[ALL, all]] : []), ...values.map((value) => [value, value])].map(([value, text]) => new Option(text, value)));
  select.value = [...select.options].some((option) => option.value === selected) ? selected : select.options[0].value;
}

function offerFamilies() {
  const store = element("store").value;
  const known = store === ALL ? [...new Set([...families.values()].flat())].sort() : families.get(store);
  options(element("family"), known, known.length > 1 ? "All families" : null);
}

async function show() {
  const number = ++latest;
  const filter = { store_nbr: element("store").value, family: element("family").value };
  const range = element("range").value;
  element("range-shown").textContent = range;
  element("download").href = `/predict?${new URLSearchParams(Object.entries({ range, format: "csv", ...filter }).filter(([, value]) => value !== ALL))}`;
  history.replaceState(null, "", `?${new URLSearchParams({ ...filter, range, back: element("back").value })}`);
  try {
    const [future, past] = await Promise.all([
      ask("/predict", { range, layout: "columns", ...filter }),
      ask("/history", { range: element("back").value, layout: "columns", ...filter }),
    ]);
    if (number !== latest) return;
    const keys = new Set(future.prediction.store_nbr.map((store, i) => `${store}\n${future.prediction.family[i]}`));
    const sold = byDay(past.history, keys.size === 1);
    const expected = byDay(future.prediction, keys.size === 1);
    points = [
      ...sold.map(([date, { sales }]) => ({ date, sold: sales })),
      ...expected.map(([date, { sales, lower, upper }]) => ({ date, expected: sales, lower, upper })),
    ];
    cursor = null;
    const store = filter.store_nbr || "all stores";
    element("title").textContent = `${filter.family || (keys.size === 1 ? future.prediction.family[0] : `${keys.size} series`)}, ${store}`;
    element("sum-note").hidden = keys.size === 1;
    element("interval-name").hidden = keys.size !== 1;
    draw();
    fill(sold, expected, keys.size);
    tell(`${expected.length} days for ${element("title").textContent}: ${units.format(total(expected))} units expected.`);
  } catch (error) {
    if (number === latest) tell(`No forecast: ${error.message}`, true);
  }
}

const total = (days) => days.reduce((sum, [, { sales }]) => sum + sales, 0);

function tell(text, fault = false) {
  element("status").textContent = text;
  element("status").classList.toggle("fault", fault);
}

function fill(sold, expected, series) {
  const lately = sold.slice(-expected.length);
  const before = total(lately);
  const change = lately.length === expected.length && before > 0 ? (total(expected) / before - 1) * 100 : null;
  const figures = [
    ["Expected, " + expected.length + (expected.length === 1 ? " day" : " days"), units.format(total(expected))],
    ["Sold, the " + lately.length + (lately.length === 1 ? " day" : " days") + " before", units.format(before)],
    ["Change", change === null ? "–" : `${signed.format(change)} %`],
    ["Series", series],
  ];
  element("figures").replaceChildren(...figures.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(node("dt", name), node("dd", value));
    return pair;
  }));
  const number = (value) => (value === undefined ? "" : units.format(value));
  element("rows").replaceChildren(...points.map((point) => {
    const row = document.createElement("tr");
    const date = node("th", point.date);
    date.scope = "row";
    row.append(date, ...[point.sold, point.expected, point.lower, point.upper].map((value) => node("td", number(value))));
    return row;
  }));
}

function node(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Round step for about five grid lines up to the highest value. */
function step(highest) {
  const rough = highest / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
}

function draw() {
  const drawing = element("drawing");
  const { width, height } = drawing.getBoundingClientRect();
  if (!points.length || !width) return;
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const highest = Math.max(...points.map((point) => point.upper ?? point.expected ?? point.sold), 1e-9);
  const by = step(highest);
  const top = Math.ceil(highest / by) * by;
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const x = (i) => MARGIN.left + (points.length > 1 ? (i / (points.length - 1)) * inner.width : inner.width / 2);
  const y = (value) => MARGIN.top + inner.height * (1 - value / top);
  scale = { x, y, width };

  const parts = [];
  for (let value = 0; value <= top * 1.0001; value += by) {
    parts.push(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, units.format(value)));
  }
  const every = Math.ceil(points.length / Math.max(2, Math.floor(inner.width / 90)) / 7) * 7;
  for (let i = points.length > 7 ? (points.length - 1) % every : 0; i < points.length; i += every) {
    const anchor = x(i) > width - 40 ? "end" : "middle";
    parts.push(svg("text", { x: x(i), y: height - 8, "text-anchor": anchor }, month.format(new Date(points[i].date))));
  }

  const first = points.findIndex((point) => point.expected !== undefined);
  const line = (name, from, to, value) => {
    const path = [];
    for (let i = from; i < to; i += 1) path.push(`${path.length ? "L" : "M"}${x(i).toFixed(1)} ${y(value(points[i])).toFixed(1)}`);
    // A single day is a dot, not an invisible line.
    if (to - from === 1) path.push("h.01");
    if (path.length) parts.push(svg("path", { class: name, d: path.join(""), "stroke-linecap": "round" }));
  };
  if (points[first].upper !== undefined) {
    const edge = (value) => points.slice(first).map((point, i) => `${x(first + i).toFixed(1)} ${y(point[value]).toFixed(1)}`);
    parts.push(svg("path", { class: "band", d: `M${edge("upper").join("L")}L${edge("lower").reverse().join("L")}Z` }));
  }
  if (first > 0) parts.push(svg("line", { class: "now", x1: (x(first - 1) + x(first)) / 2, x2: (x(first - 1) + x(first)) / 2, y1: MARGIN.top, y2: height - MARGIN.bottom }));
  line("past", 0, first, (point) => point.sold);
  line("future", first, points.length, (point) => point.expected);
  parts.push(svg("g", { id: "mark" }));
  drawing.replaceChildren(...parts);
  point(cursor);
}

/** Selects a day: draws a line and a dot, shows and returns its text. */
function point(index) {
  cursor = index;
  const tip = element("tip");
  const mark = element("mark");
  tip.hidden = index === null;
  if (index === null) {
    mark?.replaceChildren();
    return null;
  }
  const { date, sold, expected, lower, upper } = points[index];
  const value = sold ?? expected;
  const between = lower === undefined ? "" : `, ${units.format(lower)} to ${units.format(upper)}`;
  const text = `${day.format(new Date(date))}: ${units.format(value)} ${sold === undefined ? "expected" : "sold"}${between}`;
  const at = scale.x(index);
  mark.replaceChildren(
    svg("line", { class: "cursor", x1: at, x2: at, y1: MARGIN.top, y2: scale.y(0) }),
    svg("circle", { class: sold === undefined ? "dot" : "dot of-past", cx: at, cy: scale.y(value), r: 5 }),
  );
  tip.textContent = text;
  tip.style.left = `${Math.min(Math.max(at - tip.offsetWidth / 2, 0), scale.width - tip.offsetWidth)}px`;
  return text;
}

function keyed(event) {
  if (!points.length) return;
  const last = points.length - 1;
  const first = points.findIndex((each) => each.expected !== undefined);
  const here = cursor ?? first;
  const to = { ArrowLeft: cursor === null ? first - 1 : here - 1, ArrowRight: cursor === null ? first : here + 1, Home: 0, End: last, PageUp: here - 7, PageDown: here + 7 }[event.key];
  if (event.key === "Escape") point(null);
  if (to === undefined) return;
  event.preventDefault();
  tell(point(Math.min(Math.max(to, 0), last)));
}

function pointed(event) {
  if (!points.length || !scale) return;
  const at = event.clientX - element("drawing").getBoundingClientRect().left;
  const share = (at - scale.x(0)) / (scale.x(points.length - 1) - scale.x(0) || 1);
  point(Math.min(Math.max(Math.round(share * (points.length - 1)), 0), points.length - 1));
}

function describe({ current, fault }) {
  const age = current.age_seconds / 86400;
  const old = age < 1 ? "today" : `${Math.floor(age)} ${age < 2 ? "day" : "days"} ago`;
  const { model, seasonal_naive: naive, coverage } = current.backtest;
  const percent = (share) => `${Math.round(share * 100)} %`;
  element("model-text").textContent =
    `Version ${current.version}, trained ${old} on ${current.series} series from ${current.first_date} to ${current.last_date}. ` +
    `Intervals are meant to hold ${percent(current.interval)} of the days; in the backtest they held ${percent(coverage)}.` +
    (fault ? ` A newer version is not served: ${fault}` : "");
  element("interval-name").textContent = `${percent(current.interval)} interval`;
  element("scores").replaceChildren(...Object.entries(model).map(([level, score]) => {
    const row = document.createElement("tr");
    const name = node("th", { store_nbr: "store", total: "all" }[level] ?? level);
    name.scope = "row";
    row.append(name, ...Object.entries({ mase: 3, wape: 3, rmse: 1 }).map(([metric, digits]) => {
      const cell = node("td", `${score[metric].toFixed(digits)} `);
      const compared = node("span", `(${naive[level][metric].toFixed(digits)})`);
      compared.className = "naive";
      cell.append(compared);
      return cell;
    }));
    return row;
  }));
}

async function start() {
  try {
    const [models, { prediction }] = await Promise.all([ask("/models"), ask("/predict", { range: 7, layout: "columns" })]);
    describe(models);
    // Selected first: the series with the highest expected sales.
    let best = { sales: -1 };
    for (const [i, store] of prediction.store_nbr.entries()) {
      const family = prediction.family[i];
      const known = families.get(store) ?? [];
      if (known.at(-1) !== family) families.set(store, [...known, family]);
      if (prediction.sales[i] > best.sales) best = { store, family, sales: prediction.sales[i] };
    }
    const range = element("range");
    range.max = models.max_range;
    range.value = Math.min(28, models.max_range);
    options(element("store"), [...families.keys()], families.size > 1 ? "All stores" : null);
    const wanted = new URLSearchParams(location.search);
    const choose = (id, value) => {
      if (value !== null && [...element(id).options].some((option) => option.value === value)) element(id).value = value;
    };
    choose("store", wanted.get("store_nbr") ?? best.store);
    offerFamilies();
    choose("family", wanted.get("family") ?? best.family);
    choose("back", wanted.get("back"));
    if (wanted.get("range")) range.value = wanted.get("range");
    element("store").addEventListener("change", offerFamilies);
    element("choice").addEventListener("input", show);
    element("choice").addEventListener("submit", (event) => event.preventDefault());
    element("chart").addEventListener("keydown", keyed);
    element("chart").addEventListener("pointermove", pointed);
    element("chart").addEventListener("pointerleave", () => point(null));
    element("chart").addEventListener("blur", () => point(null));
    new ResizeObserver(draw).observe(element("drawing"));
    await show();
  } catch (error) {
    tell(`No forecast: ${error.message}`, true);
  }
}

start();
