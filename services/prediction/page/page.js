// The page at /: calls the API of this service and draws with SVG. No library, no build step.

const SVG = "http://www.w3.org/2000/svg";
const ALL = "";
const MARGIN = { top: 16, right: 12, bottom: 28, left: 52 };

const element = (id) => document.getElementById(id);
const units = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const signed = new Intl.NumberFormat("en", { maximumFractionDigits: 1, signDisplay: "exceptZero" });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
const milliseconds = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const month = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

let families = {}; // store -> its families
let points = []; // points of the chart, one a day: {date, sold?, expected?, lower?, upper?}
let cursor = null; // index of the selected point
let scale = null;
let latest = 0; // number of the latest request, so that a late response to an earlier one is dropped

const query = (parameters) => new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== ALL));
const total = (days) => days.reduce((sum, { sales }) => sum + sales, 0);
const counted = (number, unit) => `${units.format(number)} ${number === 1 ? unit : `${unit}s`}`;
const percent = (share) => `${Math.round(share * 100)} %`;

async function reach(address) {
  try {
    return await fetch(address);
  } catch {
    // No network, or a login that has ended: a page that asks for it again is of another host.
    throw new Error("the service cannot be reached. Reload the page to try again, or to sign in again");
  }
}

async function ask(path, parameters = {}) {
  const answer = await reach(`${path}?${query(parameters)}`);
  // A load balancer answers with a page of its own, which is no JSON.
  const body = await answer.json().catch(() => null);
  if (!answer.ok || !body) throw new Error(body?.detail ?? `the answer has status ${answer.status}. Try again in a minute`);
  return body;
}

function tell(text, fault = false) {
  element("status").textContent = text;
  element("status").classList.toggle("fault", fault);
}

function node(name, ...content) {
  const made = document.createElement(name);
  made.append(...content);
  return made;
}

/** A row of a table: its name, then cells. */
function row(name, ...cells) {
  const head = node("th", name);
  head.scope = "row";
  return node("tr", head, ...cells.map((cell) => node("td", cell)));
}

const pairs = (facts) => Object.entries(facts).map(([name, value]) => node("div", node("dt", name), node("dd", value)));

