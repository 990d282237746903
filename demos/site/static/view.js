// Draws what was made of a frame.

const byId = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const put = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export function drawPixels(canvas, base64, width = 28, height = 28) {
  const context = canvas.getContext("2d");
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  if (!base64) return context.clearRect(0, 0, width, height);
  const levels = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const image = context.createImageData(width, height);
  levels.forEach((level, at) => image.data.set([level, level, level, 255], 4 * at));
  context.putImageData(image, 0, 0);
}

export function drawFrame(picture, told) {
  const canvas = byId("view"), context = canvas.getContext("2d");
  if (canvas.width !== picture.width || canvas.height !== picture.height)
    Object.assign(canvas, { width: picture.width, height: picture.height });
  context.drawImage(picture, 0, 0);
  byId("empty").hidden = true;
  if (!told.box) return;
  const [x, y, w, h] = told.box, margin = canvas.width / 80;
  const purified = told.outcome?.purified;
  context.lineWidth = Math.max(3, canvas.width / 160);
  context.strokeStyle = wrong(purified, told.truth) ? "#ff7a5c" : "#37c9b4";
  const place = [x * canvas.width - margin, y * canvas.height - margin, w * canvas.width + 2 * margin, h * canvas.height + 2 * margin];
  context.strokeRect(...place);
}

const wrong = (stage, truth) => Boolean(stage) && (truth === null || truth === undefined ? stage.label < 0 : stage.label !== truth);

function drawTile(name, stage, truth, shape) {
  const tile = byId(`tile-${name}`), judged = stage && truth !== null && truth !== undefined;
  drawPixels(tile.querySelector("canvas"), stage?.pixels, shape[2], shape[1]);
  tile.classList.toggle("none", !stage?.pixels);
  tile.classList.toggle("wrong", wrong(stage, truth));
  tile.classList.toggle("right", Boolean(judged && stage.label === truth));
  put(tile.querySelector("strong"), stage ? (stage.label < 0 ? "?" : stage.name) : "–");
  put(tile.querySelector("em"), judged ? (stage.label === truth ? "✓ right" : "✗ wrong") : "");
}

export function drawTiles(told, shape) {
  const outcome = told.outcome;
  drawTile("input", outcome?.input, told.truth, shape);
  drawTile("attacked", outcome?.attacked, told.truth, shape);
  drawTile("purified", outcome?.purified, told.truth, shape);
  const caption = outcome?.reason ? `${outcome.shown}: ${outcome.reason}` : "Purified";
  put(byId("tile-purified").querySelector("span"), caption);
  const words = verdict(told);
  put(byId("verdict"), words);
  put(byId("place"), told.box ? "The box marks the digit that was found." : "No digit is found: show one, dark on light or light on dark.");
  return words;
}

export function verdict(told) {
  const outcome = told.outcome;
  if (!outcome) return "No digit is found.";
  const seen = (stage) => (stage.label < 0 ? "nothing" : stage.name);
  const before = outcome.attacked ?? outcome.input;
  if (outcome.reason) return `Read as ${seen(outcome.purified)} without the purifier (${outcome.reason}).`;
  if (!outcome.attacked) return `Read as ${seen(before)}; behind the purifier as ${seen(outcome.purified)}.`;
  if (before.label === outcome.input.label)
    return `The attack did not change what is read: ${seen(before)}, behind the purifier ${seen(outcome.purified)}.`;
  const change = `The attack turns ${seen(outcome.input)} into ${seen(before)}.`;
  if (outcome.purified.label === outcome.input.label) return `${change} The purifier undoes it: ${seen(outcome.purified)}.`;
  return `${change} Behind the purifier it is read as ${seen(outcome.purified)}.`;
}

export function makeBars(classes) {
  byId("bars").replaceChildren(
    ...classes.map((name) => {
      const item = document.createElement("li");
      item.innerHTML = '<div class="room"><span></span><div class="bar"></div></div><b></b><span class="hidden"></span>';
      item.querySelector("b").textContent = name;
      return item;
    }),
  );
}

