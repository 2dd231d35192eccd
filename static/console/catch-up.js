// A room's catch-up as it changes: reads it, and does not render it.

import { ofRoom } from "./http.js";
import { Live } from "./live.js";
import { Repeated } from "./repeat.js";
import { shared } from "./text.js";

/** Milliseconds between two reads without a stream. */
const POLL_INTERVAL = 15_000;
/** Milliseconds between two reads while a stream is open. */
const STREAM_POLL_INTERVAL = 60_000;
/** A text older than this, in seconds, is stale. */
const STALE_AFTER = 10;

/** Reads a room's catch-up and status, on demand or regularly. Fires `change` on each change. */
export class CatchUp extends EventTarget {
  #session;
  #room;
  #etag = null;
  #work = new Repeated(() => this.#read());
  #live;
  #isAutomatic = false;
  #streamEtag = null;

  /** The text; empty if there is none, `null` if unknown. */
  text = null;
  /** The length of the text that was shown before. */
  known = 0;
  /** The result of the last read: `first`, `same`, `grown` or `rewritten`. */
  outcome = null;
  /** Why there is none: `transcription-off`, `meeting-ended`, `none-yet` or `unknown-room`; `null` if there is one. */
  reason = null;
  /** When the server got the text, in milliseconds since 1970. */
  asOf = null;
  /** Whether the text is stale. */
  isOld = false;
  /** `{transcription, recording}`: true, false, or `null` if unknown. */
  status = { transcription: null, recording: null };

  constructor(session, room) {
    super();
    this.#session = session;
    this.#room = room;
    this.#work.addEventListener("change", () => this.dispatchEvent(new Event("change")));
    this.#live = new Live(session, room, {
      onVersion: (etag) => this.#readVersion(etag),
      onOpen: (isOpen) => this.#setPollInterval(isOpen),
    });
  }

  /** The repeated read, with its problem and its next try. */
  get work() {
    return this.#work;
  }

  refresh() {
    return this.#work.run();
  }

  /** Turns automatic updates on or off: by stream, or else by polling. */
  keepUpToDate(on) {
    this.#isAutomatic = on;
    this.#live.setEnabled(on);
    this.#setPollInterval(false);
  }

  /** Polls less often while the stream is open: only for the status and the age. */
  #setPollInterval(hasStream) {
    this.#work.every = this.#isAutomatic ? (hasStream ? STREAM_POLL_INTERVAL : POLL_INTERVAL) : null;
  }

  /** Reads until the version of the stream is shown: a read in progress, or another replica, may be behind it. */
  async #readVersion(etag) {
    this.#streamEtag = etag;
    if (etag !== null && etag === this.#etag) return;
    for (const pause of [0, 500, 1_500, 3_500]) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (this.#streamEtag !== etag || !this.#isAutomatic) return;
      await this.refresh();
      if (this.#etag === etag) return;
    }
  }

  stop() {
    this.#isAutomatic = false;
    this.#live.setEnabled(false);
    this.#work.stop();
  }

  async #read() {
    const [answer] = await Promise.all([this.#answer(), this.#readStatus()]);
    this.#apply(answer);
  }

  /** Returns the response; a 404 is one, too. */
  async #answer() {
    try {
      return await this.#session.ask({ path: ofRoom("/callCatchUp", this.#room), etag: this.#etag });
    } catch (problem) {
      if (problem.kind !== "missing") throw problem;
      // `none-yet` with a 404 means an unknown room.
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
      // The status is optional, and shown as unknown.
      this.status = { transcription: null, recording: null };
    }
  }

  #apply(answer) {
    this.asOf = Date.now() - answer.age * 1000;
    this.isOld = answer.age > STALE_AFTER;
    if (answer.status === 304) {
      this.outcome = "same";
      return;
    }
    this.#etag = answer.etag;
    const text = typeof answer.data === "string" ? answer.data : answer.data === null ? "" : answer.raw;
    const before = this.text;
    const isEmpty = text.trim() === "";
    this.text = isEmpty ? "" : text;
    this.reason = isEmpty ? this.#absenceReason(answer) : null;
    this.known = before === null ? text.length : shared(before, text);
    this.outcome = before === null ? "first" : outcome(before, this.text, this.known);
    // Marking the whole text as new would help no reader.
    if (this.outcome === "rewritten") this.known = text.length;
  }

  #absenceReason(answer) {
    if (answer.reason) return answer.reason;
    return this.status.transcription === false ? "transcription-off" : "none-yet";
  }
}

function outcome(before, text, known) {
  if (before === text) return "same";
  return known >= before.length / 2 ? "grown" : "rewritten";
}
