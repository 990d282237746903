// Puts the page together: where frames come from, what the controls say, what is shown.

import { Link } from "./link.js";
import { OwnFrames, cameraObstacle } from "./own.js";
import { drawRace } from "./race.js";
import { AgeChart, drawBars, drawFrame, drawNumbers, drawScore, drawTiles, makeBars, milliseconds as ms, put } from "./view.js";

const byId = (id) => document.getElementById(id);
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)}%`);
const SHOWN = "shown";
const ANNOUNCE_SECONDS = 4;
const SETTLE_SECONDS = 0.5; // in which frames with the settings before may still come
const STALE_SECONDS = 3;

const about = await (await fetch("/about")).json();
const chart = new AgeChart(about.slo_ms);
let stream = null, own = null, from = document.querySelector("input[name=from]:checked").value, tuning = about.tuning, announced = { at: 0, words: "" }, latest = 0, changed = -Infinity;

makeBars(about.classes);
put(byId("footer"), `Model ${about.model}, ${about.classes.length} classes. Nothing on this page comes from elsewhere, and your pictures go to this server only.`);
showTuning();
drawScore(null, about.threshold);
start();

function state(kind, words) {
  byId("state").dataset.state = kind;
  put(byId("state-text"), words);
}

function notice(words) {
  byId("notice").hidden = !words;
  put(byId("notice"), words);
}

function show(told) {
  latest = performance.now();
  const words = drawTiles(told, about.shape);
  drawBars(told.outcome);
  drawScore(told.outcome, about.threshold);
  announce(words);
}

function announce(words) {
  const now = performance.now();
  if (!byId("announce").checked || words === announced.words || now - announced.at < 1000 * ANNOUNCE_SECONDS) return;
  announced = { at: now, words };
  byId("live").textContent = words;
}

function start() {
  stream?.close();
  own?.close();
  stream = own = null;
  notice("");
  chart.clear();
  chart.draw();
  byId("empty").hidden = false;
  byId("view").getContext("2d").clearRect(0, 0, byId("view").width, byId("view").height);
  drawTiles({ box: null, outcome: null }, about.shape);
  drawBars(null);
  drawNumbers("ages", ["–", "–", "–", "–"]);
  drawNumbers("accuracy", ["–", "–", "–"]);
  byId("race").hidden = true;
  byId("still-tools").hidden = from !== "still";
  const mine = from !== "stream";
  put(byId("reach"), mine ? "Only you see this." : "Everybody who watches this stream sees these settings.");
  put(byId("age-note"), mine ? "From your browser to the server and back, the attack included." : "From the camera’s stamp to the label, without the attack’s own time.");
  put(byId("counts"), mine ? "Nobody knows what is really on your pictures." : "\u00a0");
  put(byId("place"), "\u00a0");
  put(byId("empty"), { stream: "Waiting for the first frame", camera: "Waiting for your camera", still: "Drop a picture here" }[from]);
  if (mine) startOwn();
  else startStream();
}

function startStream() {
  stream = new Link("/ws/stream", {
    onState: state,
    onMessage: async (told, jpeg) => {
      const link = stream;
      if (performance.now() - changed > 1000 * SETTLE_SECONDS) {
        tuning = told.tuning;
        showTuning();
      }
      if (told.source_error) state("bad", `The source is lost: ${told.source_error}`);
      else if (tuning.paused) state("waiting", "Paused");
      else if (jpeg) state("good", `Live: ${about.source}`);
      if (jpeg) {
        const picture = await createImageBitmap(jpeg);
        if (stream === link && link) showStream(told, picture);
        picture.close();
      }
      link?.send(SHOWN); // after it was drawn: a slow page is sent fewer
    },
  });
}

function showStream(told, picture) {
  drawFrame(picture, told);
  show(told);
  chart.add(told.age_ms);
  drawNumbers("ages", [ms(told.age_ms), ms(told.ages.p50), ms(told.ages.p99), ms(told.ages.max)]);
  drawNumbers("accuracy", [told.accuracy.clean, told.accuracy.attacked, told.accuracy.purified].map(percent));
  const { frames, judged, fps, dropped, degraded } = told.counts;
  put(byId("counts"), `${frames} frames, ${judged} with known truth; ${fps.toFixed(0)} a second, ${dropped} dropped, ${degraded} degraded.`);
  drawRace(told.race, about.shape);
}

function startOwn() {
  const obstacle = from === "camera" ? cameraObstacle() : "";
  if (obstacle) {
    state("bad", "No camera");
    return notice(obstacle);
  }
  tuning = { ...tuning, paused: false };
  showTuning();
  const ages = [];
  own = new OwnFrames({
    tuning,
    onState: state,
    onProblem: (words) => {
      notice(words);
      state("bad", from === "camera" ? "No camera" : "No picture");
    },
    onResult: (told, picture, age) => {
      drawFrame(picture, told);
      show(told);
      chart.add(age);
      ages.push(age);
      if (ages.length > 300) ages.shift();
      const sorted = [...ages].sort((a, b) => a - b), rank = (share) => sorted[Math.ceil(share * sorted.length) - 1];
      drawNumbers("ages", [ms(age), ms(rank(0.5)), ms(rank(0.99)), ms(sorted.at(-1))]);
    },
  });
  if (from === "camera") own.startCamera();
  else state("waiting", "Choose a picture");
}

function showTuning() {
  const editing = document.activeElement === byId("epsilon");
  for (const radio of document.getElementsByName("attack")) radio.checked = radio.value === tuning.attack;
  if (!editing) byId("epsilon").value = tuning.epsilon;
  put(byId("epsilon-value"), Number(byId("epsilon").value).toFixed(2));
  byId("epsilon").setAttribute("aria-valuetext", byId("epsilon-value").textContent);
  byId("purify").checked = tuning.purify;
  byId("pause").setAttribute("aria-pressed", String(tuning.paused));
  put(byId("pause"), tuning.paused ? "Go on" : "Pause");
}

function tune(change) {
  tuning = { ...tuning, ...change };
  changed = performance.now();
  showTuning();
  if (own) {
    own.pause(tuning.paused);
    own.tune(tuning);
  } else stream?.send(JSON.stringify(tuning));
}

for (const radio of document.getElementsByName("from"))
  radio.addEventListener("change", () => {
    from = radio.value;
    start();
  });
for (const radio of document.getElementsByName("attack")) radio.addEventListener("change", () => tune({ attack: radio.value }));
byId("epsilon").addEventListener("input", () => put(byId("epsilon-value"), Number(byId("epsilon").value).toFixed(2)));
byId("epsilon").addEventListener("change", () => tune({ epsilon: Number(byId("epsilon").value) }));
byId("purify").addEventListener("change", () => tune({ purify: byId("purify").checked }));
byId("pause").addEventListener("click", () => tune({ paused: !tuning.paused }));
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("file").addEventListener("change", () => byId("file").files[0] && own?.show(byId("file").files[0]));

function showStill(file) {
  if (from !== "still") {
    from = "still";
    document.querySelector('input[name="from"][value="still"]').checked = true;
    start();
  }
  own.show(file);
}

for (const kind of ["dragenter", "dragover"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
document.addEventListener("dragleave", (event) => event.relatedTarget || byId("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) showStill(event.dataTransfer.files[0]);
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.draw());
addEventListener("resize", () => chart.draw());
setInterval(() => {
  const quiet = performance.now() - latest > 1000 * STALE_SECONDS;
  if (from === "stream" && quiet && byId("state").dataset.state === "good") state("waiting", "No frame for seconds");
}, 1000);