function options(select, values, all) {
  const selected = select.value;
  select.replaceChildren(...(values.length > 1 ? [new Option(all, ALL)] : []), ...values.map((value) => new Option(value)));
  select.value = selected;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

/** The families of a store, or of all stores. */
const sold = (store) => (store === ALL ? [...new Set(Object.values(families).flat())].sort() : families[store]);

function offerFamilies() {
  options(element("family"), sold(element("store").value), "All families");
}

/** Takes the choice from the address; returns what is wrong with it. */
function choose(address) {
  const fields = element("choice").elements;
  const meanings = {
    store_nbr: "no store",
    family: "no family of what is chosen",
    range: `no number of days from 1 to ${fields.range.max}`,
    back: "no number of days that is offered",
  };
  const wrong = [...new Set(address.keys())].filter((name) => !(name in meanings)).map((name) => `“${name}” is no parameter of this page`);
  for (const [name, meaning] of Object.entries(meanings)) {
    const field = fields[name];
    const initial = field.value;
    const values = address.getAll(name);
    if (values.length > 1) wrong.push(`“${name}” is given more than once`);
    if (values.length === 1) {
      field.value = values[0];
      if (field.value !== values[0]) {
        wrong.push(`${name} “${values[0]}” is ${meaning}`);
        field.value = initial;
      }
    }
    if (name === "store_nbr") offerFamilies();
  }
  return wrong;
}

async function show() {
  const number = ++latest;
  const filter = { store_nbr: element("store").value, family: element("family").value };
  const range = element("range").value;
  element("range-shown").textContent = range;
  element("download").href = `/predict?${query({ range, format: "csv", ...filter })}`;
  history.replaceState(null, "", `?${query({ ...filter, range, back: element("back").value })}`);
  try {
    const [{ prediction: expected }, { history: past }] = await Promise.all([
      ask("/predict", { range, layout: "sum", ...filter }),
      ask("/history", { range: element("back").value, layout: "sum", ...filter }),
    ]);
    if (number !== latest) return;
    points = [
      ...past.map(({ date, sales }) => ({ date, sold: sales })),
      ...expected.map(({ date, sales, lower, upper }) => ({ date, expected: sales, lower, upper })),
    ];
    cursor = null;
    element("answer").hidden = false;
    element("title").textContent = `${filter.family || "all families"}, ${filter.store_nbr ? `store ${filter.store_nbr}` : "all stores"}`;
    const certain = expected[0].upper !== null;
    element("sum-note").hidden = certain;
    element("interval-name").hidden = !certain;
    draw();
    const stores = filter.store_nbr ? [filter.store_nbr] : Object.keys(families);
    fill(past, expected, stores.flatMap((store) => families[store]).filter((each) => !filter.family || each === filter.family).length);
    tell(`${counted(expected.length, "day")} for ${element("title").textContent}: ${counted(total(expected), "unit")} expected.`);
  } catch (error) {
    if (number === latest) tell(`No forecast: ${error.message}`, true);
  }
}

function fill(past, expected, series) {
  const lately = past.slice(-expected.length);
  const before = total(lately);
  const comparable = lately.length === expected.length && before > 0;
  element("figures").replaceChildren(...pairs({
    [`Expected, ${counted(expected.length, "day")}`]: counted(total(expected), "unit"),
    [`Sold, the ${counted(lately.length, "day")} before`]: counted(before, "unit"),
    Change: comparable ? `${signed.format((total(expected) / before - 1) * 100)} %` : "–",
    "Added up": `${series} series`,
  }));
  const number = (value) => (value == null ? "" : units.format(value));
  element("rows").replaceChildren(...points.map((each) => row(each.date, ...[each.sold, each.expected, each.lower, each.upper].map(number))));
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
    parts.push(svg("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, short.format(value)));
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
  if (points[first].upper !== null) {
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
  const between = lower == null ? "" : `, ${units.format(lower)} to ${units.format(upper)}`;
  const text = `${day.format(new Date(date))}: ${counted(value, "unit")} ${sold === undefined ? "expected" : "sold"}${between}`;
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

/** Shows the model's version and its scores. */
function describe({ version, created_at, first_date, last_date, series, interval, backtest, planned_until }) {
  const { model, seasonal_naive: naive, coverage, chosen } = backtest;
  const age = Math.floor((Date.now() - new Date(created_at)) / 86400000);
  element("model-facts").replaceChildren(...pairs({
    Version: version,
    Trained: `${day.format(new Date(created_at))}, ${age < 1 ? "today" : `${counted(age, "day")} ago`}`,
    "Learned from": `${series} series, ${day.format(new Date(first_date))} to ${day.format(new Date(last_date))}`,
    ...(planned_until && { Promotions: `as planned until ${day.format(new Date(planned_until))}` }),
    Interval: `meant to hold ${percent(interval)} of the days; held ${percent(coverage)} in the backtest`,
    Forecasters: Object.entries(chosen).map(([name, number]) => `${name}: ${number} series`).join(", "),
  }));
  element("interval-name").textContent = `${percent(interval)} interval`;
  const shown = { mase: (value) => value.toFixed(3), wape: (value) => `${(value * 100).toFixed(1)} %`, rmse: (value) => value.toFixed(1) };
  element("scores").replaceChildren(...Object.entries(model).map(([level, score]) => row(
    { store_nbr: "a store", family: "a family", series: "one series", total: "everything" }[level] ?? level,
    ...Object.entries(shown).map(([metric, text]) => {
      const compared = node("span", `(${text(naive[level][metric])})`);
      compared.className = "naive";
      return node("span", text(score[metric]), " ", compared);
    }),
  )));
}

/** Reads Prometheus' text format: a list of {name, labels, value}. */
function samples(text) {
  return [...text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name, labels = "", value]) => ({
    name, labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map((label) => label.slice(1))), value: Number(value),
  }));
}

/** Shows what the process that answers has counted. */
async function measure() {
  const answer = await reach("/metrics");
  if (!answer.ok) {
    element("metrics-status").textContent = `They are closed at this address (status ${answer.status}); Cloud Monitoring has them.`;
    return;
  }
  const all = samples(await answer.text());
  const sum = (name, labels = {}) => all.filter((each) => each.name === name && Object.entries(labels).every(([key, test]) => test(each.labels[key])))
    .reduce((before, each) => before + each.value, 0);
  const hits = sum("prediction_cache_lookups_total", { outcome: (outcome) => outcome === "hit" });
  element("metrics-status").textContent = "Of one process; there may be several. They start at zero with it.";
  element("metrics-facts").replaceChildren(...pairs({
    "Running for": `${units.format((Date.now() / 1000 - sum("process_start_time_seconds")) / 3600)} hours`,
    "Processor time": `${units.format(sum("process_cpu_seconds_total"))} seconds`,
    Memory: `${units.format(sum("process_resident_memory_bytes") / 2 ** 20)} MiB`,
    "Open connections": units.format(sum("prediction_connections")),
    "Answered from the cache": percent(hits / (sum("prediction_cache_lookups_total") || 1)),
  }));
  const routes = [...new Set(all.filter((each) => each.name === "prediction_requests_total").map((each) => each.labels.route))].sort();
  element("routes").replaceChildren(...routes.map((path) => {
    const route = (each) => each === path;
    const count = sum("prediction_request_duration_seconds_count", { route });
    const answered = (digit) => units.format(sum("prediction_requests_total", { route, code: (code) => code.startsWith(digit) }));
    return row(path, units.format(count), answered("4"), answered("5"), milliseconds.format((sum("prediction_request_duration_seconds_sum", { route }) / count) * 1000));
  }));
}

function openMetrics() {
  if (location.hash === "#metrics") element("metrics").open = true;
}

async function start() {
  const unmeasured = ({ message }) => { element("metrics-status").textContent = `No metrics: ${message}.`; };
  element("metrics").addEventListener("toggle", () => element("metrics").open && measure().catch(unmeasured));
  addEventListener("hashchange", openMetrics);
  openMetrics();
  try {
    const model = await ask("/page.json");
    describe(model);
    families = model.families;
    const range = element("range");
    range.max = model.max_range;
    range.value = Math.min(28, model.max_range);
    options(element("store"), Object.keys(families), "All stores");
    const wrong = choose(new URLSearchParams(location.search));
    element("range-shown").textContent = range.value;
    element("store").addEventListener("change", offerFamilies);
    element("choice").addEventListener("input", show);
    element("choice").addEventListener("submit", (event) => event.preventDefault());
    element("chart").addEventListener("keydown", keyed);
    element("chart").addEventListener("pointermove", pointed);
    element("chart").addEventListener("pointerdown", pointed);
    // A finger leaves with each tap; what it chose stays until the chart loses the focus.
    element("chart").addEventListener("pointerleave", ({ pointerType }) => pointerType === "touch" || point(null));
    element("chart").addEventListener("blur", () => point(null));
    new ResizeObserver(draw).observe(element("drawing"));
    if (!wrong.length) {
      await show();
      return;
    }
    tell(`This address is wrong: ${wrong.join("; ")}. Choose what to show, or see `, true);
    element("status").append(Object.assign(node("a", "all stores"), { href: "/" }), ".");
  } catch (error) {
    tell(`No forecast: ${error.message}`, true);
  }
}

start();
