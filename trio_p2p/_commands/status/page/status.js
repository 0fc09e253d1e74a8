"use strict";

const MOST_STEPS = 180;
const SILENCE = 5000; // milliseconds after which the figures count as old
const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const decimals = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

const at = (id) => document.getElementById(id);
let past = { step: 10, steps: [] };
let isPaused = false;
let latest = null;
let heardAt = 0;

function put(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let index = 0;
  while (value >= 1000 && index < units.length - 1) { value /= 1000; index += 1; }
  return `${(value < 10 && index ? decimals : numbers).format(value)} ${units[index]}`;
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

function say(text, kind) {
  put("state", text);
  at("state").className = `badge ${kind}`;
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

function show(data) {
  const { now, outcomes, introductions, process } = data;
  if (now.is_draining) say("draining", "warn"); else say("serving", "good");
  put("uptime", duration(process.uptime));
  put("receivers", numbers.format(now.receivers));
  put("connections", numbers.format(now.connections));
  put("circuits", numbers.format(now.circuits));
  put("relayed-rate", `${bytes(data.relayed_per_second)}/s`);
  const connected = outcomes.fast + outcomes.classic;
  const reported = connected + outcomes.none;
  put("direct", reported ? `${numbers.format(100 * connected / reported)} %` : "–");
  put("direct-note", reported ? `of ${numbers.format(reported)} searches reported` : "no search reported yet");
  for (const [name, count] of Object.entries(introductions)) put(`introduced-${name}`, numbers.format(count));
  for (const [name, count] of Object.entries(outcomes)) put(`outcome-${name}`, numbers.format(count));
  showRefusals(data.refusals);
  put("cpu", `${decimals.format(100 * process.cpu_share)} %`);
  put("memory", process.memory ? bytes(process.memory) : "–");
  put("descriptors", process.descriptors
    ? `${numbers.format(process.descriptors)} of ${numbers.format(process.max_descriptors)}` : "–");
  put("loop-delay", `${decimals.format(1000 * process.loop_delay)} ms`);
  put("relayed-total", bytes(now.relayed_bytes));
  if (data.history) { past = data.history; draw(); }
}

function showRefusals(refusals) {
  const rows = Object.entries(refusals).filter(([, count]) => count).sort((a, b) => b[1] - a[1]);
  if (!rows.length) rows.push(["none", 0]);
  const text = JSON.stringify(rows);
  const body = at("refusals");
  if (body.dataset.shown === text) return;
  body.dataset.shown = text;
  body.replaceChildren(...rows.map(([code, count]) => {
    const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
    head.scope = "row";
    head.textContent = code;
    cell.textContent = numbers.format(count);
    row.append(head, cell);
    return row;
  }));
}

// The sums of so many rows each, the last ones together.
function inMinutes(rows, size) {
  const minutes = [];
  for (let end = rows.length; end > 0; end -= size) {
    const part = rows.slice(Math.max(0, end - size), end);
    minutes.unshift(part[0].map((_, kind) => sum(part.map((row) => row[kind]))));
  }
  return minutes;
}

function draw() {
  const { step, steps } = past;
  const perMinute = 60 / step, minutes = Math.round(MOST_STEPS * step / 60);
  const recent = steps.slice(-Math.round(perMinute));
  put("introduction-rate", recent.length
    ? numbers.format(sum(recent.map((each) => each.introductions)) * perMinute / recent.length) : "–");
  const rows = steps.map((each) => [each.direct.fast, each.direct.classic, each.relayed, each.missed]);
  charts.bars(at("outcomes-chart"), inMinutes(rows, perMinute), minutes, decimals.format, minutes);
  const [fast, classic, relayed, missed] = [0, 1, 2, 3].map((kind) => numbers.format(sum(rows.map((row) => row[kind]))));
  put("outcomes-text", `In all: ${fast} fast, ${classic} classic, ${relayed} relayed, ${missed} without a direct way`);
  charts.curve(at("relayed-chart"), steps.map((each) => each.relayed_bytes / step), MOST_STEPS, bytes, minutes);
  put("relayed-text", `In all: ${bytes(sum(steps.map((each) => each.relayed_bytes)))}`);
  const receivers = steps.map((each) => each.receivers);
  charts.curve(at("receivers-chart"), receivers, MOST_STEPS, decimals.format, minutes);
  put("receivers-text", receivers.length
    ? `From ${numbers.format(Math.min(...receivers))} to ${numbers.format(Math.max(...receivers))}` : "nothing yet");
}

const events = new EventSource("/events");
events.onmessage = (event) => {
  heardAt = Date.now();
  const data = JSON.parse(event.data);
  if (!data.history && latest && latest.history) data.history = latest.history;
  latest = data;
  if (!isPaused) { show(data); latest = null; }
};

setInterval(() => {
  if (heardAt && Date.now() - heardAt > SILENCE) say("no answer", "bad");
}, 1000);

at("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  at("pause").setAttribute("aria-pressed", String(isPaused));
  if (!isPaused && latest) { show(latest); latest = null; }
});

addEventListener("resize", draw);
draw();
