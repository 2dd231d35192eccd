// A room's stream: says that there is news, for as long as it is open. Knows how to get in, and not what the news are.

import { malformed, ofRoom } from "./http.js";
import { record } from "./requests.js";
import { place } from "./tabs.js";

/** Milliseconds before it is opened again after it ended. */
const AGAIN = 60_000;

/**
 * Calls `onNews` with the entity tag of what is new, or `null`; and `onOpen` with whether it is open, each time that changes. It
 * is open only while somebody can see the page: a browser has six connections to a server, over all its tabs.
 */
export class Live {
  #session;
  #room;
  #onNews;
  #onOpen;
  #wanted = false;
  /** What ends the attempt or the stream that there is; `null` if there is none. */
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

  /** Opens it, and opens it again whenever it ends; or ends it for good. Whoever can't have it is on their own, as without it. */
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

  /** Ends what there is, and comes back in a while if `again`. */
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
    // Shown with a token, as a terminal would ask: a ticket works only once.
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
      // Nothing comes any more.
      this.#ended(false);
      this.#onNews(null);
    });
    // By itself it would come back with the same ticket, and that is spent.
    source.onerror = () => this.#ended(true);
  }
}
