// A room's stream: says that there is news, for as long as it is open. Knows how to get in, and not what the news are.

import { ofRoom } from "./http.js";
import { record } from "./requests.js";

/** Milliseconds before it is opened again after it ended. */
const AGAIN = 60_000;

/** Calls `onNews` with the entity tag of what is new, or `null`; and `onOpen` with whether it is open, each time that changes. */
export class Live {
  #session;
  #room;
  #onNews;
  #onOpen;
  #source = null;
  #timer = null;
  #wanted = false;

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
    if (on) this.#open();
    else this.#close();
  }

  async #open() {
    let ticket;
    try {
      ticket = (await this.#session.ask({ method: "POST", path: "/auth/streamticket", body: { room: this.#room } })).data;
    } catch {
      return this.#later();
    }
    if (!this.#wanted || this.#source || typeof EventSource === "undefined") return;
    const path = `${ofRoom("/callCatchUp", this.#room)}/live`;
    // Shown with a token, as a terminal would ask: a ticket works only once.
    const done = record({ method: "GET", path, withToken: true, streams: true });
    const source = new EventSource(`${path}?ticket=${encodeURIComponent(ticket)}`);
    this.#source = source;
    source.onopen = () => this.#onOpen(true);
    source.onmessage = (event) => this.#onNews(event.lastEventId);
    source.addEventListener("none", () => this.#onNews(null));
    source.addEventListener("ended", () => {
      // Nothing comes any more.
      done("ended");
      this.#close();
      this.#onNews(null);
    });
    source.onerror = () => {
      // By itself it would come back with the same ticket, and that is spent.
      done("ended");
      this.#close();
      this.#later();
    };
  }

  #later() {
    if (this.#wanted) this.#timer = setTimeout(() => this.#open(), AGAIN * (0.75 + Math.random() / 2));
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.#onOpen(false);
  }
}
