// A room's catch-up as it changes. Knows how it is read, and nothing of how it is shown.

import { ofRoom } from "./http.js";
import { Live } from "./live.js";
import { Repeated } from "./repeat.js";
import { shared } from "./text.js";

/** Milliseconds between two looks at a room that is kept up to date. */
const EVERY = 15_000;
/** The same while a stream says when there is news. */
const SELDOM = 60_000;
/** A text that is older than this, in seconds, is one that the server has kept for want of a newer one. */
const FRESH = 10;

/** Reads a room's catch-up and status, by hand or every so often. Fires `change` whenever there is something else to say. */
export class CatchUp extends EventTarget {
  #session;
  #room;
  #etag = null;
  #work = new Repeated(() => this.#read());
  #live;
  #keeps = false;
  #told = null;

  /** The text; empty if there is none, `null` as long as nobody knows. */
  text = null;
  /** How much of the text was there before. */
  known = 0;
  /** What the last look brought: `first`, `same`, `grown` or `rewritten`. */
  outcome = null;
  /** Why there is none: `transcription-off`, `meeting-ended`, `none-yet` or `unknown-room`; `null` if there is one. */
  reason = null;
  /** When the server got the text, in milliseconds since 1970. */
  asOf = null;
  /** Whether the server has kept it for want of a newer one. */
  isOld = false;
  /** `{transcription, recording}`: true, false, or `null` as long as nobody knows. */
  status = { transcription: null, recording: null };

  constructor(session, room) {
    super();
    this.#session = session;
    this.#room = room;
    this.#work.addEventListener("change", () => this.dispatchEvent(new Event("change")));
    this.#live = new Live(session, room, {
      onNews: (etag) => this.#hear(etag),
      onOpen: (isOpen) => this.#look(isOpen),
    });
  }

  /** The work behind it: what went wrong, and when it is tried again. */
  get work() {
    return this.#work;
  }

  refresh() {
    return this.#work.run();
  }

  /** Listens for news, and looks by itself as long as it can't; or stops doing so. */
  keepUpToDate(on) {
    this.#keeps = on;
    this.#live.want(on);
    this.#look(false);
  }

  /** The badges and the age are looked at all the same, only less often. */
  #look(isTold) {
    this.#work.every = this.#keeps ? (isTold ? SELDOM : EVERY) : null;
  }

  /** Reads until what is shown is what the stream told of: a read that was under way, or another replica, may be behind it. */
  async #hear(etag) {
    this.#told = etag;
    if (etag !== null && etag === this.#etag) return;
    for (const pause of [0, 500, 1_500, 3_500]) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (this.#told !== etag || !this.#keeps) return;
      await this.refresh();
      if (this.#etag === etag) return;
    }
  }

  stop() {
    this.#keeps = false;
    this.#live.want(false);
    this.#work.stop();
  }

  async #read() {
    const [answer] = await Promise.all([this.#answer(), this.#readStatus()]);
    this.#take(answer);
  }

  /** The answer; that there is nothing is one too. */
  async #answer() {
    try {
      return await this.#session.ask({ path: ofRoom("/callCatchUp", this.#room), etag: this.#etag });
    } catch (problem) {
      if (problem.kind !== "missing") throw problem;
      // That nothing is there yet says of a room that is not known either no more than that.
      const reason = problem.reason === null || problem.reason === "none-yet" ? "unknown-room" : problem.reason;
      return { status: 404, data: null, age: 0, etag: null, reason };
    }
  }

  async #readStatus() {
    try {
      const { data } = await this.#session.ask({ path: ofRoom("/callStatus", this.#room) });
      const known = (value) => (typeof value === "boolean" ? value : null);
      this.status = { transcription: known(data?.transcript_status), recording: known(data?.recording_status) };
    } catch {
      // The catch-up is what matters; the status says that it is not known.
      this.status = { transcription: null, recording: null };
    }
  }

  #take(answer) {
    this.asOf = Date.now() - answer.age * 1000;
    this.isOld = answer.age > FRESH;
    if (answer.status === 304) {
      this.outcome = "same";
      return;
    }
    this.#etag = answer.etag;
    const text = typeof answer.data === "string" ? answer.data : answer.data === null ? "" : answer.raw;
    const before = this.text;
    const isEmpty = text.trim() === "";
    this.text = isEmpty ? "" : text;
    this.reason = isEmpty ? this.#why(answer) : null;
    this.known = before === null ? text.length : shared(before, text);
    this.outcome = before === null ? "first" : outcome(before, this.text, this.known);
    // After a rewriting nothing is like before, and a mark on everything is a mark on nothing.
    if (this.outcome === "rewritten") this.known = text.length;
  }

  #why(answer) {
    if (answer.reason) return answer.reason;
    return this.status.transcription === false ? "transcription-off" : "none-yet";
  }
}

function outcome(before, text, known) {
  if (before === text) return "same";
  return known >= before.length / 2 ? "grown" : "rewritten";
}