export function drawBars(outcome) {
  const distances = outcome?.rmse ?? [], decoded = distances.filter((each) => each !== null);
  const most = Math.max(1e-6, ...decoded), wide = byId("bars").clientWidth / Math.max(1, byId("bars").children.length) > 34;
  [...byId("bars").children].forEach((item, index) => {
    const distance = distances[index] ?? null, chosen = outcome?.chosen === index;
    item.classList.toggle("chosen", chosen);
    item.querySelector(".bar").style.setProperty("--tall", distance === null ? 0 : Math.max(0.02, distance / most));
    put(item.querySelector(".room span"), distance === null || !wide ? "" : distance.toFixed(2));
    put(item.querySelector(".hidden"), distance === null ? "not decoded" : `${distance.toFixed(2)}${chosen ? ", chosen" : ""}`);
  });
  const all = byId("bars").children.length;
  put(byId("decoded"), outcome && decoded.length ? `RMSE to the projection on each class: ${decoded.length} of ${all} classes decoded, the chosen one is highlighted.` : "Nothing is decoded.");
}

export function drawScore(outcome, threshold) {
  const meter = byId("meter"), score = outcome?.suspicion ?? null;
  meter.classList.toggle("off", threshold === null || score === null);
  if (threshold === null) return put(byId("score"), "Off: start the server with --detector FILE.");
  if (score === null) return put(byId("score"), "Nothing to score.");
  const most = Math.max(2 * threshold, 1e-6);
  meter.style.setProperty("--score", Math.min(1, Math.max(0, score / most)));
  meter.style.setProperty("--threshold", threshold / most);
  meter.classList.toggle("alarm", outcome.alarm);
  put(byId("score"), `${outcome.alarm ? "Attack detected" : "No attack detected"}: score ${score.toFixed(1)}, threshold ${threshold.toFixed(1)}.`);
}

export const milliseconds = (value) => {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(0)} s`;
  return `${value < 10 && value % 1 ? value.toFixed(1) : value.toFixed(0)} ms`;
};

export function drawNumbers(id, values) {
  [...byId(id).querySelectorAll("dd")].forEach((place, index) => put(place, values[index]));
}

export class AgeChart {
  // The latest ages in milliseconds, as a line; a deadline as a dashed one.
  constructor(deadline) {
    Object.assign(this, { canvas: byId("age"), ages: [], deadline, drawn: 0 });
  }

  clear() {
    this.ages = [];
  }

  add(age) {
    this.ages.push(age);
    if (this.ages.length > 240) this.ages.shift();
    if (performance.now() - this.drawn > 100) this.draw();
  }

  draw() {
    this.drawn = performance.now();
    const { canvas, ages } = this, ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight, left = 58, low = height - 6, context = canvas.getContext("2d");
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const most = nice(Math.max(1, this.deadline ?? 0, ...ages) * 1.05), at = (age) => low - (age / most) * (low - 12);
    Object.assign(context, { font: "12px system-ui, sans-serif", textAlign: "right", textBaseline: "middle", lineWidth: 1 });
    for (const value of [0, most / 2, most]) {
      context.strokeStyle = css("--line");
      line(context, [[left, at(value)], [width, at(value)]]);
      context.fillStyle = css("--soft");
      context.fillText(milliseconds(value), left - 6, at(value));
    }
    if (this.deadline) {
      context.strokeStyle = css("--bad");
      context.setLineDash([5, 4]);
      line(context, [[left, at(this.deadline)], [width, at(this.deadline)]]);
      context.setLineDash([]);
    }
    Object.assign(context, { strokeStyle: css("--accent"), lineWidth: 2, lineJoin: "round" });
    const step = (width - left) / 239;
    line(context, ages.map((age, index) => [width - (ages.length - 1 - index) * step, at(age)]));
    const last = ages.at(-1);
    canvas.setAttribute("aria-label", ages.length ? `Age of the latest ${ages.length} frames: now ${last.toFixed(0)} milliseconds, at most ${Math.max(...ages).toFixed(0)}` : "No frame yet");
  }
}

function line(context, points) {
  context.beginPath();
  points.forEach(([x, y]) => context.lineTo(x, y));
  context.stroke();
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].find((step) => step * power >= value) * power;
}
