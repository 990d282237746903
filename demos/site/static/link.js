// A WebSocket to this server that comes back when it is lost.

const WAITS = [0.5, 1, 2, 5, 10]; // seconds
const FULL = 1013;

export class Link {
  // onMessage(document, jpeg Blob or null); onState("waiting" | "good" | "bad", words); onOpen()
  constructor(path, { onMessage, onState, onOpen = () => {} }) {
    Object.assign(this, { path, onMessage, onState, onOpen, attempts: 0, wanted: true });
    this.#open();
  }

  send(data) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(data);
    return true;
  }

  close() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.socket.close();
  }

  #open() {
    this.onState("waiting", this.attempts ? "Reconnecting" : "Connecting");
    const url = new URL(this.path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.onState("waiting", "Connected");
      this.onOpen();
    };
    socket.onmessage = async ({ data }) => {
      this.attempts = 0;
      const size = new DataView(data).getUint32(0);
      const document = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)));
      const jpeg = data.byteLength > size + 4 ? new Blob([new Uint8Array(data, size + 4)], { type: "image/jpeg" }) : null;
      if (this.wanted) await this.onMessage(document, jpeg);
    };
    socket.onclose = ({ code, reason }) => {
      if (!this.wanted) return;
      const wait = code === FULL ? WAITS.at(-1) : WAITS[Math.min(this.attempts++, WAITS.length - 1)];
      this.onState("bad", reason || "Connection lost");
      this.timer = setTimeout(() => this.#open(), 1000 * wait * (0.8 + 0.4 * Math.random()));
    };
  }
}
