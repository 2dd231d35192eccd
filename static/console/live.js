// A room's event stream: opens it with a ticket, and reports new versions.

import { malformed, ofRoom } from "./http.js";
import { record } from "./requests.js";
import { place } from "./tabs.js";

/** Milliseconds until a stream that ended is reopened. */
const AGAIN = 60_000;

/**
 * Calls `onNews` with the entity tag of a new version, or `null`; and `onOpen` when the stream opens or closes. It is open only
 * while the page is visible: a browser has six connections to a server, over all its tabs.
 */
export class Live {
  #session;
  #room;
  #onNews;
  #onOpen;
  #wanted = false;
  /** Closes the current stream or attempt; `null` if there is none. */
  #end = null;
  #timer = null;
  #isOver = false;
  #look = () => this.#decide();

  constructor(session, room, { onNews, onOpen }) {
    this.#session = session;
    this.#room = room;
    this.#onNews = onNews;
    this.#onOpen = onOpen;
  }

  /** Opens the stream, and reopens it when it ends; or closes it for good. */
  want(on) {
    if (on === this.#wanted) return;
    this.#wanted = on;
    this.#isOver = false;
    const listens = on ? "addEventListener" : "removeEventListener";
    document[listens]("visibilitychange", this.#look);
    this.#decide();
  }

  #decide() {
    clearTimeout(this.#timer);
    if (!this.#wanted || document.hidden) {
      this.#end?.();
    } else if (!this.#end && !this.#isOver) {
      this.#open();
    }
  }

  /** Closes the stream, and reopens it after a while if `again`. */
  #ended(again) {
    this.#end?.();
    this.#isOver = !again;
    if (again) this.#timer = setTimeout(this.#look, AGAIN * (0.75 + Math.random() / 2));
  }

  async #open() {
    if (typeof EventSource === "undefined") return;
    const ending = new AbortController();
    this.#end = () => {
      this.#end = null;
      ending.abort();
    };
    try {
      await place(ending.signal);
      const answer = await this.#session.ask({ method: "POST", path: "/auth/streamticket", body: { room: this.#room } });
      if (typeof answer.data !== "string") throw malformed();
      if (!ending.signal.aborted) this.#listen(answer.data, ending.signal);
    } catch {
      if (!ending.signal.aborted) this.#ended(true);
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
    source.onmessage = (event) => this.#onNews(event.lastEventId);
    source.addEventListener("none", () => this.#onNews(null));
    source.addEventListener("ended", () => {
      // There are no more updates.
      this.#ended(false);
      this.#onNews(null);
    });
    // An automatic reconnect would reuse the ticket.
    source.onerror = () => this.#ended(true);
  }
}
