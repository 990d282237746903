// Frames of this browser's own: its camera, or a picture that was chosen or dropped. One is on its way at a time.

import { Link } from "./link.js";

const SIDE = 640; // pixels of the longer side on the way to the server
const QUALITY = 0.85;

export const cameraObstacle = () => {
  if (window.isSecureContext && navigator.mediaDevices?.getUserMedia) return "";
  return "Browsers give their camera only to pages of localhost or HTTPS. Start the server with --tls CERT KEY, and load this page by HTTPS.";
};

export class OwnFrames {
  // onResult(document, picture canvas, age in milliseconds); onState as of Link; onProblem(words)
  constructor({ onResult, onState, onProblem, tuning }) {
    Object.assign(this, { onResult, onState, onProblem, tuning, paused: false, busy: false });
    this.picture = document.createElement("canvas");
    this.link = new Link("/ws/own", {
      onState,
      onOpen: () => {
        this.busy = false;
        this.tune(this.tuning); // a picture that waits goes with it
        this.#next();
      },
      onMessage: (document) => {
        this.busy = false;
        this.onState("good", this.video ? "Your camera" : "Your picture");
        this.onResult(document, this.picture, performance.now() - this.taken);
        if (this.video) this.#whenNext();
      },
    });
  }

  async startCamera() {
    const wanted = { width: { ideal: SIDE }, height: { ideal: 480 }, facingMode: { ideal: "environment" } };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      const denied = error.name === "NotAllowedError";
      this.onProblem(denied ? "The browser was told not to give its camera. Allow it in the address bar." : `The camera cannot be used: ${error.message}`);
      return;
    }
    if (this.ended) return this.#stopCamera();
    const video = document.createElement("video");
    Object.assign(video, { srcObject: this.stream, muted: true, playsInline: true });
    await video.play();
    this.video = video;
    this.#next();
  }

  async show(file) {
    try {
      const image = await createImageBitmap(file);
      this.#take(image, image.width, image.height);
      await this.#send();
    } catch {
      this.onProblem("That file is no picture that this browser can read.");
    }
  }

  tune(tuning) {
    this.tuning = tuning;
    this.link.send(JSON.stringify({ ...tuning, paused: false }));
    if (!this.video && this.picture.width && this.shown) this.#send();
  }

  pause(paused) {
    this.paused = paused;
    if (!paused) this.#next();
  }

  close() {
    this.ended = true;
    this.link.close();
    this.#stopCamera();
  }

  #stopCamera() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
  }

  #whenNext() {
    if (this.video.requestVideoFrameCallback && !document.hidden) this.video.requestVideoFrameCallback(() => this.#next());
    else setTimeout(() => this.#next(), 100);
  }

  #next() {
    if (!this.video || this.paused || this.busy || this.ended) return;
    this.#take(this.video, this.video.videoWidth, this.video.videoHeight);
    this.#send();
  }

  #take(image, width, height) {
    const scale = Math.min(1, SIDE / Math.max(width, height));
    this.picture.width = Math.max(1, Math.round(scale * width));
    this.picture.height = Math.max(1, Math.round(scale * height));
    this.picture.getContext("2d").drawImage(image, 0, 0, this.picture.width, this.picture.height);
    this.taken = performance.now();
    this.shown = true;
  }

  async #send() {
    if (this.busy) return;
    this.busy = true;
    if (!this.video) this.taken = performance.now();
    const blob = await new Promise((done) => this.picture.toBlob(done, "image/jpeg", QUALITY));
    if (!blob || !this.link.send(blob)) this.busy = false;
  }
}
