// The race: what both purifiers have at each budget of time.

import { drawPixels, put } from "./view.js";

const NAMES = { puvae: "PuVAE", defense_gan: "Defense-GAN" };
const share = (value) => (value === null ? "–" : `${(100 * value).toFixed(0)}%`);
const seconds = (ms) => (ms === null ? "still searching" : ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`);

function build(section, race) {
  const head = section.querySelector("thead tr"), body = section.querySelector("tbody");
  for (const budget of race.budgets) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = budget === "done" ? "until done" : `after ${budget} ms`;
    head.append(cell);
  }
  for (const racer of Object.keys(race.racers)) {
    const row = body.insertRow(), name = document.createElement("th");
    name.scope = "row";
    name.innerHTML = "<div></div><span></span>";
    name.firstChild.textContent = NAMES[racer] ?? racer;
    row.append(name);
    for (const _ of race.budgets)
      row.insertCell().innerHTML = '<div><canvas aria-hidden="true"></canvas><p><strong></strong><small></small></p></div>';
  }
}

export function drawRace(race, shape) {
  const section = document.getElementById("race");
  section.hidden = !race;
  if (!race) return;
  if (!section.querySelector("tbody tr")) build(section, race);
  Object.entries(race.racers).forEach(([racer, cells], index) => {
    const row = section.querySelectorAll("tbody tr")[index];
    put(row.querySelector("th span"), seconds(race.ms[racer]));
    cells.forEach((cell, column) => {
      const place = row.cells[column + 1], judged = cell.label !== null && race.truth !== null;
      drawPixels(place.querySelector("canvas"), cell.pixels, shape[2], shape[1]);
      place.classList.toggle("right", judged && cell.label === race.truth);
      place.classList.toggle("wrong", judged && cell.label !== race.truth);
      put(place.querySelector("strong"), cell.name ? `${cell.name}${judged ? (cell.label === race.truth ? " ✓" : " ✗") : ""}` : "…");
      put(place.querySelector("small"), share(cell.accuracy));
    });
  });
  put(document.getElementById("race-note"), `${race.rounds} ${race.rounds === 1 ? "digit" : "digits"} so far. Percentages: how often each was right by then; where nothing is ready yet, the attacked image counts. Defense-GAN: ${race.form}.`);
}
