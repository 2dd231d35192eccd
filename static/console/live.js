// A room's event stream: opens it with a ticket, and reports new versions.

import { malformed, roomPath } from "./http.js";
import { record } from "./requests.js";
import { acquireStreamSlot } from "./tabs.js";

/** Milliseconds until a stream that ended is reopened. */
const REOPEN_DELAY = 60_000;

/**
 * Calls `onVersion` with the entity tag of a new version, or `null`; and `onOpen` when the stream opens or closes. It is open only
 * while the page is visible: a browser has six connections to a server, over all its tabs.
 */
export class LiveUpdates {
  #session;
  #room;
  #onVersion;
  #onOpen;
  #isEnabled = false;
  /** Closes the current stream or attempt; `null` if there is none. */
  #close = null;
  #timer = null;
  #isOver = false;
  #onChange = () => this.#update();

  constructor(session, room, { onVersion, onOpen }) {
    this.#session = session;
    this.#room = room;
    this.#onVersion = onVersion;
    this.#onOpen = onOpen;
  }

  /** Opens the stream, and reopens it when it ends; or closes it for good. */
  setEnabled(on) {
    if (on === this.#isEnabled) return;
    this.#isEnabled = on;
    this.#isOver = false;
    const method = on ? "addEventListener" : "removeEventListener";
    document[method]("visibilitychange", this.#onChange);
    window[method]("online", this.#onChange);
    this.#update();
  }

  #update() {
    clearTimeout(this.#timer);
    if (!this.#isEnabled || document.hidden) {
      this.#close?.();
    } else if (!this.#close && !this.#isOver) {
      this.#open();
    }
  }

  /** Closes the stream. Reopens it later if `willReopen`. */
  #onClosed(willReopen) {
    this.#close?.();
    this.#onOpen(false);
    this.#isOver = !willReopen;
    if (willReopen) this.#timer = setTimeout(this.#onChange, REOPEN_DELAY * (0.75 + Math.random() / 2));
  }

  async #open() {
    if (typeof EventSource === "undefined") return this.#onOpen(false);
    const closing = new AbortController();
    this.#close = () => {
      this.#close = null;
      closing.abort();
    };
    try {
      await acquireStreamSlot(closing.signal);
      const response = await this.#session.request({ method: "POST", path: "/auth/streamticket", body: { room: this.#room } });
      if (typeof response.data !== "string") throw malformed();
      if (!closing.signal.aborted) this.#listen(response.data, closing.signal);
    } catch {
      if (!closing.signal.aborted) this.#onClosed(true);
    }
  }

  #listen(ticket, closing) {
    const path = `${roomPath("/callCatchUp", this.#room)}/live`;
    const source = new EventSource(`${path}?ticket=${encodeURIComponent(ticket)}`);
    // Recorded with a token: a ticket works only once.
    const finish = record({ method: "GET", path, withToken: true, streams: true });
    closing.addEventListener("abort", () => {
      source.close();
      finish("ended");
      this.#onOpen(false);
    });
    source.onopen = () => this.#onOpen(true);
    source.onmessage = (event) => this.#onVersion(event.lastEventId);
    source.addEventListener("none", () => this.#onVersion(null));
    source.addEventListener("ended", () => {
      // There are no more updates.
      this.#onClosed(false);
      this.#onVersion(null);
    });
    // An automatic reconnect would reuse the ticket.
    source.onerror = () => this.#onClosed(true);
  }
}
