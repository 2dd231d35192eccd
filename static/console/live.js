// A room's event stream: opens it with a ticket, and reports new versions.

import { malformed, ofRoom } from "./http.js";
import { record } from "./requests.js";
import { acquireStreamSlot } from "./tabs.js";

/** Milliseconds until a stream that ended is reopened. */
const REOPEN_DELAY = 60_000;

/**
 * Calls `onVersion` with the entity tag of a new version, or `null`; and `onOpen` when the stream opens or closes. It is open only
 * while the page is visible: a browser has six connections to a server, over all its tabs.
 */
export class Live {
  #session;
  #room;
  #onVersion;
  #onOpen;
  #isEnabled = false;
  /** Closes the current stream or attempt; `null` if there is none. */
  #end = null;
  #timer = null;
  #isOver = false;
  #onVisibilityChange = () => this.#update();

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
    document[method]("visibilitychange", this.#onVisibilityChange);
    this.#update();
  }

  #update() {
    clearTimeout(this.#timer);
    if (!this.#isEnabled || document.hidden) {
      this.#end?.();
    } else if (!this.#end && !this.#isOver) {
      this.#open();
    }
  }

  /** Closes the stream, and reopens it later if `reopens`. */
  #closed(reopens) {
    this.#end?.();
    this.#isOver = !reopens;
    if (reopens) this.#timer = setTimeout(this.#onVisibilityChange, REOPEN_DELAY * (0.75 + Math.random() / 2));
  }

  async #open() {
    if (typeof EventSource === "undefined") return;
    const ending = new AbortController();
    this.#end = () => {
      this.#end = null;
      ending.abort();
    };
    try {
      await acquireStreamSlot(ending.signal);
      const answer = await this.#session.ask({ method: "POST", path: "/auth/streamticket", body: { room: this.#room } });
      if (typeof answer.data !== "string") throw malformed();
      if (!ending.signal.aborted) this.#listen(answer.data, ending.signal);
    } catch {
      if (!ending.signal.aborted) this.#closed(true);
    }
  }

  #listen(ticket, ending) {
    const path = `${ofRoom("/callCatchUp", this.#room)}/live`;
    const source = new EventSource(`${path}?ticket=${encodeURIComponent(ticket)}`);
    // Recorded with a token: a ticket works only once.
    const done = record({ method: "GET", path, withToken: true, streams: true });
    ending.addEventListener("abort", () => {
      source.close();
      done("ended");
      this.#onOpen(false);
    });
    source.onopen = () => this.#onOpen(true);
    source.onmessage = (event) => this.#onVersion(event.lastEventId);
    source.addEventListener("none", () => this.#onVersion(null));
    source.addEventListener("ended", () => {
      // There are no more updates.
      this.#closed(false);
      this.#onVersion(null);
    });
    // An automatic reconnect would reuse the ticket.
    source.onerror = () => this.#closed(true);
  }
}
